"""Gaps in the control schema: recorded once with the position, planned, repaired behind the rows, taken over."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from casscade.core.gap import COMPARING, IGNORED, OPEN, READING, REPAIRED
from casscade.core.notice import BEGIN, GAP, NODE_GONE, STATE_LOST, Notice
from casscade.core.position import START, Position
from casscade.load.batch import BatchWriter
from casscade.load.contents import Batch
from casscade.load.control import ControlStore
from casscade.load.gaps import LEASE_S, GapStore
from casscade.load.sources import Sources
from casscade.merge.fold import Fold
from casscade.snapshot.gap_repair import read_again
from casscade.snapshot.ranges import TokenRange, split_ring
from casscade.snapshot.store import SnapshotStore
from casscade.transport.chunk import SnapshotProgress

pytestmark = [pytest.mark.servers]

NODE = str(uuid.UUID(int=1))
TABLE = uuid.UUID(int=5)
GAP_1 = Notice(GAP, NODE, "segment_vanished:7", "segment_vanished", Position(7, 3), "it was deleted")


@pytest.fixture
def control() -> ControlStore:
    return ControlStore("p", "casscade")


@pytest.fixture
def connection(database: str, control: ControlStore) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as opened:
        control.migrate(opened)
        yield opened


def states(store: GapStore, connection: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    return [(gap.reason, gap.state) for gap in store.newest(connection)]


@pytest.mark.requirement("FR-023")
def test_a_gap_is_recorded_with_the_position_that_passes_it_and_only_once(
    control: ControlStore, connection: psycopg.Connection[Any]
) -> None:
    store = GapStore(control)
    epoch, _ = control.acquire(connection, NODE)

    def record(connection: psycopg.Connection[Any], notice: Notice) -> None:
        store.record(connection, notice)

    writer = BatchWriter(control, Sources.single(NODE, epoch), record=record)
    batch = Batch(Fold(), positions={NODE: Position(8, 0)}, notices=[GAP_1, GAP_1])
    writer.apply(connection, batch)
    writer.apply(connection, batch)
    (gap,) = store.due(connection)
    assert gap[1:8] == (NODE, "segment_vanished", Position(7, 3), "it was deleted", None, OPEN, 0)
    assert control.position(connection, NODE) == Position(8, 0)
    control.acquire(connection, NODE)
    with pytest.raises(Exception, match="took over source"):
        writer.apply(connection, Batch(Fold(), notices=[GAP_1._replace(key="other")], positions={NODE: Position(9, 0)}))
    assert len(store.due(connection)) == 1, "nothing of a transaction that was fenced"


def test_another_run_of_a_source_is_a_gap_and_the_first_is_none(
    control: ControlStore, connection: psycopg.Connection[Any]
) -> None:
    store = GapStore(control)
    first, second = Notice(BEGIN, NODE, "one"), Notice(BEGIN, NODE, "two")
    for notice in (first, first, Notice(BEGIN, str(uuid.UUID(int=2)), "other")):
        assert not store.record(connection, notice)
    assert store.record(connection, second)
    assert not store.record(connection, second)
    assert states(store, connection) == [(STATE_LOST, OPEN)]
    # A run that says itself that another one was lost, in a control schema that knows none.
    assert store.record(connection, Notice(BEGIN, str(uuid.UUID(int=3)), "x", STATE_LOST, START, "gone"))
    assert store.sources(connection) == {NODE, str(uuid.UUID(int=2)), str(uuid.UUID(int=3))}
    assert store.gone(connection, NODE)
    assert not store.gone(connection, NODE)
    assert states(store, connection)[0] == (NODE_GONE, OPEN)


@pytest.mark.requirement("FR-023")
def test_a_repair_belongs_to_one_process_until_its_lease_is_over(
    control: ControlStore, connection: psycopg.Connection[Any]
) -> None:
    store = GapStore(control)
    store.record(connection, GAP_1)
    (gap,) = store.free(connection, "a")
    assert not store.abandoned(connection, "b"), "whoever found it begins within moments"
    store.move(connection, [gap.gap_id], READING, "a")
    assert store.free(connection, "b") == []
    assert [each.gap_id for each in store.free(connection, "a")] == [gap.gap_id]
    connection.execute("UPDATE casscade.gaps SET updated_at = now() - make_interval(secs => %s)", (LEASE_S + 1,))
    assert store.abandoned(connection, "b")
    assert not store.abandoned(connection, "a")
    store.renew(connection, "a")
    assert not store.abandoned(connection, "b")
    store.move(connection, [gap.gap_id], COMPARING, "a")
    store.repaired(connection, [gap.gap_id], 3, done=False)
    store.repaired(connection, [gap.gap_id], 2, done=True)
    assert store.due(connection) == []
    assert store.counts(connection) == {("segment_vanished", REPAIRED): (1, 5)}
    store.move(connection, [gap.gap_id], IGNORED)
    store.repaired(connection, [gap.gap_id], 9, done=True)
    assert store.counts(connection) == {("segment_vanished", REPAIRED): (1, 5)}, "it is over"


@pytest.mark.requirement("FR-023")
def test_ranges_that_are_read_again_are_new_tasks_which_older_readings_do_not_complete(
    control: ControlStore, connection: psycopg.Connection[Any]
) -> None:
    tasks = SnapshotStore("p", "casscade")
    ranges = split_ring(4)
    with connection.transaction():
        tasks.create_tasks(connection, TABLE, "ks.t", ranges)
    old = tasks.claim(connection, "a#1", [TABLE])
    assert old is not None
    held = [TokenRange(ranges[0].start, ranges[0].start + 10), TokenRange(ranges[2].start + 5, ranges[2].start + 6)]
    with connection.transaction():
        assert read_again(connection, "p", "casscade", TABLE, held) == 2
    tasks.commit_progress(connection, SnapshotProgress(old.task_id, old.range_end, 10, True))
    (progress,) = tasks.progress(connection)
    assert (progress.ranges_total, progress.ranges_done, progress.rows) == (4, 0, 0)
    claimed = [tasks.claim(connection, "b#1", [TABLE]) for _ in range(5)]
    assert sorted(task.range_start for task in claimed if task) == [each.start for each in ranges]
    assert old.task_id not in {task.task_id for task in claimed if task}
    with connection.transaction():
        assert read_again(connection, "p", "casscade", uuid.uuid4(), held) == 0
