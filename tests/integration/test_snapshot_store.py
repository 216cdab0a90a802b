"""Snapshot tasks in a real PostgreSQL: planning, claiming, handing over, progress."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from casscade.load.control import ControlStore
from casscade.snapshot.control import SnapshotControl, Worker
from casscade.snapshot.ranges import TOKEN_MAX, TOKEN_MIN, split_ring
from casscade.snapshot.store import ALL, LEASE_S, SnapshotStore, SnapshotTask, owner_of
from casscade.transport.chunk import SnapshotProgress

pytestmark = pytest.mark.servers

SCHEMA = "casscade"
TABLE = uuid.uuid4()


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as opened:
        ControlStore("shop", SCHEMA).migrate(opened)
        yield opened


@pytest.fixture
def store() -> SnapshotStore:
    return SnapshotStore("shop", SCHEMA)


def plan(store: SnapshotStore, connection: psycopg.Connection[Any], count: int, table: uuid.UUID = TABLE) -> int:
    with connection.transaction():
        return store.create_tasks(connection, table, "shop.orders", split_ring(count))


def must_claim(store: SnapshotStore, connection: psycopg.Connection[Any], owner: str = "a") -> SnapshotTask:
    task = store.claim(connection, owner, [TABLE])
    assert task is not None
    return task


def test_tasks_are_planned_once(store: SnapshotStore, connection: psycopg.Connection[Any]) -> None:
    assert plan(store, connection, 4) == 4
    assert plan(store, connection, 8) == 0
    with connection.transaction():
        other = SnapshotStore("other", SCHEMA).create_tasks(connection, TABLE, "shop.orders", split_ring(2))
    assert other == 2


def test_claims_are_exclusive_even_while_open(
    store: SnapshotStore, connection: psycopg.Connection[Any], database: str
) -> None:
    plan(store, connection, 2)
    with psycopg.connect(database) as first, psycopg.connect(database) as second:
        one = must_claim(store, first)
        two = must_claim(store, second, "b")
        assert {one.range_start, two.range_end} == {TOKEN_MIN, TOKEN_MAX}
        assert one.task_id != two.task_id
        assert store.claim(connection, "c", [TABLE]) is None
    assert store.claim(connection, "c", [uuid.uuid4()]) is None


@pytest.mark.requirement("FR-023")
def test_a_task_goes_on_behind_what_is_durable(store: SnapshotStore, connection: psycopg.Connection[Any]) -> None:
    plan(store, connection, 1)
    task = must_claim(store, connection)
    assert task.last_token == TOKEN_MIN
    store.commit_progress(connection, SnapshotProgress(task.task_id, 500, 10, done=False))
    store.commit_progress(connection, SnapshotProgress(task.task_id, 400, 1, done=False))
    store.release(connection, task.task_id, "b")
    assert store.claim(connection, "b", [TABLE]) is None
    store.release(connection, task.task_id, "a")
    assert must_claim(store, connection, "b").last_token == 500
    assert not store.finished(connection)
    assert not store.finished(connection, [TABLE])
    assert store.finished(connection, [uuid.uuid4()])
    store.commit_progress(connection, SnapshotProgress(task.task_id, TOKEN_MAX, 5, done=True))
    assert store.finished(connection)
    store.release(connection, task.task_id, "b")
    assert store.claim(connection, "b", [TABLE]) is None


def test_claims_of_the_dead_are_freed(store: SnapshotStore, connection: psycopg.Connection[Any]) -> None:
    plan(store, connection, 2)
    mine = must_claim(store, connection, owner_of("me", 1))
    must_claim(store, connection, "other")
    assert store.reset_claims(connection, owner_of("me", 2)) == 1
    assert must_claim(store, connection, owner_of("me", 2)).task_id == mine.task_id


def test_a_claim_that_is_not_renewed_falls_to_others(store: SnapshotStore, connection: psycopg.Connection[Any]) -> None:
    plan(store, connection, 1)
    task = must_claim(store, connection, "dead#1")
    assert store.claim(connection, "b#1", [TABLE]) is None
    long_ago = f"UPDATE casscade.snapshot_tasks SET updated_at = now() - interval '{LEASE_S + 1} s'"
    connection.execute(long_ago.encode())
    assert store.renew(connection, "dead#1") == 1  # it was only slow
    assert store.claim(connection, "b#1", [TABLE]) is None
    connection.execute(long_ago.encode())
    assert store.renew(connection, "b#1") == 0
    assert must_claim(store, connection, "b#1").task_id == task.task_id
    store.release(connection, task.task_id, "dead#1")
    assert store.claim(connection, "c#1", [TABLE]) is None


def test_one_life_does_not_give_back_what_the_next_has_claimed(
    store: SnapshotStore, connection: psycopg.Connection[Any]
) -> None:
    plan(store, connection, 1)
    task = must_claim(store, connection, owner_of("node", 1))
    assert store.reset_claims(connection, owner_of("node", 2)) == 1
    must_claim(store, connection, owner_of("node", 2))
    store.release(connection, task.task_id, owner_of("node", 1))
    assert store.claim(connection, owner_of("node", 1), [TABLE]) is None


def test_renewing_does_not_wait_for_a_batch(
    store: SnapshotStore, connection: psycopg.Connection[Any], database: str
) -> None:
    plan(store, connection, 1)
    task = must_claim(store, connection)
    with psycopg.connect(database) as batch:
        store.commit_progress(batch, SnapshotProgress(task.task_id, 500, 10, done=False))
        assert store.renew(connection, "a") == 0


def test_progress_counts_rows_ranges_and_tokens(store: SnapshotStore, connection: psycopg.Connection[Any]) -> None:
    plan(store, connection, 4)
    (before,) = store.progress(connection)
    assert (before.rows, before.ranges_done, before.ranges_total, before.fraction) == (0, 0, 4, 0.0)
    assert before.eta_seconds is None
    first = must_claim(store, connection)
    store.commit_progress(connection, SnapshotProgress(first.task_id, first.range_end, 10, done=True))
    second = must_claim(store, connection)
    middle = (second.range_start + second.range_end) // 2
    store.commit_progress(connection, SnapshotProgress(second.task_id, middle, 7, done=False))
    (now,) = store.progress(connection)
    assert (now.source_name, now.rows, now.ranges_done, now.ranges_total) == ("shop.orders", 17, 1, 4)
    assert now.fraction == pytest.approx(0.375)
    assert now.eta_seconds is not None
    assert now.eta_seconds >= 0
    assert not now.paused
    connection.execute("UPDATE casscade.snapshot_tasks SET state = 'done'")
    (after,) = store.progress(connection)
    assert (after.fraction, after.eta_seconds) == (1.0, 0.0)


@pytest.fixture
def control() -> SnapshotControl:
    return SnapshotControl("shop", SCHEMA)


def test_nobody_claims_what_is_paused(
    store: SnapshotStore, control: SnapshotControl, connection: psycopg.Connection[Any]
) -> None:
    plan(store, connection, 2)
    task = must_claim(store, connection)
    store.commit_progress(connection, SnapshotProgress(task.task_id, -500, 10, done=False))
    control.pause(connection, ["shop.orders"])
    control.pause(connection, ["shop.orders"])
    assert store.paused(connection) == {"shop.orders"}
    assert store.claim(connection, "b", [TABLE]) is None
    (table,) = store.progress(connection)
    assert table.paused
    assert SnapshotStore("other", SCHEMA).paused(connection) == frozenset()
    store.release(connection, task.task_id, "a")
    control.resume(connection, [])
    assert store.paused(connection) == frozenset()
    assert must_claim(store, connection, "b").last_token == -500


def test_one_of_all_paused_tables_is_resumed(
    store: SnapshotStore, control: SnapshotControl, connection: psycopg.Connection[Any]
) -> None:
    plan(store, connection, 1)
    with connection.transaction():
        store.create_tasks(connection, uuid.uuid4(), "shop.customers", split_ring(1))
    control.pause(connection, [])
    assert store.paused(connection) == {ALL}
    assert store.claim(connection, "a", [TABLE]) is None
    control.resume(connection, ["shop.orders"])
    assert store.paused(connection) == {"shop.customers"}
    assert must_claim(store, connection).table_id == TABLE


def test_workers_are_those_whose_lease_lives(
    store: SnapshotStore, control: SnapshotControl, connection: psycopg.Connection[Any]
) -> None:
    plan(store, connection, 3)
    must_claim(store, connection, "dead#1")
    connection.execute(f"UPDATE casscade.snapshot_tasks SET updated_at = now() - interval '{LEASE_S + 1} s'".encode())
    must_claim(store, connection, "b#1")
    assert control.workers(connection) == [Worker("shop.orders", "b#1", 1)]


@pytest.mark.requirement("FR-023")
def test_what_is_under_way_does_not_move_a_range_that_began_anew(
    store: SnapshotStore, connection: psycopg.Connection[Any]
) -> None:
    plan(store, connection, 2)
    first, second = must_claim(store, connection), must_claim(store, connection)
    store.commit_progress(connection, SnapshotProgress(first.task_id, first.range_end, 10, done=True))
    store.commit_progress(connection, SnapshotProgress(second.task_id, second.range_start + 5, 3, done=False))
    assert store.restart(connection, TABLE, done_only=True) == 1
    store.commit_progress(connection, SnapshotProgress(first.task_id, first.range_end, 10, done=True))
    (table,) = store.progress(connection)
    assert (table.ranges_done, table.rows) == (0, 3)
    again = must_claim(store, connection)
    assert (again.range_start, again.last_token) == (first.range_start, first.range_start)
    assert again.task_id not in {first.task_id, second.task_id}
    assert store.restart(connection, TABLE) == 2
    assert must_claim(store, connection).last_token in {first.range_start, second.range_start}
