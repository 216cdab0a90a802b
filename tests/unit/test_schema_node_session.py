"""The schema is asked of the node whose commit log is read, and of the others only while that one is away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from cassandra import OperationTimedOut
from cassandra.cluster import NoHostAvailable

from casscade.schema.connect import NodeSession

QUERY = "SELECT * FROM system_schema.tables"


class Session:
    """Two nodes, of which `down` can't be reached; `asked` has where each query went (None: anywhere)."""

    def __init__(self, down: str = "") -> None:
        self._down = down
        self.asked: list[str | None] = []
        hosts = [SimpleNamespace(address=address) for address in ("10.0.0.1", "10.0.0.2")]
        self.cluster = SimpleNamespace(endpoints_resolved=[], metadata=SimpleNamespace(all_hosts=lambda: hosts))

    def execute(self, query: str, host: Any = None) -> str:
        self.asked.append(None if host is None else host.address)
        if host is not None and host.address == self._down:
            raise NoHostAvailable("down", {})
        if query != QUERY:
            raise OperationTimedOut
        return "rows"


def test_its_own_node_is_asked() -> None:
    session = Session()
    assert NodeSession(session, "10.0.0.2").execute(QUERY) == "rows"
    assert session.asked == ["10.0.0.2"]


def test_any_node_is_asked_while_its_own_is_away() -> None:
    session = Session(down="10.0.0.2")
    assert NodeSession(session, "10.0.0.2").execute(QUERY) == "rows"
    assert NodeSession(session, "10.0.0.9").execute(QUERY) == "rows"  # not in the ring any more
    assert session.asked == ["10.0.0.2", None, None]


def test_other_failures_are_not_hidden() -> None:
    with pytest.raises(OperationTimedOut):
        NodeSession(Session(), "10.0.0.1").execute("SELECT slow")
