"""What capture counts and shows.

Invariant: whatever is left out, damaged, missing or deleted has a counter that names the reason. Plain integers,
written by the follower's thread alone; other threads may read them at any time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from casscade.core.position import Position


class Anomaly(NamedTuple):
    """Something in a source that is not as it should be; `reason` comes from a bounded set, `detail` is one sentence.

    Reasons of the commit log's framing are those of `casscade.commitlog`; capture adds `segment_vanished` (deleted
    before it was read: a gap) and `segment_late` (appeared below the position; it is read all the same).
    """

    source: str
    position: Position
    reason: str
    detail: str


@dataclass(slots=True)
class CaptureCounters:
    """Counters since the start of the process; bytes are those of whole mutations."""

    mutations_read: int = 0
    mutations_forwarded: int = 0
    bytes_read: int = 0
    bytes_forwarded: int = 0
    chunks_sent: int = 0
    segments_finished: int = 0
    segments_deleted: int = 0
    newest_deleted: int = -1
    segments_quarantined: int = 0
    quarantine_bytes: int = 0
    gaps: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    anomalies: dict[str, int] = field(default_factory=dict)

    def deleted(self, segment: int) -> None:
        """A segment was deleted."""
        self.segments_deleted += 1
        self.newest_deleted = max(self.newest_deleted, segment)

    def skip(self, reason: str, count: int = 1) -> None:
        """Count what is left out on purpose."""
        self.skipped[reason] = self.skipped.get(reason, 0) + count

    def anomaly(self, reason: str) -> None:
        """Count what is not as it should be."""
        self.anomalies[reason] = self.anomalies.get(reason, 0) + 1


class CaptureStatus(NamedTuple):
    """A look at the follower.

    `segment` is the segment being read (0: none), `position` the end of what was handed to the transport,
    `acknowledged` what is durable downstream. `segments_waiting` counts later segments that hold CDC data,
    `bytes_unread` the bytes of files and file remainders not read yet (an upper bound: live segments are
    pre-allocated). `caught_up` tells that nothing durable was left to read at the last look.
    """

    segment: int
    position: Position
    acknowledged: Position
    segments_waiting: int
    bytes_unread: int
    caught_up: bool
