"""CDC that is switched off is seen, whoever asks what; a node that does not answer says nothing."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from casscade.capture.journal import Journal
from casscade.capture.losses import NODE, Losses
from casscade.capture.space import SpaceGuard
from casscade.core.errors import ConfigurationError, RetryableError
from casscade.pipeline.cdc_watch import CdcWatch, may_evict, noting_off
from casscade.schema.cdc import CdcReader
from casscade.schema.connect import Node

HOST = uuid.UUID(int=1)
A, B, OTHER = (uuid.UUID(int=number) for number in (10, 11, 12))


class Session:
    """A node with three tables in two keyspaces; `asked` has the queries."""

    def __init__(self) -> None:
        self.enabled = "true"
        self.tables = {("ks", A): True, ("ks", B): True, ("other", OTHER): False}
        self.asked: list[str] = []
        self.hosts = [SimpleNamespace(host_id=HOST)]
        self.cluster = SimpleNamespace(metadata=SimpleNamespace(all_hosts=lambda: self.hosts))

    def execute(self, query: str, parameters: Any = None, *, timeout: float, host: Any) -> Any:
        assert host.host_id == HOST, "only the node itself knows"
        self.asked.append(query)
        if "settings" in query:
            return SimpleNamespace(one=lambda: (self.enabled,))
        wanted = None if parameters is None else parameters[0]
        return [(ks, table, cdc) for (ks, table), cdc in self.tables.items() if wanted in (None, ks)]


def node(release: str = "5.0.6") -> Node:
    return Node(HOST, "127.0.0.1", "dc", release, "Murmur3Partitioner", True)


@pytest.mark.requirement("FR-023")
def test_tables_and_the_node_are_asked_for_by_their_keyspaces() -> None:
    session = Session()
    reader = CdcReader(session, node())
    wanted = {A.bytes, B.bytes}
    assert reader.read_off(wanted) == (True, set())
    session.tables["ks", B] = False
    session.enabled = "false"
    session.asked.clear()
    assert reader.read_off(wanted) == (False, {B.bytes})
    assert "keyspace_name = %s" in session.asked[1]
    del session.tables["ks", B]
    assert reader.read_off(wanted) == (False, set()), "a table that is gone is not off"
    session.asked.clear()
    assert CdcReader(session, node("3.11.19")).read_off(wanted) == (True, set())
    assert not any("settings" in query for query in session.asked)


def test_a_watch_tells_what_is_off_and_keeps_still_while_the_node_is_away(tmp_path: Path) -> None:
    session = Session()
    losses = Losses("host", tmp_path)
    watch = CdcWatch(session, node(), lambda: {A.bytes, B.bytes}, losses, threading.Event())
    watch.look()
    assert losses._off == frozenset()
    session.tables["ks", A] = False
    session.enabled = "false"
    watch.look()
    assert losses._off == {NODE, str(A)}
    session.hosts = []
    watch.look()
    assert losses._off == {NODE, str(A)}
    with pytest.raises(RetryableError):
        CdcReader(session, node()).read_off({A.bytes})


def test_a_start_that_finds_cdc_off_leaves_a_note(tmp_path: Path) -> None:
    journal = Journal(tmp_path, str(HOST))
    journal.renew(lost=False)
    journal.save()
    for code, noted in (("unrelated", False), ("cdc_disabled", True)):
        with pytest.raises(ConfigurationError), noting_off(tmp_path, node()):
            raise ConfigurationError(code, "no")
        assert (NODE in Journal(tmp_path, str(HOST)).off) == noted


def test_a_node_may_evict_only_with_its_setting_and_little_space(tmp_path: Path) -> None:
    (tmp_path / "CommitLog-8-1.log").write_bytes(bytes(60))
    near, far = (SpaceGuard(tmp_path, total, lambda _: None) for total in (100, 1000))
    assert may_evict({"cdc_block_writes": "false"}, near)
    assert not may_evict({"cdc_block_writes": "false"}, far)
    assert not may_evict({"cdc_block_writes": "true"}, near)
    assert not may_evict({}, near)
    gone = SpaceGuard(tmp_path / "gone", 100, lambda _: None)
    assert not may_evict({"cdc_block_writes": "false"}, gone)
