"""Loaders with a name (`transport.instance`), with a real broker: killed, stopped, and two of one name."""

from __future__ import annotations

import time
from typing import Any

import psycopg
import pytest

from casscade.testing.tables import create_all
from tests.matrix.test_kafka import PARTITIONS, TABLES, Members, members, wait_equal, write
from tests.support.pipeline_process import PipelineProcess

pytestmark = pytest.mark.servers
__all__ = ["members"]

# So long that nothing in these tests can be owed to its end.
SESSION_S = 60.0
AT_ONCE_S = 20.0
CONFIGURATION_EXIT = 2


def epochs(dsn: str) -> dict[str, int]:
    """The epoch of each partition."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT source, epoch FROM casscade.positions").fetchall()
    return {str(source): int(epoch) for source, epoch in rows}


def owned(loader: PipelineProcess) -> set[str]:
    """The partitions that a loader says it owns; none before it answers, or reads the topic."""
    try:
        return set(loader.status().get("kafka", {}).get("lag_events", ()))
    except OSError:
        return set()


def named(members: Members, name: str) -> PipelineProcess:
    """A loader of this name, started."""
    members.document["transport"]["instance"] = name
    return members.start("load")


@pytest.fixture
def pair(cassandra_session: Any, keyspace: str, members: Members) -> tuple[PipelineProcess, list[PipelineProcess]]:
    """An agent, and two loaders with names of which each owns half of the partitions."""
    for statement in create_all(keyspace, TABLES):
        cassandra_session.execute(statement)
    members.document["transport"]["session_timeout_ms"] = int(SESSION_S * 1000)
    agent, first, second = members.start("capture"), named(members, "one"), named(members, "two")
    for loader in (first, second):
        loader.wait(lambda loader=loader: len(owned(loader)) == PARTITIONS // 2, "its share", 60.0)  # type: ignore[misc]
    return agent, [first, second]


@pytest.mark.requirement("FR-003")
def test_one_that_was_killed_has_its_partitions_back_at_once(
    cassandra_session: Any, keyspace: str, database: str, pair: tuple[PipelineProcess, list[PipelineProcess]]
) -> None:
    agent, (first, second) = pair
    write(cassandra_session, keyspace, 1, 100)
    wait_equal(cassandra_session, database, keyspace, [agent, first, second])
    held, before = owned(first), epochs(database)
    first.kill()
    write(cassandra_session, keyspace, 2, 100)
    first.start()
    began = time.monotonic()
    first.wait(lambda: owned(first) == held, "the same partitions", AT_ONCE_S)
    assert time.monotonic() - began < SESSION_S / 2
    wait_equal(cassandra_session, database, keyspace, [agent, first, second])
    # Its earlier life can commit nothing any more, and the other loader has heard nothing of it.
    after = epochs(database)
    assert {source for source in after if after[source] > before[source]} == held


@pytest.mark.requirement("FR-003")
def test_one_that_is_stopped_hands_its_partitions_over_at_once(
    cassandra_session: Any, keyspace: str, database: str, pair: tuple[PipelineProcess, list[PipelineProcess]]
) -> None:
    agent, (first, second) = pair
    assert first.stop().code == 0
    second.wait(lambda: len(owned(second)) == PARTITIONS, "all partitions", AT_ONCE_S)
    write(cassandra_session, keyspace, 3, 100)
    wait_equal(cassandra_session, database, keyspace, [agent, second])


@pytest.mark.requirement("FR-003")
def test_the_older_one_of_two_with_one_name_ends_and_says_so(
    cassandra_session: Any,
    keyspace: str,
    database: str,
    members: Members,
    pair: tuple[PipelineProcess, list[PipelineProcess]],
) -> None:
    agent, (first, second) = pair
    held = owned(first)
    third = named(members, "one")
    ended = first.wait_end(AT_ONCE_S)
    assert ended.code == CONFIGURATION_EXIT
    assert "another loader has joined the group as one" in ended.text
    third.wait(lambda: owned(third) == held, "the partitions of the one that ended", AT_ONCE_S)
    write(cassandra_session, keyspace, 4, 100)
    wait_equal(cassandra_session, database, keyspace, [agent, second, third])
