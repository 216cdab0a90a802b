"""Several writers on the same rows at once leave what one alone would have left."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from casscade.core.cell import Cell, live_cell, tombstone_cell
from casscade.core.errors import RetryableError
from casscade.core.mutation import PartitionUpdate, Row
from casscade.load.batch import BatchWriter
from casscade.load.contents import Batch
from casscade.load.control import ControlStore
from casscade.load.faults import Kind, kind_of
from casscade.load.raw import register
from casscade.load.relation_writer import RelationWriter
from casscade.load.schema_history import SchemaHistory
from casscade.load.sources import Sources
from casscade.load.table_lock import TableLock
from casscade.merge.fold import Fold
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import Target, build_target
from casscade.schema.model import Table, column_indexes
from tests.support.oracle import oracle_table, random_update, read_both, rows_expected
from tests.support.random_rows import NOW, VALUES

UPDATES = 120
WAIT_S = 20.0
ONE, TWO = VALUES[:2]


class Writers:
    """One table, written for several sources over a connection each."""

    def __init__(self, dsn: str, sources: int, table: Table, *, alone: bool = True) -> None:
        self._alone = alone
        self.target: Target = build_target(table)
        self.connections = [psycopg.connect(dsn, autocommit=True) for _ in range(sources)]
        control = ControlStore("test", "casscade")
        control.migrate(self.connections[0])
        for statement in plan_target(self.target, ExistingSchema()):
            self.connections[0].execute(statement.sql)
        control.save_column_indexes(self.connections[0], table.id, column_indexes(table))
        self.control, self.history = control, SchemaHistory(control)
        self.version = self.history.add(self.connections[0], table, "k.t", ["made"], [])
        self.writers = [self._writer(control, number) for number in range(sources)]

    def _writer(self, control: ControlStore, number: int) -> BatchWriter:
        connection = self.connections[number]
        register(connection)
        epoch, _ = control.acquire(connection, f"node{number}")
        writer = BatchWriter(
            control, Sources.single(f"node{number}", epoch), alone=self._alone, clock=lambda: float(NOW)
        )
        writer.add_target(connection, self.target, 3600, self.version)
        writer.prepare(connection)
        return writer

    def apply(self, number: int, updates: list[PartitionUpdate]) -> None:
        """One batch; what passes by itself is tried again, as the loader does."""
        batch = Batch(Fold())
        batch.fold.add(updates)
        for _ in range(100):
            try:
                self.writers[number].apply(self.connections[number], batch)
            except psycopg.Error as error:
                if kind_of(error) not in (Kind.LOST, Kind.BUSY):
                    raise
                continue
            return
        raise AssertionError("a batch failed a hundred times")

    def hold(self, number: int) -> None:
        """Take the table's lock as a batch of this writer does, in the transaction that is open."""
        writers = [writer for target in self.writers[number]._targets.values() for writer in target.writers]
        TableLock(self.control).take(self.connections[number], [writers], alone=self._alone)

    def close(self) -> None:
        for connection in self.connections:
            connection.close()


def _at_once(works: list[Callable[[], None]]) -> None:
    failures: list[BaseException] = []
    start = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        start.wait(WAIT_S)
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert failures == []
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.servers
@pytest.mark.requirement("FR-003")
@pytest.mark.requirement("FR-025")
@pytest.mark.parametrize(("clustering", "plain"), [(True, 0.4), (False, 0.9)])
def test_replica_copies_merge_whoever_writes_them(database: str, clustering: bool, plain: float) -> None:
    seed = random.randrange(1 << 32)
    table = oracle_table(clustering=clustering, statics=clustering)

    def updates() -> list[PartitionUpdate]:  # merging uses rows up, so each use builds them again
        again = random.Random(seed)
        return [random_update(again, table, plain) for _ in range(UPDATES)]

    def replica(writers: Writers, number: int) -> None:
        rng = random.Random(seed + number)
        copies = updates()
        # Each write is missing from one node at most.
        order = [index for index in rng.sample(range(UPDATES), UPDATES) if index % 3 != number]
        while order:
            size = rng.choice([1, 2, 4])
            cut, order = order[:size], order[size:]
            writers.apply(number, [copies[index] for index in cut])

    writers = Writers(database, 3, table)
    try:
        _at_once([lambda number=number: replica(writers, number) for number in range(3)])  # type: ignore[misc]
        assert read_both(writers.connections[0], writers.target) == rows_expected(updates(), table), f"seed {seed}"
    finally:
        writers.close()


