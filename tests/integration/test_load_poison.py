"""One bad row among good ones, on a real PostgreSQL: it alone is set aside, in the transaction of the others."""

from __future__ import annotations

import random
import uuid
from typing import Any

import psycopg
import pytest

from casscade.commitlog.decoder import decode_mutation
from casscade.core.cell import live_cell
from casscade.core.errors import BadDataError, InvariantError
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.position import Position
from casscade.cql.types import CqlType
from casscade.load import isolation
from casscade.load.batch import BatchWriter
from casscade.load.contents import Batch
from casscade.load.control import ControlStore
from casscade.load.raw import register
from casscade.load.sources import Sources
from casscade.load.staged import StagedRows
from casscade.load.trail import Suspect, Trail, followed
from casscade.merge.fold import Fold
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import build_target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes

pytestmark = pytest.mark.servers

TABLE = assign_indexes(
    Table(
        uuid.uuid4(),
        "ks",
        "t",
        (
            Column("p", ColumnKind.PARTITION_KEY, 0, CqlType("text")),
            Column("a", ColumnKind.REGULAR, -1, CqlType("int")),
        ),
    ),
    {},
)
# Random, so that no compression brings it below the 2,704 bytes of PostgreSQL's index.
TOO_LONG = random.Random(1).randbytes(5000).hex().encode()

REFUSE = (
    b"CREATE FUNCTION ks.refuse() RETURNS trigger LANGUAGE plpgsql AS "
    b"$$ BEGIN IF NEW.a = 77 THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $$"
)


def _batch(keys: list[bytes], position: int) -> Batch:
    batch = Batch(Fold(), positions={"node": Position(1, position)})
    for number, key in enumerate(keys):
        row = Row(b"", [])
        row.liveness_ts = position
        row.cells = {0: live_cell(position, number.to_bytes(4, "big"))}
        update = PartitionUpdate(TABLE.shape(replicated=True), key)
        update.rows = [row]
        batch.fold.add([update])
    return batch


def _writer(connection: psycopg.Connection[tuple[object, ...]]) -> BatchWriter:
    register(connection)
    control = ControlStore("test", "casscade")
    control.migrate(connection)
    target = build_target(TABLE)
    for statement in plan_target(target, ExistingSchema()):
        connection.execute(statement.sql.encode())
    writer = BatchWriter(control, Sources.single("node", control.acquire(connection, "node")[0]))
    writer.add_target(connection, target, 3600)
    writer.prepare(connection)
    return writer


@pytest.mark.requirement("FR-022")
@pytest.mark.requirement("FR-021")
def test_the_poison_is_set_aside_and_the_others_are_there(database: str) -> None:
    keys = [f"key {number}".encode() for number in range(50)]
    with psycopg.connect(database, autocommit=True) as connection:
        writer = _writer(connection)
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            writer.apply(connection, _batch([*keys, TOO_LONG], 7))
        for new in ({"key_too_long": 1}, {}):  # applied again, as after a crash: nothing is doubled
            counts = writer.apply_isolated(connection, _batch([*keys[:20], TOO_LONG, *keys[20:]], 7))
            assert counts.dead_letters == new
            assert counts.rows == 50
        assert connection.execute("SELECT count(*) FROM ks.t").fetchone() == (50,)
        assert writer.control.position(connection, "node") == Position(1, 7)
        letters = connection.execute(
            "SELECT source_name, code, message, mutation FROM casscade.dead_letters"
        ).fetchall()
        assert [letter[:2] for letter in letters] == [("ks.t", "key_too_long")]
        assert TOO_LONG[:20].decode() not in letters[0][2]
        update = decode_mutation(bytes(letters[0][3]), 8, {TABLE.id.bytes: TABLE.shape(replicated=True)})[0]
        assert (update.key, update.rows[0].cells[0][3]) == (TOO_LONG, (20).to_bytes(4, "big"))


