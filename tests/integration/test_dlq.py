"""Dead letters from their failure to their return, on a real PostgreSQL: history, filters, replay, discard."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from casscade.cli.main import main
from casscade.commitlog.encoder import encode_mutation
from casscade.core.cell import live_cell
from casscade.core.errors import InvariantError
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.position import Position
from casscade.cql.types import CqlType
from casscade.deadletter.replayer import Replayer
from casscade.deadletter.show import Describer
from casscade.deadletter.store import DeadLetterStore, Filter
from casscade.devstack.places import free_port
from casscade.load import flood
from casscade.load.batch import BatchWriter
from casscade.load.batcher import Batcher
from casscade.load.control import ControlStore
from casscade.load.letters import RETRIES_EXHAUSTED, digest_of
from casscade.load.raw import register
from casscade.load.sources import Sources
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import build_target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from casscade.transport.chunk import Chunk

pytestmark = pytest.mark.servers

NODE = str(uuid.UUID(int=9))
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
SHAPE = TABLE.shape(replicated=True)
SMALL = "ALTER TABLE ks.t ADD CONSTRAINT small CHECK (a < 100)"


def mutation(key: str, value: int, time: int = 5) -> bytes:
    row = Row(b"", [])
    row.liveness_ts = time
    row.cells = {0: live_cell(time, value.to_bytes(4, "big"))}
    update = PartitionUpdate(SHAPE, key.encode())
    update.rows = [row]
    return encode_mutation([update], 8)


class Site:
    """A table, a loader driven by hand, the letters and what replays them."""

    def __init__(self, connection: psycopg.Connection[Any], dsn: str, percent: int = 100) -> None:
        register(connection)
        self.connection = connection
        self.dsn = dsn
        control = ControlStore("test", "casscade")
        control.migrate(connection)
        target = build_target(TABLE)
        for statement in plan_target(target, ExistingSchema()):
            connection.execute(statement.sql.encode())
        sources = Sources.single(NODE, control.acquire(connection, NODE)[0])
        self.writer = BatchWriter(control, sources, dead_letter_percent_max=percent)
        self.writer.add_target(connection, target, 3600)
        self.writer.prepare(connection)
        self.shapes = {SHAPE.id: SHAPE}
        self.batcher = Batcher(lambda: self.shapes, lambda _: False, batch_rows=10_000, batch_s=1e9)
        self.store = DeadLetterStore("test", "casscade")
        self.replayer = Replayer(self.store, self.transaction, self.put, threading.Event())
        self._position = 0

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Any]]:
        with self.connection.transaction():
            yield self.connection

    def stream(self, *mutations: bytes, together: Chunk | None = None) -> None:
        self._position += len(mutations)
        offsets = list(range(self._position - len(mutations) + 1, self._position + 1))
        chunk = Chunk(NODE, 8, Position(1, self._position), 0.0, list(mutations), offsets)
        for each in (chunk, together):
            if each is not None:
                self.batcher.add(each)
        self.write()

    def put(self, chunk: Chunk, _stop: threading.Event) -> bool:
        self.batcher.add(chunk)
        self.write()
        return True

    def write(self) -> None:
        batch = self.batcher.take()
        try:
            self.counts = self.writer.apply(self.connection, batch)
        except psycopg.errors.IntegrityError:
            self.counts = self.writer.apply_isolated(self.connection, batch)

    def replay(self, which: Filter | None = None) -> int:
        with self.transaction() as connection:
            self.store.request(connection, which or Filter())
        return self.replayer.step()

    def letters(self, which: Filter | None = None) -> list[Any]:
        return self.store.letters(self.connection, which or Filter(), 100)

    def rows(self) -> list[Any]:
        return self.connection.execute("SELECT p, a FROM ks.t ORDER BY p").fetchall()


@pytest.fixture
def site(database: str) -> Iterator[Site]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield Site(connection, database)


@pytest.mark.requirement("FR-021")
@pytest.mark.requirement("US-5")
def test_what_is_fixed_comes_back_and_what_is_not_keeps_its_history(site: Site) -> None:
    site.connection.execute(SMALL)
    site.stream(mutation("a", 1), mutation("b", 200), mutation("c", 300))
    before = {letter.key_digest: letter for letter in site.letters()}
    assert {letter.code for letter in before.values()} == {"postgres_23514"}
    letter = before[digest_of(b"b")]
    assert (letter.table, letter.retries, letter.state, letter.scanned) == ("ks.t", 0, "waiting", False)
    assert "load" in letter.stack
    assert "200" not in letter.message + letter.stack
    # The cause of one of the two is removed.
    site.connection.execute("ALTER TABLE ks.t DROP CONSTRAINT small")
    site.connection.execute("ALTER TABLE ks.t ADD CONSTRAINT larger CHECK (a < 250)")
    assert site.replay() == 2
    assert site.rows() == [("a", 1), ("b", 200)]
    (left,) = site.letters()
    old = before[digest_of(b"c")]
    assert (left.id, left.event_id, left.mutation) == (old.id, old.event_id, old.mutation)
    assert (left.retries, left.state, left.first_failed_at) == (1, "waiting", old.first_failed_at)
    assert left.last_failed_at > old.last_failed_at
    assert "larger" in left.message
    # A replay of a replay, and the same mutations once more from the log, change nothing.
    assert site.replay() == 1
    site.stream(mutation("b", 200), mutation("c", 300))
    assert (site.rows(), [each.retries for each in site.letters()]) == ([("a", 1), ("b", 200)], [2])
    site.connection.execute("ALTER TABLE ks.t DROP CONSTRAINT larger")
    assert site.replay() == 1
    assert site.counts.replayed == 1
    assert (site.rows()[-1], site.letters()) == (("c", 300), [])


@pytest.mark.requirement("FR-025")
def test_a_replay_does_not_undo_what_came_later(site: Site) -> None:
    site.connection.execute(SMALL)
    site.stream(mutation("a", 500, time=5))
    site.stream(mutation("a", 7, time=9))
    site.connection.execute("ALTER TABLE ks.t DROP CONSTRAINT small")
    assert site.replay() == 1
    assert (site.rows(), site.letters()) == ([("a", 7)], [])


def test_a_letter_that_merges_with_a_newer_row_hands_its_history_on(site: Site) -> None:
    site.connection.execute(SMALL)
    site.stream(mutation("a", 500, time=5))
    (old,) = site.letters()
    with site.transaction() as connection:
        site.store.request(connection, Filter())
    held: list[Chunk] = []

    def hold(chunk: Chunk, _stop: threading.Event) -> bool:
        held.append(chunk)
        return True

    Replayer(site.store, site.transaction, hold, threading.Event()).step()
    site.stream(mutation("a", 600, time=9), together=held[0])
    (new,) = site.letters()
    assert new.event_id != old.event_id
    assert (new.retries, new.first_failed_at, new.state) == (1, old.first_failed_at, "waiting")
    assert site.counts.replayed == 0


@pytest.mark.requirement("FR-017")
def test_bytes_that_no_schema_described_are_decoded_when_one_does(site: Site) -> None:
    del site.shapes[SHAPE.id]
    site.shapes[b"x" * 16] = SHAPE
    unknown = mutation("a", 1)
    site.batcher.add(Chunk(NODE, 8, Position(1, 1), 0.0, [unknown[:-1]], [1]))
    site.shapes = {SHAPE.id: SHAPE}
    site.batcher.add(Chunk(NODE, 8, Position(1, 2), 0.0, [b"\x01\x02"], [2]))
    site.write()
    codes = [(letter.code, letter.event_id) for letter in site.letters()]
    assert (codes[-1][1], site.letters()[-1].mutation) == (f"{NODE}:1:2", b"\x01\x02")
    assert site.replay() == len(codes)
    assert [(letter.retries, letter.event_id) for letter in site.letters()][-1] == (1, f"{NODE}:1:2")


@pytest.mark.requirement("FR-022")
def test_a_letter_of_a_table_that_is_not_replicated_any_more_does_not_vanish(site: Site) -> None:
    site.connection.execute(SMALL)
    site.stream(mutation("a", 500))
    site.connection.execute("ALTER TABLE ks.t DROP CONSTRAINT small")
    site.shapes = {SHAPE.id: TABLE.shape(replicated=False)}
    assert site.replay() == 1
    assert [(letter.code, letter.retries) for letter in site.letters()] == [("table_not_replicated", 1)]
    site.shapes = {SHAPE.id: SHAPE}
    assert site.replay() == 1
    assert (site.rows(), site.letters()) == ([("a", 500)], [])


@pytest.mark.requirement("FR-021")
def test_a_whole_batch_is_set_aside_and_comes_back(site: Site) -> None:
    site.batcher.add(Chunk(NODE, 8, Position(1, 2), 0.0, [mutation("a", 1), mutation("b", 2)], [1, 2]))
    counts = site.writer.set_aside(site.connection, site.batcher.take(), "57014", 9)
    assert counts.dead_letters == {RETRIES_EXHAUSTED: 2}
    assert [(letter.retries, letter.table, letter.event_id) for letter in site.letters()] == [
        (9, "ks.t", f"{NODE}:1:{offset}") for offset in (1, 2)
    ]
    assert site.writer.control.position(site.connection, NODE) == Position(1, 2)
    assert site.replay() == 2
    assert (site.rows(), site.letters()) == ([("a", 1), ("b", 2)], [])


@pytest.mark.requirement("SC-021")
def test_a_flood_stops_the_pipeline_and_leaves_the_store_as_it_was(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flood, "LETTERS_MIN", 20)
    with psycopg.connect(database, autocommit=True) as connection:
        site = Site(connection, database, percent=10)
        connection.execute(SMALL)
        site.stream(*(mutation(f"good {number}", 1) for number in range(150)), mutation("bad", 500))
        bad = [mutation(f"bad {number}", 500) for number in range(30)]
        with pytest.raises(InvariantError, match="more than 10 percent") as caught:
            site.stream(*bad)
        assert (caught.value.code, "dead_letter_percent_max" in caught.value.hint) == ("dead_letter_flood", True)
        assert len(site.letters()) == 1
        assert site.writer.control.position(connection, NODE) == Position(1, 151)
        # The same share, spread over more sound rows, is none.
        site.stream(*(mutation(f"more {number}", 1) for number in range(300)), *bad)
        assert len(site.letters()) == 31
        # Letters that are replayed and fail again are no flood either.
        assert site.replay() == 31
        assert {letter.retries for letter in site.letters()} == {1}


class TestCommand:
    """`casscade dlq` on letters of two causes."""

    @pytest.fixture
    def config(self, site: Site, tmp_path: Path) -> Path:
        site.connection.execute(SMALL)
        site.stream(*(mutation(f"k{number}", 400 + number) for number in range(3)), b"\x01\x02")
        file = tmp_path / "casscade.yaml"
        file.write_text(
            "name: test\n"
            f"cassandra: {{contact_points: [127.0.0.1], port: {free_port()}, local_datacenter: datacenter1}}\n"
            f"capture: {{cdc_directory: /cdc, state_directory: {tmp_path}}}\n"
            f'postgres: {{dsn: "{site.dsn}"}}\n'
            f"http: {{listen: 127.0.0.1:{free_port()}}}\n"
            "tables: [{source: ks.t}]\n",
            encoding="utf-8",
        )
        return file

    @staticmethod
    def call(config: Path, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["dlq", arguments[0], "-c", str(config), *arguments[1:]])

    @pytest.mark.requirement("SC-014")
    def test_list_groups_by_cause_and_filters(self, site: Site, config: Path) -> None:
        listed = self.call(config, "list")
        assert listed.exit_code == 0, listed.output
        assert listed.output.splitlines()[0].split()[:4] == ["3", "postgres_23514", "ks.t", "waiting"]
        assert listed.output.splitlines()[-1] == "4 of 4 dead letters"
        for option, count in {
            ("--table", "ks.t"): 3,
            ("--code", "postgres_23514"): 3,
            ("--table", "ks.other"): 0,
            ("--newer-than", "1h"): 4,
            ("--older-than", "1m"): 0,
            ("--id", str(site.letters()[0].id)): 1,
        }.items():
            assert f"{count} of 4 dead letters" in self.call(config, "list", *option).output, option
        assert len(self.call(config, "list", "--each").output.splitlines()) == 2 + 4 + 1
        assert "write 30s, 15m, 2h or 7d" in self.call(config, "list", "--older-than", "soon").output

    def test_replay_flags_what_is_chosen_and_says_that_nobody_runs(self, site: Site, config: Path) -> None:
        assert "[letters_unchosen]" in self.call(config, "replay").output
        dry = self.call(config, "replay", "--code", "postgres_23514", "--dry-run")
        assert "3 of 4 dead letters would be replayed; nothing was changed" in dry.output
        assert {letter.state for letter in site.letters()} == {"waiting"}
        done = self.call(config, "replay", "--code", "postgres_23514")
        assert "3 of 4 dead letters will be replayed" in done.output
        assert "no pipeline answers" in done.output
        site.connection.execute("ALTER TABLE ks.t DROP CONSTRAINT small")
        assert site.replayer.step() == 3
        assert len(site.letters()) == 1

    def test_discard_asks_and_counts(self, site: Site, config: Path) -> None:
        one = str(site.letters()[0].id)
        assert self.call(config, "discard", "--id", one).exit_code == 1
        dry = self.call(config, "discard", "--all", "--dry-run")
        assert "4 of 4 dead letters would be discarded" in dry.output
        assert len(site.letters()) == 4
        gone = self.call(config, "discard", "--id", one, "--yes")
        assert "1 discarded: 4 dead letters before, 3 after" in gone.output
        with site.transaction() as connection:
            site.store.request(connection, Filter())
            site.store.claim(connection)
        # What is being replayed is not deleted under it.
        assert "0 discarded: 3 dead letters before, 3 after" in self.call(config, "discard", "--all", "--yes").output

    @pytest.mark.requirement("FR-030")
    def test_show_masks_values_unless_asked(self, site: Site, config: Path) -> None:
        shown = self.call(config, "show", "--limit", "2")
        assert "2 of 4 dead letters" in shown.output
        assert "can't be decoded" in shown.output, "Cassandra does not answer here"
        letter = next(each for each in site.letters() if each.key_digest == digest_of(b"k0"))
        masked = "\n".join(Describer({TABLE.id: TABLE}, values=False).lines(letter))
        told = "\n".join(Describer({TABLE.id: TABLE}, values=True).lines(letter))
        assert "ks.t: p <2 bytes>" in masked
        assert "a <4 bytes> written at 5" in masked
        assert "ks.t: p k0" in told
        assert "a 400 written at 5" in told
        assert letter.key_digest in masked
