"""The ranges of a node cover all that it holds, without one that wraps around."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from cassandra.metadata import Murmur3Token

from casscade.schema.replicas import WHOLE_RING, ranges_of, ranges_to

MIN, MAX = -(1 << 63), (1 << 63) - 1


class Host:
    """What the driver knows of a node."""

    def __init__(self, number: int) -> None:
        self.host_id = uuid.UUID(int=number)
        self.datacenter = "dc"
        self.rack = "r"


HOSTS = [Host(number) for number in range(3)]
RING = [Murmur3Token(token) for token in (-100, 0, 100)]


class Session:
    """Three nodes, and a keyspace with `replication`."""

    def __init__(self, replication: dict[str, str] | None) -> None:
        token_map = SimpleNamespace(token_to_host_owner=dict(zip(RING, HOSTS, strict=True)), ring=RING)
        metadata = SimpleNamespace(token_map=token_map, all_hosts=lambda: HOSTS)
        self.cluster = SimpleNamespace(metadata=metadata)
        self._row = None if replication is None else (replication,)

    def execute(self, query: str, values: object) -> Any:
        return SimpleNamespace(one=lambda: self._row)


def held(number: int, replication: dict[str, str] | None) -> list[tuple[int, int]]:
    session: Any = Session(replication)
    return sorted(ranges_of(session, str(HOSTS[number].host_id), "ks"))


@pytest.mark.requirement("FR-023")
def test_a_node_holds_the_ranges_that_end_at_its_tokens_and_those_it_has_copies_of() -> None:
    simple = {"class": "org.apache.cassandra.locator.SimpleStrategy", "replication_factor": "1"}
    assert held(1, simple) == [(-100, 0)]
    assert held(0, simple) == [(MIN, -100), (100, MAX)]
    network = {"class": "org.apache.cassandra.locator.NetworkTopologyStrategy", "dc": "2"}
    assert held(1, network) == [(MIN, -100), (-100, 0), (100, MAX)]
    assert held(2, network) == [(-100, 0), (0, 100)]


def test_where_it_can_not_be_told_it_is_the_whole_ring() -> None:
    assert held(0, None) == WHOLE_RING
    assert held(0, {"class": "com.example.Own", "x": "1"}) == WHOLE_RING
    session: Any = Session({"class": "SimpleStrategy", "replication_factor": "1"})
    gone = ranges_of(session, str(uuid.UUID(int=77)), "ks")
    assert gone == WHOLE_RING


def test_all_tokens_together_are_the_ring() -> None:
    ring = [-5, 3, 9]
    assert sorted(ranges_to(ring, set(ring))) == [(MIN, -5), (-5, 3), (3, 9), (9, MAX)]
    assert ranges_to([7], {7}) == [(MIN, 7), (7, MAX)]
