"""The watch over truncations, and the records of a node."""

from __future__ import annotations

import struct
import threading
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from casscade.core.errors import InvariantError, RetryableError
from casscade.core.position import NEVER_TRUNCATED, START, Position, Truncation
from casscade.pipeline.truncations import SILENT_S, TruncationWatch
from casscade.pipeline.watch import POLL_S, TABLE_TRUNCATED
from casscade.schema.truncations import parse_record, read_truncations

TABLE = uuid.UUID(int=1)
OTHER = uuid.UUID(int=2)
KNOWN = Truncation(Position(5, 10), 1000)


class Node:
    """Answers with `records`, or fails while it is away."""

    def __init__(self) -> None:
        self.records: dict[uuid.UUID, Truncation] = {TABLE: KNOWN}
        self.away = False
        self.reached = Position(6, 0)
        self.now = 0.0
        self.stop = threading.Event()
        self.watch = TruncationWatch(
            self.read,
            {TABLE: KNOWN, OTHER: NEVER_TRUNCATED},
            lambda: self.reached,
            self.stop,
            clock=lambda: self.now,
        )

    def read(self) -> dict[uuid.UUID, Truncation]:
        if self.away:
            raise RetryableError("cassandra_unavailable", "no node answered")
        return dict(self.records)


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node()
    yield made
    made.stop.set()
    made.watch.join(5.0)


@pytest.mark.requirement("FR-003")
def test_what_was_read_before_a_look_is_released_by_it(node: Node) -> None:
    assert node.watch.released() == START
    node.watch.look()
    node.reached = Position(9, 0)
    assert node.watch.released() == Position(6, 0)
    node.watch.look()
    assert node.watch.released() == Position(9, 0)


def test_what_is_read_during_a_look_is_not_released_by_it(node: Node) -> None:
    read = node.read

    def slow() -> dict[uuid.UUID, Truncation]:
        node.reached = Position(9, 0)
        return read()

    watch = TruncationWatch(slow, {TABLE: KNOWN}, lambda: node.reached, node.stop)
    watch.look()
    assert watch.released() == Position(6, 0)


@pytest.mark.requirement("FR-003")
def test_a_node_that_is_away_releases_nothing(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.away = True
    node.watch.look()
    node.now = SILENT_S + 1
    node.watch.look()
    node.watch.look()
    assert node.watch.released() == START
    node.away = False
    node.watch.look()
    assert node.watch.released() == node.reached


@pytest.mark.parametrize(
    "newer",
    [
        {TABLE: Truncation(Position(5, 11), 1000)},
        {TABLE: Truncation(Position(6, 0), 999)},
        {TABLE: Truncation(Position(5, 10), 1001)},
        {TABLE: KNOWN, OTHER: Truncation(Position(1, 1), 1)},
    ],
    ids=["further", "the clock went back", "nothing in between", "another table"],
)
def test_a_new_truncation_stops_the_parts(node: Node, newer: dict[uuid.UUID, Truncation]) -> None:
    node.records = newer
    node.watch.start()
    assert node.stop.wait(10.0)
    node.watch.join(10.0)
    assert isinstance(node.watch.failure, RetryableError)
    assert node.watch.failure.code == TABLE_TRUNCATED
    assert node.watch.released() == START


def test_tables_that_are_not_replicated_and_records_that_went_stop_nothing(node: Node) -> None:
    node.records = {uuid.UUID(int=3): Truncation(Position(99, 0), 9999)}
    node.watch.look()
    assert node.watch.failure is None
    assert not node.stop.is_set()


def test_whatever_else_fails_is_not_lost(node: Node) -> None:
    records: dict[uuid.UUID, dict[uuid.UUID, Truncation]] = {}
    watch = TruncationWatch(lambda: records[TABLE], {}, lambda: START, node.stop)
    watch.start()
    assert node.stop.wait(10.0)
    watch.join(10.0)
    assert isinstance(watch.failure, KeyError)


def test_records_of_a_node() -> None:
    assert parse_record(struct.pack(">qiq", 1_700_000_000_000, 4711, 42)) == Truncation(
        Position(1_700_000_000_000, 4711), 42
    )
    assert parse_record(struct.pack(">qi", 5, 6)) == Truncation(Position(5, 6), 0)
    assert parse_record(struct.pack(">qiq", -1, 0, 42)) == Truncation(START, 42)
    with pytest.raises(InvariantError, match="3 bytes"):
        parse_record(b"abc")


def test_only_the_node_itself_is_asked() -> None:
    asked: list[Any] = []
    hosts = [SimpleNamespace(host_id=TABLE), SimpleNamespace(host_id=OTHER)]

    def execute(_query: str, *, timeout: float, host: Any) -> Any:
        asked.append(host)
        assert 0 < timeout < 10 * POLL_S
        return SimpleNamespace(one=lambda: (None,))

    metadata = SimpleNamespace(all_hosts=lambda: hosts)
    session: Any = SimpleNamespace(cluster=SimpleNamespace(metadata=metadata), execute=execute)
    assert read_truncations(session, OTHER) == {}
    assert asked == [hosts[1]]
    with pytest.raises(RetryableError, match="no node with the host id"):
        read_truncations(session, uuid.UUID(int=9))
