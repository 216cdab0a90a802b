"""Snapshots of real tables: what is emitted, decoded again, equals what Cassandra shows, byte for byte."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import psycopg
import pytest
from cassandra import ConsistencyLevel

from casscade.commitlog.observations import decode_any
from casscade.core.cell import NO_TIMESTAMP, Cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.observed import UNBOUNDED
from casscade.cql.values import decoder
from casscade.devstack.cassandra import CassandraNode
from casscade.load.control import ControlStore
from casscade.schema.connect import CassandraSettings, connect
from casscade.schema.model import Table
from casscade.schema.reader import read_schema
from casscade.snapshot.plain import OLDEST
from casscade.snapshot.ranges import split_ring
from casscade.snapshot.rows import TableScan, shows_element_times
from casscade.snapshot.scanner import Scanner, ScanOptions
from casscade.snapshot.store import SnapshotStore
from casscade.snapshot.wire import RawSession
from casscade.transport.chunk import Chunk, SnapshotProgress

pytestmark = pytest.mark.servers

SCHEMA = "casscade"


@pytest.fixture(scope="module")
def cluster(cassandra_node: CassandraNode) -> Iterator[Any]:
    settings = CassandraSettings((cassandra_node.address,), "datacenter1", cassandra_node.port, request_timeout_s=30.0)
    opened, session = connect(settings)
    session.shutdown()
    yield opened
    opened.shutdown()


@pytest.fixture(scope="module")
def raw(cluster: Any) -> Iterator[RawSession]:
    session = RawSession(cluster)
    yield session
    session.close()


class Copy:
    """A snapshot of one table into a dictionary, with its tasks in PostgreSQL."""

    def __init__(
        self,
        raw: RawSession,
        database: str,
        table: Table,
        *,
        ranges: int = 3,
        name: str = "test",
        element_times: bool = True,
    ) -> None:
        self.table = table
        self.element_times = element_times
        self.raw = raw
        self.database = database
        self.store = SnapshotStore(name, SCHEMA)
        self.chunks: list[Chunk] = []
        with psycopg.connect(database, autocommit=True) as connection:
            ControlStore(name, SCHEMA).migrate(connection)
            with connection.transaction():
                self.store.create_tasks(connection, table.id, table.full_name, split_ring(ranges))

    def connection(self) -> AbstractContextManager[Any]:
        return psycopg.connect(self.database)

    def run(self, put: Callable[[Chunk, threading.Event], bool] | None = None, *, workers: int = 2) -> None:
        options = ScanOptions(ConsistencyLevel.QUORUM, page_rows=100, workers=workers)
        scans = {self.table.id: TableScan(self.table, element_times=self.element_times)}
        scanner = Scanner(
            self.raw,
            scans,
            self.store,
            self.connection,
            put or self.commit,
            options,
            owner="me",
            on_page=lambda task, rows: None,
        )
        scanner.start()
        assert scanner.join(60)

    def commit(self, chunk: Chunk, stop: threading.Event) -> bool:
        """What the loader does: rows and progress become durable together."""
        assert isinstance(chunk.progress, SnapshotProgress)
        with self.connection() as connection:
            self.store.commit_progress(connection, chunk.progress)
        self.chunks.append(chunk)
        return True

    def finished(self) -> bool:
        with self.connection() as connection:
            return self.store.finished(connection)

    def updates(self) -> list[PartitionUpdate]:
        shape = self.table.shape(replicated=True)
        decoded = []
        for chunk in self.chunks:
            for mutation in chunk.mutations:
                decoded.extend(decode_any(mutation, chunk.version, {shape.id: shape}))
        return decoded


def find_table(session: Any, keyspace: str, name: str) -> Table:
    table = read_schema(session).find(keyspace, name)
    assert table is not None
    return table


SAMPLES = {
    "ascii": "'abc'",
    "bigint": "-9223372036854775808",
    "blob": "0x00ff",
    "boolean": "true",
    "date": "'2024-02-29'",
    "decimal": "-123.4500",
    "double": "-0.5",
    "duration": "1mo2d3ns",
    "float": "1.5",
    "inet": "'::1'",
    "int": "-1",
    "smallint": "-32768",
    "text": "'naïve ☃'",
    "time": "'08:12:54.123456789'",
    "timestamp": "'2024-02-29T12:00:00.123Z'",
    "timeuuid": "50554d6e-29bb-11e5-b345-feff819cdc9f",
    "tinyint": "-128",
    "uuid": "00000000-0000-4000-8000-000000000001",
    "varint": "-12345678901234567890123456789",
}


@pytest.mark.requirement("SC-002")
def test_every_simple_type_arrives_byte_for_byte(
    cassandra_node: CassandraNode, cassandra_session: Any, raw: RawSession, keyspace: str, database: str
) -> None:
    # Before 5.0 a tuple takes the place of the vector.
    ve, written, stored = ("vector<float, 2>", "[1.5, 2.5]", "3fc00000 40200000")
    if cassandra_node.release.line < (5, 0):
        ve, written, stored = ("tuple<float, float>", "(1.5, 2.5)", "00000004 3fc00000 00000004 40200000")
    columns = ", ".join(f"c_{name} {name}" for name in SAMPLES)
    cassandra_session.execute(
        f"CREATE TABLE {keyspace}.t (p int PRIMARY KEY, {columns}, fr frozen<map<int, text>>, tu tuple<int, text>, "
        f"ve {ve}) WITH cdc = true"
    )
    names = ", ".join(f"c_{name}" for name in SAMPLES)
    cassandra_session.execute(
        f"INSERT INTO {keyspace}.t (p, {names}, fr, tu, ve) VALUES (1, {', '.join(SAMPLES.values())}, "
        f"{{1: 'a'}}, (1, null), {written}) USING TIMESTAMP 1234567890123456"
    )
    table = find_table(cassandra_session, keyspace, "t")
    copy = Copy(raw, database, table)
    copy.run()
    ((row,),) = [update.rows for update in copy.updates()]
    cells = {column.name: row.cells[column.index] for column in table.regulars}
    shown = ", ".join(f"{name}AsBlob(c_{name})" for name in SAMPLES if name != "blob")
    expected = cassandra_session.execute(f"SELECT {shown} FROM {keyspace}.t").one()
    values = [cells[f"c_{name}"][3] for name in SAMPLES if name != "blob"]
    assert values == list(expected)
    assert cells["c_blob"][3] == b"\x00\xff"
    assert cells["fr"][3] == bytes.fromhex("00000001 00000004 00000001 00000001 61")
    assert cells["tu"][3] == bytes.fromhex("00000004 00000001 ffffffff")
    assert cells["ve"][3] == bytes.fromhex(stored)
    assert {cell[0] for cell in cells.values()} == {1234567890123456}
    assert row.liveness_ts == NO_TIMESTAMP


def write_mixed_rows(session: Any, keyspace: str) -> None:
    """Over 400 rows in 120 partitions: full, partial, expiring, key-only; statics, one partition of 200 rows."""
    session.execute(
        f"CREATE TABLE {keyspace}.m (p int, q text, c int, st text static, v int, w text, "
        f"PRIMARY KEY ((p, q), c)) WITH CLUSTERING ORDER BY (c DESC) AND cdc = true"
    )
    statements = []
    for p in range(100):
        key = f"{p}, 'q{p}'"
        at = f"USING TIMESTAMP {1000 + p}"
        statements.append(f"INSERT INTO {keyspace}.m (p, q, c, v, w) VALUES ({key}, 1, {p}, 'w{p}') {at}")
        if p % 2:
            statements.append(f"UPDATE {keyspace}.m {at} SET v = {p} WHERE p = {p} AND q = 'q{p}' AND c = 2")
        if p % 3 == 0:
            statements.append(f"INSERT INTO {keyspace}.m (p, q, c) VALUES ({key}, 3) {at}")
        if p % 5 == 0:
            ttl = f"{at} AND TTL 5000"
            statements.append(f"INSERT INTO {keyspace}.m (p, q, c, v, w) VALUES ({key}, 4, 4, '') {ttl}")
        if p % 7 == 0:
            statements.append(f"UPDATE {keyspace}.m USING TIMESTAMP 5 SET st = 's{p}' WHERE p = {p} AND q = 'q{p}'")
    for p in range(100, 120):
        statements.append(f"UPDATE {keyspace}.m USING TIMESTAMP 6 SET st = 'alone' WHERE p = {p} AND q = ''")
    for c in range(200):
        statements.append(f"INSERT INTO {keyspace}.m (p, q, c, v) VALUES (500, 'big', {c}, {c}) USING TIMESTAMP 9")
    futures = [session.execute_async(statement) for statement in statements]
    for future in futures:
        future.result()


Shown = dict[tuple[Any, ...], tuple[Any, ...]]


def shown_by_cassandra(session: Any, keyspace: str) -> tuple[Shown, Shown]:
    """(rows by key: value and write time of v and w, has TTL), (statics by partition key)."""
    rows: Shown = {}
    statics: Shown = {}
    query = f"SELECT p, q, c, v, WRITETIME(v), w, WRITETIME(w), TTL(v), st, WRITETIME(st) FROM {keyspace}.m"
    for p, q, c, v, v_at, w, w_at, ttl, st, st_at in session.execute(query):
        if c is not None:
            rows[p, q, c] = (v, v_at, w, w_at, ttl is not None)
        if st is not None:
            statics[p, q] = (st, st_at)
    return rows, statics


def shown_by_copy(copy: Copy) -> tuple[Shown, Shown]:
    index = {column.name: column.index for column in copy.table.columns}
    rows: Shown = {}
    statics: Shown = {}
    for update in copy.updates():
        p = int.from_bytes(update.key[2:6], "big")
        q = update.key[9:-1].decode()
        if update.static_row is not None:
            value, at = plain(update.static_row.cells.get(index["st"]))
            statics[p, q] = (value.decode(), at)
        for row in update.rows:
            v, v_at = plain(row.cells.get(index["v"]))
            w, w_at = plain(row.cells.get(index["w"]))
            expires = index["v"] in row.cells and row.cells[index["v"]][2] > 0
            number = None if v is None else int.from_bytes(v, "big")
            text = None if w is None else w.decode()
            rows[p, q, int.from_bytes(row.clustering[0] or b"", "big")] = (number, v_at, text, w_at, expires)
    return rows, statics


def plain(cell: Cell | None) -> tuple[Any, Any]:
    return (None, None) if cell is None else (cell[3], cell[0])


@pytest.mark.requirement("SC-001")
def test_rows_statics_ttls_and_write_times_equal_select(
    cassandra_session: Any, raw: RawSession, keyspace: str, database: str
) -> None:
    write_mixed_rows(cassandra_session, keyspace)
    copy = Copy(raw, database, find_table(cassandra_session, keyspace, "m"))
    copy.run()
    assert copy.finished()
    rows, statics = shown_by_cassandra(cassandra_session, keyspace)
    assert len(rows) > 400
    assert len(statics) == 35
    assert shown_by_copy(copy) == (rows, statics)
    for update in copy.updates():
        for row in update.rows:
            written = [cell[0] for cell in row.cells.values()]
            assert row.liveness_ts == (NO_TIMESTAMP if written else OLDEST)
    with copy.connection() as connection:
        (progress,) = copy.store.progress(connection)
    static_only = 20
    assert progress.rows == len(rows) + static_only
    assert (progress.fraction, progress.ranges_done) == (1.0, 3)


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.requirement("FR-023")
def test_a_killed_snapshot_goes_on_without_loss(
    cassandra_session: Any, raw: RawSession, keyspace: str, database: str
) -> None:
    write_mixed_rows(cassandra_session, keyspace)
    table = find_table(cassandra_session, keyspace, "m")
    expected = shown_by_cassandra(cassandra_session, keyspace)
    for chunks_before in (0, 1, 2, 4):
        copy = Copy(raw, database, table, name=f"killed_{chunks_before}")
        kill_and_go_on(copy, chunks_before)
        assert shown_by_copy(copy) == expected


def kill_and_go_on(copy: Copy, chunks_before: int) -> None:
    """Run until the first commit after `chunks_before` chunks, then again; durable work is not done twice."""

    def die(chunk: Chunk, stop: threading.Event) -> bool:
        if len(copy.chunks) == chunks_before:
            raise KilledError
        return copy.commit(chunk, stop)

    with pytest.raises(KilledError):
        copy.run(die, workers=1)
    assert not copy.finished()
    durable = {
        chunk.progress.task_id: chunk.progress.token
        for chunk in copy.chunks
        if isinstance(chunk.progress, SnapshotProgress) and chunk.mutations
    }
    first_life = len(copy.chunks)
    # A real kill releases nothing: the claim is still there when the same owner starts again.
    with copy.connection() as connection:
        connection.execute(
            f"UPDATE {SCHEMA}.snapshot_tasks SET state = 'claimed', owner = 'me' WHERE state = 'pending'"
        )
    copy.run(workers=1)
    assert copy.finished()
    for chunk in copy.chunks[first_life:]:
        assert isinstance(chunk.progress, SnapshotProgress)
        assert chunk.progress.token >= durable.get(chunk.progress.task_id, chunk.progress.token)


@pytest.mark.requirement("FR-010")
def test_sets_maps_and_udts_carry_the_write_time_of_each_element_or_are_observed(
    cassandra_node: CassandraNode, cassandra_session: Any, raw: RawSession, keyspace: str, database: str
) -> None:
    execute = cassandra_session.execute
    execute(f"CREATE TYPE {keyspace}.addr (street text, zip int, city text)")
    execute(f"CREATE TABLE {keyspace}.n (p int PRIMARY KEY, s set<text>, m map<int, text>, u addr) WITH cdc = true")
    execute(
        f"INSERT INTO {keyspace}.n (p, s, m, u) VALUES (1, {{'a', 'gone'}}, {{1: 'x'}}, {{street: 'x'}}) "
        f"USING TIMESTAMP 100"
    )
    execute(f"UPDATE {keyspace}.n USING TIMESTAMP 200 AND TTL 900 SET s = s + {{'b'}}, m[2] = 'y' WHERE p = 1")
    execute(f"UPDATE {keyspace}.n USING TIMESTAMP 300 SET u.city = 'z', s = s - {{'gone'}} WHERE p = 1")
    times = shows_element_times(cassandra_node.version)
    copy = Copy(raw, database, find_table(cassandra_session, keyspace, "n"), element_times=times)
    copy.run()
    ((row,),) = [update.rows for update in copy.updates()]
    assert row.liveness_ts == NO_TIMESTAMP
    if times:
        assert cells_of(copy.table, row) == {
            "s": {b"a": (b"", 100, False), b"b": (b"", 200, True)},
            "m": {b"\0\0\0\1": (b"x", 100, False), b"\0\0\0\2": (b"y", 200, True)},
            "u": {b"\0\0": (b"x", 100, False), b"\0\2": (b"z", 300, False)},
        }
    else:
        assert observed_of(copy.table, row) == {
            "s": (["a", "b"], 0, UNBOUNDED),
            "m": ([(1, "x"), (2, "y")], 0, UNBOUNDED),
            "u": ({"street": "x", "zip": None, "city": "z"}, 0, UNBOUNDED),
        }


def cells_of(table: Table, row: Row) -> dict[str, dict[bytes, tuple[bytes | None, int, bool]]]:
    """Value, write time and whether it expires, of each element by path, of each column by name."""
    assert row.complex is not None
    return {
        column.name: {path: (c[3], c[0], c[2] > 0) for path, c in row.complex[column.index].cells.items()}
        for column in table.regulars
    }


def observed_of(table: Table, row: Row) -> dict[str, tuple[Any, int, int]]:
    """Value, turn and bound of the observation of each column by name."""
    assert row.complex is None
    assert row.observed is not None
    found = {}
    for column in table.regulars:
        turn, _, bound, _, value = row.observed[column.index]
        assert value is not None
        found[column.name] = (decoder(column.type)(value), turn, bound)
    return found


def test_the_table_id_of_the_mutations_is_that_of_the_table(
    cassandra_session: Any, raw: RawSession, keyspace: str, database: str
) -> None:
    cassandra_session.execute(f"CREATE TABLE {keyspace}.one (p int PRIMARY KEY) WITH cdc = true")
    cassandra_session.execute(f"INSERT INTO {keyspace}.one (p) VALUES (1)")
    table = find_table(cassandra_session, keyspace, "one")
    copy = Copy(raw, database, table, ranges=1)
    copy.run()
    (update,) = copy.updates()
    assert uuid.UUID(bytes=update.table.id) == table.id
    assert update.rows[0].liveness_ts == OLDEST
