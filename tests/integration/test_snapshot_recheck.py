"""Rows of a snapshot that lose their last value stay exactly where Cassandra still shows them."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from cassandra import ConsistencyLevel

from casscade.commitlog.encoder import encode_mutation
from casscade.commitlog.observations import OBSERVING, encode_observing
from casscade.core.cell import NO_TIMESTAMP, expiring_cell, live_cell, tombstone_cell
from casscade.core.mutation import ComplexColumn, PartitionUpdate, Row
from casscade.core.position import Position
from casscade.devstack.cassandra import CassandraNode
from casscade.load.batch import BatchWriter
from casscade.load.batcher import Batcher
from casscade.load.control import ControlStore
from casscade.load.doubts import Doubt, request_rechecks
from casscade.load.raw import register
from casscade.load.sources import Sources
from casscade.schema.connect import CassandraSettings, connect
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import build_target
from casscade.schema.model import Table
from casscade.schema.reader import read_schema
from casscade.snapshot.ranges import TOKEN_MAX, TOKEN_MIN
from casscade.snapshot.recheck import Rechecker, RecheckStore
from casscade.snapshot.rows import TableScan
from casscade.snapshot.wire import RawSession
from casscade.transport.chunk import Chunk, RecheckProgress, SnapshotProgress

pytestmark = pytest.mark.servers


class Copy:
    """A table in both databases with a loader between them, driven by hand."""

    def __init__(
        self,
        reader: RawSession,
        table: Table,
        connection: psycopg.Connection[Any],
        *,
        element_times: bool = True,
    ) -> None:
        self.reader = reader
        self.table = table
        self.name = table.full_name
        self.scan = TableScan(table, element_times=element_times)
        self.shape = table.shape(replicated=True)
        self.connection = connection
        self.rechecks = RecheckStore("test", "casscade")
        control = ControlStore("test", "casscade")
        control.migrate(connection)
        target = build_target(table, schema="copy")
        for statement in plan_target(target, ExistingSchema()):
            connection.execute(statement.sql.encode())
        epoch, _ = control.acquire(connection, "node")
        self.later_s = 0.0
        self.writer = BatchWriter(
            control,
            Sources.single("node", epoch),
            commit_progress=self._commit_progress,
            clock=lambda: time.time() + self.later_s,
        )
        self.writer.add_target(connection, target, 0)
        self.writer.prepare(connection)
        self.batcher = Batcher(lambda: {self.shape.id: self.shape}, lambda _: False, batch_rows=1000, batch_s=1.0)

    def _commit_progress(self, connection: Any, progress: Any) -> None:
        if isinstance(progress, RecheckProgress):
            self.rechecks.answered(connection, progress)

    def apply(self, chunk: Chunk, _stop: threading.Event | None = None) -> bool:
        return self.apply_together(chunk)

    def apply_together(self, *chunks: Chunk) -> bool:
        for chunk in chunks:
            self.batcher.add(chunk)
        self.writer.apply(self.connection, self.batcher.take())
        return True

    def snapshot(self) -> None:
        self.apply(self.scanned())

    def scanned(self) -> Chunk:
        statement = self.reader.prepare(self.scan.query, ConsistencyLevel.ONE)
        page = self.reader.fetch(statement, (TOKEN_MIN, TOKEN_MAX), 1000, None)
        parts = self.scan.read_page(page.rows, page.now, page.read_at)
        mutations = [encode_observing(part.update) for part in parts]
        offsets = list(range(len(mutations)))
        progress = SnapshotProgress(1, 0, 1, done=True)
        return Chunk("snapshot", OBSERVING, Position(0, 0), 0.0, mutations, offsets, 0, progress)

    def stream(self, *rows: tuple[int, Row]) -> None:
        self.apply(self.streamed(*rows))

    def streamed(self, *rows: tuple[int, Row]) -> Chunk:
        mutations = []
        for key, row in rows:
            update = PartitionUpdate(self.shape, key.to_bytes(4, "big"))
            update.rows.append(row)
            mutations.append(encode_mutation([update], 8))
        return Chunk("node", 8, Position(1, 1), 0.0, mutations, list(range(len(mutations))))

    def recheck(self) -> int:
        @contextmanager
        def transaction() -> Any:
            with self.connection.transaction():
                yield self.connection

        rechecker = Rechecker(
            self.reader,
            {self.table.id: self.scan},
            self.rechecks,
            transaction,
            self.apply,
            threading.Event(),
            ConsistencyLevel.ONE,
        )
        return rechecker.step()

    def rows(self, columns: str = "k, a") -> list[tuple[Any, ...]]:
        return self.connection.execute(f"SELECT {columns} FROM copy.{self.table.name} ORDER BY k".encode()).fetchall()

    def requests(self) -> int:
        row = self.connection.execute("SELECT count(*) FROM casscade.rechecks").fetchone()
        assert row is not None
        return int(row[0])


def without_value() -> Row:
    row = Row(b"", [])
    row.cells[0] = tombstone_cell(int(time.time() * 1e6))
    return row


@pytest.fixture(scope="module")
def reader(cassandra_node: CassandraNode) -> Iterator[RawSession]:
    cluster, _ = connect(CassandraSettings((cassandra_node.address,), "datacenter1", cassandra_node.port))
    session = RawSession(cluster)
    yield session
    session.close()
    cluster.shutdown()


@pytest.fixture(scope="module")
def tables(cassandra_session: Any) -> Iterator[dict[str, Table]]:
    """`plain` and `sets`, which all tests use one after the other: making tables takes longer than most of them."""
    name = f"recheck_{uuid.uuid4().hex[:12]}"
    cassandra_session.execute(
        f"CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    )
    cassandra_session.execute(f"CREATE TABLE {name}.plain (k int PRIMARY KEY, a int) WITH cdc = true")
    cassandra_session.execute(f"CREATE TABLE {name}.sets (k int PRIMARY KEY, a int, s set<int>) WITH cdc = true")
    yield {table.name: table for table in read_schema(cassandra_session).tables.values() if table.keyspace == name}
    cassandra_session.execute(f"DROP KEYSPACE {name}", timeout=60)


def emptied(session: Any, table: Table) -> Table:
    """The table without the rows of the test before."""
    session.execute(f"DELETE FROM {table.full_name} WHERE k IN (1, 2, 3)")
    return table


@pytest.fixture
def copy(reader: RawSession, cassandra_session: Any, tables: dict[str, Table], database: str) -> Iterator[Copy]:
    with psycopg.connect(database, autocommit=True) as connection:
        register(connection)
        yield Copy(reader, emptied(cassandra_session, tables["plain"]), connection)


@pytest.mark.requirement("FR-001")
@pytest.mark.parametrize("order", ["after", "before", "together", "together again"])
def test_an_inserted_row_stays_and_an_updated_one_goes(copy: Copy, cassandra_session: Any, order: str) -> None:
    cassandra_session.execute(f"INSERT INTO {copy.name} (k, a) VALUES (1, 10)")
    cassandra_session.execute(f"UPDATE {copy.name} SET a = 20 WHERE k = 2")
    cassandra_session.execute(f"INSERT INTO {copy.name} (k) VALUES (3)")
    scanned = copy.scanned()
    for key in (1, 2):
        cassandra_session.execute(f"DELETE a FROM {copy.name} WHERE k = {key}")
    deletions = ((1, without_value()), (2, without_value()))
    if order == "after":
        copy.apply(scanned)
        assert copy.rows() == [(1, 10), (2, 20), (3, None)]
    if order in ("before", "together again"):
        copy.stream(*deletions)
        assert copy.rows() == []
    if order == "before":
        copy.apply(scanned)
    elif order == "after":
        copy.stream(*deletions)
    else:
        copy.apply_together(copy.streamed(*deletions), scanned)
    assert copy.rows() == [(3, None)]
    assert copy.requests() == 2
    assert copy.recheck() == 2
    assert copy.rows() == [(1, None), (3, None)]
    assert copy.requests() == 0


@pytest.mark.requirement("FR-008")
def test_a_row_whose_values_expired_is_read_again(copy: Copy, cassandra_session: Any) -> None:
    cassandra_session.execute(f"INSERT INTO {copy.name} (k, a) VALUES (1, 10)")
    copy.snapshot()
    row = Row(b"", [])
    now = int(time.time())
    row.cells[0] = expiring_cell(now * 1_000_000 + 999_999, now + 1000, 1000, (11).to_bytes(4, "big"))
    copy.stream((1, row))
    assert copy.rows() == [(1, 11)]
    # Stands for the time that passes in Cassandra.
    cassandra_session.execute(f"DELETE a FROM {copy.name} WHERE k = 1")
    copy.later_s = 1001
    copy.writer.reap(copy.connection)
    assert copy.rows() == []
    copy.recheck()
    assert copy.rows() == [(1, None)]


def test_a_row_that_was_deleted_as_a_whole_is_not_read_again(copy: Copy, cassandra_session: Any) -> None:
    cassandra_session.execute(f"INSERT INTO {copy.name} (k, a) VALUES (1, 10)")
    copy.snapshot()
    deleted = Row(b"", [])
    deleted.deletion = int(time.time() * 1e6)
    copy.stream((1, deleted))
    assert copy.rows() == []
    assert copy.requests() == 0


def test_a_request_for_a_table_that_is_gone_is_dropped(copy: Copy) -> None:
    request_rechecks(copy.writer.control, copy.connection, uuid.uuid4(), [Doubt(b"k", b"k", [])], static=False)
    assert copy.recheck() == 1
    assert copy.requests() == 0


@pytest.fixture
def sets(reader: RawSession, cassandra_session: Any, tables: dict[str, Table], database: str) -> Iterator[Copy]:
    """A table with a set, read as from a node before 5.0: without the write times of its elements."""
    with psycopg.connect(database, autocommit=True) as connection:
        register(connection)
        yield Copy(reader, emptied(cassandra_session, tables["sets"]), connection, element_times=False)


def added(element: int, ttl: int = 0) -> Row:
    """What the commit log has of `s = s + {element}`, with a TTL if it is not 0."""
    row = Row(b"", [])
    now = time.time()
    cell = live_cell(int(now * 1e6), b"")
    if ttl:
        cell = expiring_cell(int(now * 1e6), int(now) + ttl, ttl, b"")
    row.complex = {1: ComplexColumn(NO_TIMESTAMP, {element.to_bytes(4, "big"): cell})}
    return row


@pytest.mark.requirement("FR-010")
def test_sets_without_write_times_are_read_again_after_each_change(sets: Copy, cassandra_session: Any) -> None:
    for key in (1, 2, 3):
        cassandra_session.execute(f"INSERT INTO {sets.name} (k, a, s) VALUES ({key}, 10, {{5, 4}})")
    sets.snapshot()
    assert sets.rows("k, s") == [(1, [4, 5]), (2, [4, 5]), (3, [4, 5])]
    cassandra_session.execute(f"UPDATE {sets.name} SET s = s + {{6}} WHERE k = 1")
    cassandra_session.execute(f"DELETE s FROM {sets.name} WHERE k = 2")
    cassandra_session.execute(f"DELETE FROM {sets.name} WHERE k = 3")
    emptied, deleted = Row(b"", []), Row(b"", [])
    emptied.complex = {1: ComplexColumn(int(time.time() * 1e6), {})}
    deleted.deletion = int(time.time() * 1e6)
    sets.stream((1, added(6)), (2, emptied), (3, deleted))
    assert sets.requests() == 3
    sets.recheck()
    assert sets.rows("k, a, s") == [(1, 10, [4, 5, 6]), (2, 10, None)]
    sets.recheck()  # row 3 lost its last value, which asks for its liveness once more
    assert sets.rows("k") == [(1,), (2,)]
    assert sets.requests() == 0
    # The set of row 2 is settled: what comes now is in the stream, and needs no read.
    sets.stream((2, added(8)))
    assert sets.rows("k, s") == [(1, [4, 5, 6]), (2, [8])]
    assert sets.requests() == 0


def test_changes_that_wait_are_one_request_and_one_behind_the_read_is_another(
    sets: Copy, cassandra_session: Any
) -> None:
    cassandra_session.execute(f"INSERT INTO {sets.name} (k, s) VALUES (1, {{1}})")
    sets.snapshot()
    for element in (2, 3):
        cassandra_session.execute(f"UPDATE {sets.name} SET s = s + {{{element}}} WHERE k = 1")
        sets.stream((1, added(element)))
    assert sets.requests() == 1
    (request,) = sets.rechecks.claim(sets.connection)
    assert sets.rechecks.claim(sets.connection) == []
    # Cassandra was away; then the process that had claimed it was.
    sets.rechecks.release(sets.connection, [request])
    assert sets.rechecks.claim(sets.connection) == [request]
    sets.connection.execute("UPDATE casscade.rechecks SET claimed_until = now() - interval '1 second'")
    assert sets.rechecks.claim(sets.connection) == [request]
    cassandra_session.execute(f"UPDATE {sets.name} SET s = s + {{4}} WHERE k = 1")
    sets.stream((1, added(4)))
    sets.rechecks.answered(sets.connection, RecheckProgress((request.recheck_id,)))
    assert sets.requests() == 1
    sets.recheck()
    assert sets.rows("k, s") == [(1, [1, 2, 3, 4])]
    assert sets.requests() == 0


@pytest.mark.requirement("FR-008")
def test_a_set_without_ttls_is_read_again_when_the_cells_beside_it_end(sets: Copy, cassandra_session: Any) -> None:
    cassandra_session.execute(f"INSERT INTO {sets.name} (k, a, s) VALUES (1, 1, {{1}}) USING TTL 1000")
    sets.snapshot()
    assert sets.rows("k, s") == [(1, [1])]
    # Stands for the time that passes in Cassandra.
    cassandra_session.execute(f"DELETE FROM {sets.name} WHERE k = 1")
    sets.later_s = 1001
    sets.writer.reap(sets.connection)
    sets.recheck()
    assert sets.rows("k, s") == []


@pytest.mark.requirement("FR-008")
@pytest.mark.parametrize("met_by", ["reaper", "batch"])
def test_a_set_without_ttls_is_read_again_when_an_element_of_the_stream_ends(
    sets: Copy, cassandra_session: Any, met_by: str
) -> None:
    cassandra_session.execute(f"INSERT INTO {sets.name} (k, a, s) VALUES (1, 1, {{1}})")
    sets.snapshot()
    cassandra_session.execute(f"UPDATE {sets.name} USING TTL 1000 SET s = s + {{6}} WHERE k = 1")
    sets.stream((1, added(6, ttl=1000)))
    sets.recheck()
    assert sets.rows("k, s") == [(1, [1, 6])]
    assert sets.requests() == 0
    # Stands for the time that passes in Cassandra.
    cassandra_session.execute(f"DELETE s[6] FROM {sets.name} WHERE k = 1")
    sets.later_s = 1001
    if met_by == "reaper":
        sets.writer.reap(sets.connection)
    else:
        other = Row(b"", [])
        other.cells[0] = live_cell(int(time.time() * 1e6), (2).to_bytes(4, "big"))
        sets.stream((1, other))
    assert sets.requests() == 1
    sets.recheck()
    assert sets.rows("k, s") == [(1, [1])]
    assert sets.requests() == 0
