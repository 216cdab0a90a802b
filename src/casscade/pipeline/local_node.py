"""Whether the node that answers at the first contact point is the one whose commit log is read.

Invariant: the positions of a source are those of one node. Reading the log of one node under the name of another would
skip what the other's position is ahead of; where it shows, nothing is started.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Final

from casscade.core.errors import ConfigurationError
from casscade.schema.connect import Node

SOURCE_FILE: Final = "source"


def require_local(node: Node, cdc_directory: Path) -> None:
    """Refuse a node that writes its CDC segments to another directory of this host (`node_not_local`).

    A directory that does not exist here under the node's own name for it (the node is in a container) says nothing.
    """
    theirs = Path(node.cdc_directory) if node.cdc_directory else None
    if theirs is None or not theirs.is_dir() or not cdc_directory.is_dir() or theirs.samefile(cdc_directory):
        return
    raise ConfigurationError(
        "node_not_local",
        f"the node at {node.address} writes its CDC segments to {theirs}, not to {cdc_directory}",
        where="cassandra.contact_points, capture.cdc_directory",
        now="nothing was started",
        hint="name the node first whose commit log is read; the other contact points may be any",
    )


def require_same_source(state_directory: Path, host_id: uuid.UUID) -> None:
    """Note the node at the first start; refuse another one later (`node_changed`)."""
    file = state_directory / SOURCE_FILE
    try:
        known = file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        state_directory.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{host_id}\n", encoding="ascii")
        return
    if known != str(host_id):
        raise ConfigurationError(
            "node_changed",
            f"this state directory belongs to the node with the host id {known}; {host_id} answers now",
            where="capture.state_directory, cassandra.contact_points",
            now="nothing was started",
            hint=f"put the node of this host first among the contact points; if it was replaced, delete {file}",
        )
