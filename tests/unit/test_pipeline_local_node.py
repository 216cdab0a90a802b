"""The node that is asked must be the one whose commit log is read."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from casscade.core.errors import ConfigurationError
from casscade.pipeline.local_node import require_local, require_same_source
from casscade.schema.connect import Node

HOST = uuid.uuid4()


def node(directory: str) -> Node:
    return Node(HOST, "127.0.0.2", "dc1", "5.0.6", "Murmur3Partitioner", cdc_enabled=True, cdc_directory=directory)


def test_a_node_with_another_directory_on_this_host_is_refused(tmp_path: Path) -> None:
    mine, other = tmp_path / "a", tmp_path / "b"
    mine.mkdir()
    other.mkdir()
    with pytest.raises(ConfigurationError) as refused:
        require_local(node(str(other)), mine)
    assert refused.value.code == "node_not_local"
    assert "127.0.0.2" in str(refused.value)


def test_links_and_unknown_places_are_no_reason(tmp_path: Path) -> None:
    mine, link = tmp_path / "a", tmp_path / "link"
    mine.mkdir()
    link.symlink_to(mine)
    require_local(node(str(link)), mine)
    require_local(node(str(tmp_path / "inside a container")), mine)
    require_local(node(""), mine)  # 3.11 does not tell


def test_a_state_directory_belongs_to_one_node(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    require_same_source(directory, HOST)
    require_same_source(directory, HOST)
    with pytest.raises(ConfigurationError) as refused:
        require_same_source(directory, uuid.uuid4())
    assert refused.value.code == "node_changed"
    require_same_source(directory, HOST)
