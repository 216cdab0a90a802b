"""Rules on real rows in PostgreSQL: what is shown, what is set aside, and what is nowhere at all."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from typing import Any

import psycopg
import pytest
from psycopg import sql

from casscade.commitlog.encoder import clustering_key, encode_mutation
from casscade.core.cell import NO_TIMESTAMP, Cell, expiring_cell, live_cell
from casscade.core.mutation import ComplexColumn, PartitionUpdate, Row
from casscade.core.position import Position
from casscade.cql.types import CqlType
from casscade.cql.values import encode
from casscade.load.batch import BatchWriter
from casscade.load.batcher import Batcher
from casscade.load.control import ControlStore
from casscade.load.raw import register
from casscade.load.rewriting import rewriting_of
from casscade.load.sources import Sources
from casscade.rules.concealment import excluded_columns
from casscade.rules.masks import REDACTED
from casscade.rules.rewriter import RULED
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from casscade.transport.chunk import Chunk
from tests.support.random_rows import NOW
from tests.support.ruled import rules_of, target_of

pytestmark = [pytest.mark.servers, pytest.mark.requirement("FR-013")]

TEXT, INT, UUID = CqlType("text"), CqlType("int"), CqlType("uuid")
TEXTS = ("city", "doc", "email", "name", "phone", "ssn", "token", "when")


def people() -> Table:
    columns = [Column("id", ColumnKind.PARTITION_KEY, 0, UUID), Column("k", ColumnKind.CLUSTERING, 0, INT)]
    columns += [Column(name, ColumnKind.REGULAR, -1, TEXT) for name in TEXTS]
    columns += [Column("age", ColumnKind.REGULAR, -1, INT), Column("secrets", ColumnKind.STATIC, -1, TEXT)]
    columns += [Column("note", ColumnKind.REGULAR, -1, TEXT)]  # which no rule hides
    return assign_indexes(Table(uuid.uuid4(), "ks", "people", tuple(columns)), {})


class Loaded:
    """A table with rules, its rows going the whole way from mutations to PostgreSQL."""

    def __init__(self, connection: psycopg.Connection[Any], table: Table, entry: dict[str, Any]) -> None:
        register(connection)
        self.connection = connection
        self.table = table
        self.rules = rules_of(table, entry)
        self.target = target_of(table, self.rules)
        self.shape = table.shape(replicated=True)
        self.indexes = {column.name: column.index for column in table.columns}
        control = ControlStore("test", "casscade")
        control.migrate(connection)
        for statement in plan_target(self.target, ExistingSchema()):
            connection.execute(statement.sql.encode())
        epoch, _ = control.acquire(connection, "node")
        self.writer = BatchWriter(control, Sources.single("node", epoch), clock=lambda: float(NOW))
        self.writer.add_target(connection, self.target, 3600, rules=self.rules)
        self.writer.prepare(connection)
        table_id = table.id.bytes
        self.batcher = Batcher(
            lambda: {self.shape.id: self.shape},
            lambda _: False,
            batch_rows=1000,
            batch_s=1e9,
            excluded=excluded_columns([self.target], {table_id: self.rules}),
            rewriting=rewriting_of([self.rules]),
        )
        self.applied = 0

    def row(self, ts: int, key: int = 1, *, insert: bool = True, **cells: Any) -> PartitionUpdate:
        """An INSERT or UPDATE; cells are texts, bytes, numbers or whole cells."""
        clustering: list[bytes | None] = [key.to_bytes(4, "big")]
        row = Row(clustering_key(clustering, [4]), clustering)
        row.liveness_ts = ts if insert else NO_TIMESTAMP
        update = PartitionUpdate(self.shape, uuid.UUID(int=key).bytes)
        static = Row(b"", [])
        for name, value in cells.items():
            column = self.table.column(name)
            assert column is not None
            cell: Cell = value if isinstance(value, tuple) else live_cell(ts, _bytes(column.type, value))
            (static if column.kind is ColumnKind.STATIC else row).cells[column.index] = cell
        update.rows = [row]
        update.static_row = static if static.cells else None
        return update

    def apply(self, *updates: PartitionUpdate, raw: list[bytes] | None = None) -> Counter[str]:
        mutations = [encode_mutation([update], 8) for update in updates] + (raw or [])
        self.applied += 1
        chunk = Chunk("node", 8, Position(1, self.applied), 0.0, mutations, list(range(len(mutations))))
        self.batcher.add(chunk)
        self.counts = self.writer.apply(self.connection, self.batcher.take())
        return self.counts.dead_letters

    def shown(self, *names: str) -> list[tuple[Any, ...]]:
        columns = sql.SQL(", ").join(sql.Identifier(name) for name in names)
        return self.connection.execute(sql.SQL("SELECT {} FROM ks.people ORDER BY k").format(columns)).fetchall()

    def everything(self) -> str:
        """All of every table of the database; bytes are in hexadecimal."""
        found: list[str] = []
        tables = self.connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('ks', 'casscade')"
        ).fetchall()
        for schema, name in tables:
            rows = self.connection.execute(sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(schema, name)))
            found += [row[0] for row in rows]
        return "\n".join(found)


def _bytes(type_: CqlType, value: Any) -> bytes:
    return value if isinstance(value, bytes) else encode(type_, value)


SHOWING: dict[str, Any] = {
    "transforms": [
        {"trim": {"columns": ["name"]}},
        {"case": {"columns": ["name"], "to": "lower"}},
        {"json_path": {"columns": ["doc"], "path": "$.n"}},
        {"cast": {"columns": ["doc"], "to": "int"}},
        {"utc": {"columns": ["when"]}},
        {"rename": {"column": "when", "to": "happened_at"}},
        {"cast": {"columns": ["age"], "to": "text"}},
        {"constant": {"columns": ["city"], "value": "somewhere"}},
        {"null": {"columns": ["phone"]}},
        {"drop": {"columns": ["token"]}},
    ]
}
HIDING: dict[str, Any] = {
    "transforms": [
        {"mask": {"columns": ["email"], "with": "hmac-sha256"}},
        {"mask": {"columns": ["name"], "with": "redact"}},
        {"mask": {"columns": ["phone"], "with": "partial"}},
        {"mask": {"columns": ["city"], "with": "format"}},
        {"mask": {"columns": ["age"], "with": "hmac-sha256"}},
        {"json_path": {"columns": ["doc"], "path": "$.n"}},
        {"mask": {"columns": ["doc"], "with": "redact"}},
        {"null": {"columns": ["ssn"]}},
        {"drop": {"columns": ["token"]}},
        {"constant": {"columns": ["when"], "value": "some day"}},
        {"mask": {"columns": ["secr*"], "with": "redact"}},
        {"hash": {"columns": ["id"]}},
    ]
}


def test_every_rule_shows_what_it_says(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        loaded = Loaded(connection, people(), SHOWING)
        values: dict[str, Any] = {
            "name": " Ada ",
            "doc": '{"n": "7"}',
            "when": "2026-07-01 12:00 Europe/Berlin",
            "age": 30,
        }
        loaded.apply(loaded.row(1, city="Berlin", phone="123", token="t", **values))
        names = ("name", "doc", "age", "city", "phone")
        assert loaded.shown(*names) == [("ada", 7, "30", "somewhere", None)]
        assert str(loaded.shown("happened_at")[0][0].timestamp()) == "1782900000.0"
        columns = {row[0] for row in connection.execute("SELECT * FROM ks.people LIMIT 0").description or ()}
        assert not {"token", "when"} & columns
        # A partial update, a null, and nothing at the path.
        loaded.apply(loaded.row(2, insert=False, name="EVE", doc="{}", city=(2, 0, 0, None)))
        assert loaded.shown(*names) == [("eve", None, "30", None, None)]


def test_ties_are_decided_by_what_cassandra_wrote(database: str) -> None:
    """ "b" is greater than " c", though what is shown of them is not."""
    with psycopg.connect(database, autocommit=True) as connection:
        loaded = Loaded(connection, people(), SHOWING)
        for name in ("b", " c", "b"):
            loaded.apply(loaded.row(5, name=name))
            assert loaded.shown("name") == [("b",)]


@pytest.mark.requirement("FR-022")
def test_a_rule_that_fails_sets_its_row_aside_and_the_others_go_on(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        loaded = Loaded(connection, people(), SHOWING)
        failed = loaded.apply(
            loaded.row(1, 1, doc="no json"),
            loaded.row(1, 2, doc='{"n": "x"}'),
            loaded.row(1, 3, name=b"\xff\xfe"),
            loaded.row(1, 4, name="Ada\x00", doc='{"n": 4}', when=""),
            loaded.row(1, 5, name="", doc='{"n": 5}'),
            loaded.row(1, 6, name="Ä" * 100_000),
        )
        assert failed == {"rule_failed": 4}
        assert loaded.counts.broken == {("ks.people", rule): 1 for rule in ("cast", "json_path", "trim", "utc")}
        assert [(len(name), doc) for name, doc in loaded.shown("name", "doc")] == [(0, 5), (100_000, None)]
        messages = [row[0] for row in connection.execute("SELECT message FROM casscade.dead_letters ORDER BY message")]
        assert [message.split()[2] for message in messages] == ["cast", "json_path", "trim", "utc"]
        # What is applied again changes nothing, and a good value comes in place of the bad one.
        loaded.apply(loaded.row(1, 1, doc="no json"), loaded.row(2, 2, doc='{"n": "8"}'))
        assert loaded.shown("k", "doc") == [(2, 8), (5, 5), (6, None)]


MARKER = "Xq7Marker"
SHOWN = "Yq8Shown"


def _marked(rng: random.Random) -> str:
    """A text with the marker in it, sometimes one that rules choke on."""
    return rng.choice(["", '{"n": "', "\x00", "ä"]) + MARKER + rng.choice(["", '"}', "\x00", " 1"])


def _random_update(rng: random.Random, loaded: Loaded) -> PartitionUpdate:
    cells: dict[str, Any] = {}
    for name in (*TEXTS, "secrets"):
        if rng.random() < 0.5:
            content = _marked(rng).encode()
            if rng.random() < 0.15:
                content += b"\xff\xfe"
            ts = rng.randint(1, 5)
            cells[name] = rng.choice(
                [live_cell(ts, content), expiring_cell(ts, NOW + 100, 500, content), (ts, 0, 0, None)]
            )
    return loaded.row(rng.randint(1, 5), rng.randint(1, 3), insert=rng.random() < 0.6, age=rng.randint(0, 9), **cells)


@pytest.mark.requirement("FR-030")
@pytest.mark.parametrize("condition", [None, "age > 4 or k = 1"])
def test_what_is_masked_is_nowhere_in_postgres(database: str, condition: str | None) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    entry: dict[str, Any] = HIDING
    if condition is not None:  # of which the columns may not be hidden
        shown = [each for each in HIDING["transforms"] if each.get("mask", {}).get("columns") != ["age"]]
        entry = {"where": condition, "transforms": shown}
    with psycopg.connect(database, autocommit=True) as connection:
        loaded = Loaded(connection, people(), entry)
        broken = encode_mutation([loaded.row(1, 2, email=MARKER)], 8)
        for _ in range(12):
            updates = [_random_update(rng, loaded) for _ in range(8)]
            loaded.apply(*updates, raw=[broken[:-1]])
        # Newer than all of these, whose values may all be deleted or set aside: what the search has to find.
        loaded.apply(loaded.row(6, 1, name=MARKER, note=SHOWN))
        loaded.apply(loaded.row(6, 2, age=1, email=MARKER, note=f"{SHOWN}\x00"))
        everything = loaded.everything()
        letters = connection.execute("SELECT count(*), sum(length(mutation)) FROM casscade.dead_letters").fetchone()
        assert letters is not None
        assert letters[0] > 1
        assert REDACTED in everything, "the search looks at the rows"
        assert SHOWN in everything, "the search finds what is shown"
        assert SHOWN.encode().hex() in everything, "the search looks into states"
        for form in (MARKER, MARKER.encode().hex(), MARKER.lower()):
            assert form not in everything
        for key in (1, 2, 3):
            assert uuid.UUID(int=key).bytes.hex() not in everything
            assert str(uuid.UUID(int=key)) not in everything


@pytest.mark.requirement("FR-030")
@pytest.mark.requirement("FR-021")
def test_letters_of_batches_and_their_replay_hold_nothing_hidden(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        loaded = Loaded(connection, people(), HIDING)
        mutations = [encode_mutation([loaded.row(1, 2, email=MARKER, age=7, token=MARKER, secrets=MARKER)], 8)]
        mutations.append(mutations[0][:-1])
        loaded.batcher.add(Chunk("node", 8, Position(1, 1), 0.0, mutations, [1, 2]))
        loaded.writer.set_aside(connection, loaded.batcher.take(), "57P03", 3)
        everything = loaded.everything()
        assert MARKER not in everything
        assert MARKER.encode().hex() not in everything
        letters = connection.execute(
            "SELECT code, encoding, mutation FROM casscade.dead_letters ORDER BY id"
        ).fetchall()
        whole = [(encoding, bytes(mutation)) for _, encoding, mutation in letters if mutation]
        assert [encoding for encoding, _ in whole] == [8 | RULED]
        # Applied again it is the row that it would have been.
        loaded.batcher.add(Chunk("node", whole[0][0], Position(1, 2), 0.0, [whole[0][1]], [3]))
        assert loaded.writer.apply(connection, loaded.batcher.take()).dead_letters == {}
        replayed = loaded.shown("id", "email", "age", "k")
        connection.execute("DELETE FROM ks.people")
        loaded.apply(loaded.row(1, 2, email=MARKER, age=7, token=MARKER, secrets=MARKER))
        assert loaded.shown("id", "email", "age", "k") == replayed
        assert len(replayed) == 1


def test_hashed_keys_join(database: str) -> None:
    entry: dict[str, Any] = {"transforms": [{"hash": {"columns": ["id"]}}, {"hash": {"columns": ["email"]}}]}
    with psycopg.connect(database, autocommit=True) as connection:
        loaded = Loaded(connection, people(), entry)
        loaded.apply(loaded.row(1, 1, email=str(uuid.UUID(int=2))), loaded.row(1, 2))
        joined = connection.execute("SELECT a.k, b.k FROM ks.people a JOIN ks.people b ON a.email = b.id").fetchall()
        assert joined == [(1, 2)]
        deletion = PartitionUpdate(loaded.shape, uuid.UUID(int=1).bytes)
        deletion.deletion = 3
        loaded.apply(deletion)
        assert loaded.shown("k") == [(2,)]


def test_conditions_on_keys_store_nothing(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        loaded = Loaded(connection, people(), {"where": "k in (2, 3) and id <> '00000000-0000-0000-0000-000000000003'"})
        loaded.apply(*(loaded.row(1, key, name="x") for key in (1, 2, 3)))
        assert loaded.shown("k") == [(2,)]
        assert loaded.batcher.counts["filtered"] == 2
        assert connection.execute("SELECT count(*) FROM casscade.hidden_rows").fetchone() == (0,)


def test_a_column_of_many_cells_can_be_null(database: str) -> None:
    columns = (
        Column("id", ColumnKind.PARTITION_KEY, 0, UUID),
        Column("k", ColumnKind.CLUSTERING, 0, INT),
        Column("tags", ColumnKind.REGULAR, -1, CqlType("set", (TEXT,))),
    )
    table = assign_indexes(Table(uuid.uuid4(), "ks", "people", columns), {})
    with psycopg.connect(database, autocommit=True) as connection:
        loaded = Loaded(connection, table, {"transforms": [{"null": {"columns": ["tags"]}}]})
        update = loaded.row(1)
        update.rows[0].complex = {0: ComplexColumn(NO_TIMESTAMP, {MARKER.encode(): live_cell(1, b"")})}
        loaded.apply(update)
        assert loaded.shown("k", "tags") == [(1, None)]
        assert MARKER.encode().hex() not in loaded.everything()
