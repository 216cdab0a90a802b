"""Which failpoint of the crash matrix is reached how.

Invariant: each registered failpoint is here once (a test of `make test` looks); what follows from a seed is the same
in every run.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# Reached without Cassandra, by hand-made segments (`tests.support.crash_life`): how often at least, in one life.
DIRECT: Final[Mapping[str, int]] = {
    "segment_read": 5,
    "chunk_handed_over": 5,
    "segment_deleted": 6,
    "index_deleted": 6,
    "quarantine_copied": 2,
    "quarantine_renamed": 2,
    "position_written": 1,
    "position_synced": 1,
    "position_renamed": 1,
    "batch_staged": 6,
    "batch_merged": 4,
    "row_tombstones_stored": 1,
    "range_tombstones_stored": 1,
    "letters_stored": 1,
    "position_advanced": 2,
    "before_commit": 2,
    "committed": 2,
    "acknowledged": 2,
    "reaped": 1,
    "purged": 1,
    "migration_applied": 8,
    "ddl_applied": 4,
    "source_acquired": 1,
}


@dataclass(frozen=True, slots=True)
class Scene:
    """What makes a process reach its failpoints: which `command` dies, over Kafka or not."""

    command: str
    points: tuple[str, ...]


SCENES: Final[Mapping[str, Scene]] = {
    "snapshot": Scene("run", ("snapshot_planned", "snapshot_claimed", "snapshot_progressed", "snapshot_released")),
    "recheck": Scene("run", ("rechecks_requested", "recheck_claimed", "recheck_answered")),
    "truncate": Scene("run", ("truncation_applied", "source_sent_back")),
    "topic": Scene("capture", ("topic_created", "topic_file_written")),
    "produce": Scene("capture", ("chunk_produced", "chunk_acknowledged")),
    "consume": Scene("load", ("topic_known", "partition_acquired", "messages_handed_over", "partition_released")),
}


def later_hit(name: str, seed: int) -> int:
    """One of the hits of a failpoint without Cassandra, not always the first."""
    return random.Random(f"{seed} {name}").randint(1, DIRECT[name])
