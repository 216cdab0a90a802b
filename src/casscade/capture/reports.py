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
from casscade.commitlog.framing import Anomaly as Damage
from casscade.core.errors import ConfigurationError
from casscade.core.notice import CONTENT_BYTES_MAX, GAP, Notice
from casscade.core.position import Position

LATE: Final = "segment_late"


class Reporter:
    """Counts and passes on what is not as it should be in `source`; `on_anomaly` must not block."""

    def __init__(
        self,
        source: str,
        state_directory: Path,
        counters: CaptureCounters,
        on_anomaly: Callable[[Anomaly], None],
        *,
        halt: bool = False,
    ) -> None:
        self._source = source
        self._counters = counters
        self._on_anomaly = on_anomaly
        self._halt = halt
        self._quarantine = Quarantine(state_directory)

    def measure(self) -> None:
        """Count what lies in the quarantine already."""
        self._counters.quarantine_bytes = self._quarantine.size()

    def damage(self, current: OpenSegment) -> list[Notice]:
        """Pass on the anomalies found in the file; returns what the loaders have to know of them.

        Raises RetryableError when the segment can't be kept, and ConfigurationError (`segment_damaged`) where damage
        is to halt the capture.
        """
        if not current.file.anomalies:
            return []
        if not current.damaged:
            current.damaged = True
            self._keep(current.entry)
        notices: list[Notice] = []
        for anomaly in current.file.anomalies:
            position = Position(current.entry.id, anomaly.start)
            lost = "the rest of it" if anomaly.end < 0 else f"{anomaly.end - anomaly.start} bytes"
            what = f"{lost} can't be read" if anomaly.start != anomaly.end else "what lies behind it could be read"
            if anomaly.reason == UNSYNCED_LOST:
                what = f"{lost} were read before their sync, and the node lost them in a crash"
            detail = f"{what}; the segment is kept in {self._quarantine.directory}"
            self._report(position, anomaly.reason, detail)
            if anomaly.reason == UNSYNCED_LOST:
                continue
            if self._halt:
                raise _halted(current.entry, anomaly, what)
            if anomaly.start == anomaly.end:
                continue
            self._counters.gaps += 1
            notices.append(
                Notice(
                    GAP,
                    self._source,
                    f"{anomaly.reason}:{current.entry.id}:{anomaly.start}",
                    anomaly.reason,
                    position,
                    what,
                    content=anomaly.raw[:CONTENT_BYTES_MAX],
                    version=current.entry.version,
                )
            )
        current.file.anomalies.clear()
        return notices

    def finished(self, current: OpenSegment) -> None:
        """Keep all of a damaged segment, also what came after the damage was seen."""
        self._counters.segments_finished += 1
        if current.damaged or self._quarantine.holds(current.entry.path):
            self._keep(current.entry)
            self._counters.segments_quarantined += 1

    def late(self, entry: SegmentEntry) -> None:
        """A segment that appeared below the position is read."""
        self._report(Position(entry.id, 0), LATE, "it appeared below the position; read now")

    def lost(self, notice: Notice) -> None:
        """Input was lost before it was read."""
        self._counters.gaps += 1
        self._report(notice.position, notice.reason, notice.detail)

    def _keep(self, entry: SegmentEntry) -> None:
        self._quarantine.keep(entry.path, entry.index_path)
        self.measure()

    def _report(self, position: Position, reason: str, detail: str) -> None:
        self._counters.anomaly(reason)
        self._on_anomaly(Anomaly(self._source, position, reason, detail))


def _halted(entry: SegmentEntry, damage: Damage, what: str) -> ConfigurationError:
    return ConfigurationError(
        "segment_damaged",
        f"segment {entry.id} is damaged at offset {damage.start} ({damage.reason}): {what}",
        where=str(entry.path),
        now="capture stops before it (capture.on_corruption: halt); the segment stays, and a copy is in the quarantine",
        hint="check the node's disk; then set capture.on_corruption: continue, which goes on behind the damage and "
        "reads the node's ranges again",
    )