@pytest.mark.requirement("FR-022")
def test_a_constraint_of_the_user_refuses_rows_not_the_batch(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        writer = _writer(connection)
        connection.execute("ALTER TABLE ks.t ADD CONSTRAINT small CHECK (a < 3)")
        counts = writer.apply_isolated(connection, _batch([b"a", b"b", b"c", b"d", b"e"], 1))
        assert counts.dead_letters == {"postgres_23514": 2}
        assert connection.execute("SELECT p FROM ks.t ORDER BY p").fetchall() == [("a",), ("b",), ("c",)]
        assert connection.execute("SELECT DISTINCT message FROM casscade.dead_letters").fetchall() == [
            ("PostgreSQL refuses it with SQLSTATE 23514 (CheckViolation, small)",)
        ]


@pytest.mark.requirement("FR-022")
@pytest.mark.parametrize(
    ("refusal", "writes"),
    [("BEFORE", 3), ("key", 2), ("AFTER", 21)],
)
def test_the_row_that_postgres_was_at_is_found_at_once(
    database: str, refusal: str, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the trail of the statement; what fails at the end of a statement, by halves."""
    keys = [f"key {number}".encode() for number in range(200)]
    keys[77] = TOO_LONG if refusal == "key" else keys[77]
    attempts: list[int] = []
    write = BatchWriter._write

    def counted(self: BatchWriter, connection: psycopg.Connection[object], fold: Fold, *more: Any) -> None:
        attempts.append(fold.row_count())
        write(self, connection, fold, *more)

    with psycopg.connect(database, autocommit=True) as connection:
        writer = _writer(connection)
        if refusal.isupper():
            connection.execute(REFUSE)
            trigger = f"CREATE TRIGGER refuse {refusal} INSERT ON ks.t FOR EACH ROW EXECUTE FUNCTION ks.refuse()"
            connection.execute(trigger.encode())
        monkeypatch.setattr(BatchWriter, "_write", counted)
        counts = writer.apply_isolated(connection, _batch(keys, 1))
        assert (counts.rows, counts.dead_letters.total()) == (199, 1)
        assert connection.execute("SELECT count(*) FROM ks.t WHERE a <> 77").fetchone() == (199,)
        assert len(attempts) <= writes, attempts


class _Follower:
    def follow(self, trail: Trail | None) -> None:
        self.trail = trail


def test_a_copy_that_fails_names_its_row(database: str) -> None:
    follower = _Follower()
    staged = StagedRows()
    staged.rejected[0] = BadDataError("left_out", "it is not copied")
    items = [(bytes([number]), Row(bytes([number]), [])) for number in range(4)]
    with (
        psycopg.connect(database) as connection,
        followed(connection, {follower: (b"table", True)}) as trail,
    ):
        connection.execute("CREATE TEMPORARY TABLE casscade_stage_7 (v smallint)")
        trail.staged(follower, items, staged)
        with (
            pytest.raises(psycopg.DataError) as refused,
            connection.transaction(),
            connection.cursor().copy("COPY casscade_stage_7 FROM STDIN") as copy,
        ):
            copy.write(b"1\n70000\n2\n")
        assert trail.suspect(connection, refused.value) == Suspect(b"table", True, (b"\2", b"\2"))
        connection.rollback()
    assert follower.trail is None


@pytest.mark.requirement("FR-003")
def test_where_everything_is_refused_nothing_is_committed(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "POISON_ITEMS_MAX", 20)
    with psycopg.connect(database, autocommit=True) as connection:
        writer = _writer(connection)
        connection.execute("ALTER TABLE ks.t ADD CHECK (a < 0)")
        with pytest.raises(InvariantError) as caught:
            writer.apply_isolated(connection, _batch([str(n).encode() for n in range(30)], 9))
        assert caught.value.code == "postgres_refuses_all"
        assert connection.execute("SELECT count(*) FROM casscade.dead_letters").fetchone() == (0,)
        assert writer.control.position(connection, "node") == Position(0, 0)
