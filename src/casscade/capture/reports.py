"""What the follower has to say about its source: damage, gaps, segments that come late.

Invariant: every report is counted under its reason, and a damaged segment is kept before anything behind the damage is
forwarded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from casscade.capture.counters import Anomaly, CaptureCounters
from casscade.capture.directory import SegmentEntry
from casscade.capture.opened import OpenSegment
from casscade.capture.quarantine import Quarantine
from casscade.commitlog.framing import UNSYNCED_LOST
from casscade.core.position import Position

VANISHED: Final = "segment_vanished"
LATE: Final = "segment_late"


class Reporter:
    """Counts and passes on what is not as it should be in `source`; `on_anomaly` must not block."""

    def __init__(
        self,
        source: str,
        state_directory: Path,
        counters: CaptureCounters,
        on_anomaly: Callable[[Anomaly], None],
    ) -> None:
        self._source = source
        self._counters = counters
        self._on_anomaly = on_anomaly
        self._quarantine = Quarantine(state_directory)

    def measure(self) -> None:
        """Count what lies in the quarantine already."""
        self._counters.quarantine_bytes = self._quarantine.size()

    def damage(self, current: OpenSegment) -> None:
        """Pass on the anomalies found in the file. Raises RetryableError when it can't be kept."""
        if not current.file.anomalies:
            return
        if not current.damaged:
            current.damaged = True
            self._keep(current.entry)
        for anomaly in current.file.anomalies:
            lost = "the rest of it" if anomaly.end < 0 else f"{anomaly.end - anomaly.start} bytes"
            what = f"{lost} can't be read"
            if anomaly.reason == UNSYNCED_LOST:
                what = f"{lost} were read before their sync, and the node lost them in a crash"
            detail = f"{what}; the segment is kept in {self._quarantine.directory}"
            self._report(Position(current.entry.id, anomaly.start), anomaly.reason, detail)
        current.file.anomalies.clear()

    def finished(self, current: OpenSegment) -> None:
        """Keep all of a damaged segment, also what came after the damage was seen."""
        self._counters.segments_finished += 1
        if current.damaged or self._quarantine.holds(current.entry.path):
            self._keep(current.entry)
            self._counters.segments_quarantined += 1

    def late(self, entry: SegmentEntry) -> None:
        """A segment that appeared below the position is read."""
        self._report(Position(entry.id, 0), LATE, "it appeared below the position; read now")

    def vanished(self, position: Position) -> None:
        """A segment with CDC data went before it was read from `position` on."""
        self._counters.gaps += 1
        self._report(position, VANISHED, "it was deleted before it was read")

    def _keep(self, entry: SegmentEntry) -> None:
        self._quarantine.keep(entry.path, entry.index_path)
        self.measure()

    def _report(self, position: Position, reason: str, detail: str) -> None:
        self._counters.anomaly(reason)
        self._on_anomaly(Anomaly(self._source, position, reason, detail))