@pytest.mark.servers
@pytest.mark.requirement("FR-043")
def test_a_batch_with_a_moved_key_waits_for_writers_that_go_side_by_side(database: str) -> None:
    table = oracle_table(clustering=False, statics=False)
    writers = Writers(database, 2, table, alone=False)
    try:
        held, other = writers.connections
        batch = Batch(Fold())
        batch.fold.add([_inserted(table, {0: live_cell(6, TWO)})])
        with held.transaction():
            writers.hold(0)
            writers.writers[1].apply(other, batch)
            other.execute("SET lock_timeout = '20ms'")
            batch.alone = True
            with pytest.raises(psycopg.errors.LockNotAvailable):
                writers.writers[1].apply(other, batch)
        writers.writers[1].apply(other, batch)
    finally:
        writers.close()


def _deleted(table: Table, key: bytes) -> PartitionUpdate:
    update = PartitionUpdate(table.shape(replicated=True), key)
    update.deletion = 4
    return update


@pytest.mark.servers
@pytest.mark.requirement("FR-003")
def test_a_writer_meets_the_tombstones_that_another_has_just_made(database: str) -> None:
    table = oracle_table(clustering=True, statics=True)

    def written() -> list[PartitionUpdate]:
        rng = random.Random(7)
        return [random_update(rng, table, 1.0) for _ in range(50)]

    key = written()[0].key
    writers = Writers(database, 2, table)
    try:
        writers.apply(0, [_deleted(table, key)])  # the other looked for tombstones before this
        for update in written():
            writers.apply(1, [update])
        expected = rows_expected([_deleted(table, key), *written()], table)
        assert read_both(writers.connections[0], writers.target) == expected
    finally:
        writers.close()


@pytest.mark.servers
@pytest.mark.requirement("FR-003")
def test_nothing_is_written_in_a_version_that_another_writer_has_left_behind(database: str) -> None:
    table = oracle_table(clustering=False, statics=False)
    writers = Writers(database, 1, table)
    try:
        writers.history.add(writers.connections[0], table, "k.t", ["a column"], [])
        with pytest.raises(RetryableError) as behind:
            writers.apply(0, [_inserted(table, {0: live_cell(6, TWO)})])
        assert behind.value.code == "schema_behind"
        assert read_both(writers.connections[0], writers.target) == ({}, {})
    finally:
        writers.close()


def _inserted(table: Table, cells: dict[int, Cell]) -> PartitionUpdate:
    update = PartitionUpdate(table.shape(replicated=True), ONE)
    row = Row(b"", [])
    row.cells = cells
    update.rows.append(row)
    return update


def _waits_for_a_lock(connection: psycopg.Connection[Any], pid: int) -> bool:
    query = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
    return connection.execute(query, (pid,)).fetchone() == (True,)


@pytest.mark.servers
@pytest.mark.requirement("FR-003")
def test_nothing_is_written_between_the_reading_and_the_writing_of_a_row(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = oracle_table(clustering=False, statics=False)
    writers = Writers(database, 3, table)
    has_read = threading.Event()
    second_done = threading.Event()
    merge_stored = RelationWriter._merge_stored

    def merge_slowly(self: RelationWriter, connection: psycopg.Connection[Any], items: Any, now: int) -> Any:
        merged = merge_stored(self, connection, items, now)
        if connection is writers.connections[0] and not has_read.is_set():
            has_read.set()
            second = writers.connections[1].info.backend_pid
            while not second_done.is_set() and not _waits_for_a_lock(writers.connections[2], second):
                second_done.wait(0.01)
        return merged

    def second() -> None:
        assert has_read.wait(WAIT_S)
        writers.apply(1, [_inserted(table, {1: live_cell(7, TWO)})])
        second_done.set()

    try:
        writers.apply(2, [_inserted(table, {index: live_cell(index + 1, ONE) for index in range(3)})])
        monkeypatch.setattr(RelationWriter, "_merge_stored", merge_slowly)
        _at_once([lambda: writers.apply(0, [_inserted(table, {0: live_cell(6, TWO), 3: tombstone_cell(6)})]), second])
        rows, _ = read_both(writers.connections[0], writers.target)
        assert rows == {(ONE,): (2, 2, 1, None, None)}
    finally:
        writers.close()
