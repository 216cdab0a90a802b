"""What an agent refuses before it reads anything: another node's log under this node's name."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from unittest.mock import Mock

import pytest

from casscade.config.load import parse_config
from casscade.core.errors import ConfigurationError, RetryableError
from casscade.pipeline import agent as module
from casscade.pipeline.agent import Agent
from casscade.pipeline.local_node import require_same_source
from casscade.pipeline.monitor import Monitor
from casscade.schema.connect import Node

CONFIG = """
name: shop
cassandra: {{contact_points: [127.0.0.1], local_datacenter: dc1}}
capture: {{cdc_directory: "{cdc}", state_directory: "{state}"}}
postgres: {{dsn: postgresql://loader@127.0.0.1/warehouse}}
tables: [{{source: shop.orders}}]
transport: {{kind: kafka, bootstrap_servers: ['127.0.0.1:1']}}
"""


@pytest.mark.parametrize("code", ["node_not_local", "node_changed"])
def test_an_agent_at_the_wrong_node_is_refused(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cdc, other, state = tmp_path / "cdc", tmp_path / "other", tmp_path / "state"
    for directory in (cdc, other, state):
        directory.mkdir()
    theirs = str(other if code == "node_not_local" else cdc)
    node = Node(uuid.UUID(int=1), "127.0.0.1", "dc1", "5.0.6", "", cdc_enabled=True, cdc_directory=theirs)
    require_same_source(state, uuid.UUID(int=2) if code == "node_changed" else node.host_id)
    monkeypatch.setattr(module, "connect", lambda _: (Mock(), None))
    monkeypatch.setattr(module, "read_node", lambda *_: node)
    config = parse_config(CONFIG.format(cdc=cdc, state=state).encode(), "p.yaml", {}, tmp_path)
    with pytest.raises(ConfigurationError) as refused:
        Agent(config, Monitor("shop")).run()
    assert refused.value.code == code


@pytest.mark.parametrize("name", ["capturing", "producing", "identity", "cdc_watch"])
def test_no_part_of_an_agent_dies_unnoticed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    died = RetryableError("away", name)
    threads = {each: Mock(failure=None) for each in ("capturing", "producing", "identity", "cdc_watch")}
    threads[name].failure = died
    stop = threading.Event()
    stop.set()
    parts = Mock(stop=stop, **threads)
    monkeypatch.setattr(Agent, "_build", lambda *_: parts)
    config = parse_config(
        CONFIG.format(cdc=tmp_path / "cdc", state=tmp_path / "state").encode(), "p.yaml", {}, tmp_path
    )
    with pytest.raises(RetryableError) as raised:
        Agent(config, Monitor("shop"))._live(None)
    assert raised.value is died
    assert all(each.join.called for each in threads.values())
    assert parts.producing.save.called
