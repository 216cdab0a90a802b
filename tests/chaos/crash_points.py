"""Which failpoint of the crash matrix is reached how.

Invariant: each registered failpoint is here once (a test of `make test` looks); what follows from a seed is the same
in every run.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

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
    "losses_written": 2,
    "losses_renamed": 2,
    "batch_staged": 6,
    "batch_merged": 4,
    "row_tombstones_stored": 1,
    "range_tombstones_stored": 1,
    "letters_stored": 2,
    "letters_settled": 1,
    "rows_waiting": 1,
    "waiting_settled": 1,
    "replay_claimed": 1,
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
    """Which `command` of a pipeline, with Kafka or without, dies at `points` (each is reached so often at least).

    `provoke` names what brings it there: `write` (the load), `truncate`, `stop` (SIGTERM after its start), `outage`
    (of PostgreSQL, for longer than batches are tried again), `alter` (a new column) or `gap` (CDC is off for a while).
    `settings` go over the sections of the configuration.
    """

    command: str
    points: Mapping[str, int]
    provoke: str = "write"
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def kafka(self) -> bool:
        """Whether Kafka is between the two halves."""
        return self.command != "run"


_SLOWLY: Final = {"snapshot": {"rows_per_second": 20, "page_rows": 10, "ranges_per_table": 8}}
# Dead letters after two seconds, and a look at PostgreSQL often enough.
_IMPATIENT: Final = {"load": {"retry": {"first_ms": 100, "max_ms": 500, "for_seconds": 2}}}
SCENES: Final = (
    Scene("run", {"snapshot_planned": 3, "snapshot_claimed": 8, "snapshot_progressed": 8}),
    Scene("run", {"snapshot_released": 1}, "stop", _SLOWLY),
    Scene("run", {"rechecks_requested": 2, "recheck_claimed": 2, "recheck_answered": 2}),
    Scene("run", {"truncation_applied": 1, "source_sent_back": 1}, "truncate"),
    Scene("run", {"journal_synced": 2, "journal_deleted": 1}, "outage", _IMPATIENT),
    Scene("run", {"version_recorded": 4}, "alter"),
    Scene("run", {"gap_recorded": 1, "gap_planned": 1, "gap_read": 1, "gap_repaired": 1}, "gap"),
    Scene("capture", {"topic_created": 1, "topic_file_written": 1}),
    Scene("capture", {"chunk_produced": 5, "chunk_acknowledged": 5}),
    Scene("load", {"topic_known": 1, "partition_acquired": 2, "messages_handed_over": 3}),
    Scene("load", {"partition_released": 2}, "stop"),
    Scene("load", {"messages_kept": 1, "messages_put_back": 1, "resubmission_saved": 1}, "outage", _IMPATIENT),
)


def scene_of(name: str) -> Scene | None:
    """The scene of a failpoint; None for one that is reached without Cassandra."""
    return next((scene for scene in SCENES if name in scene.points), None)


def hits_of(name: str) -> int:
    """How often a life reaches the failpoint at least."""
    scene = scene_of(name)
    return DIRECT[name] if scene is None else scene.points[name]


def later_hit(name: str, seed: int) -> int:
    """One of the hits of a failpoint, not always the first."""
    return random.Random(f"{seed} {name}").randint(1, hits_of(name))
