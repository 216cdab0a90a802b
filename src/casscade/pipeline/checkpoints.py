"""The checkpoints as they are shown: the last committed position of each source.

Invariant: sources come from the configuration and from Kafka's partitions, so that their number is bounded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from casscade.core.position import Position
from casscade.observability.metrics import Metrics


class Checkpoints:
    """The last committed position of each source and when that was; any thread may call any method."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[str, tuple[Position, float]] = {}

    def add(self, positions: Mapping[str, Position], *, whole: bool) -> None:
        """These are committed now; with `whole` there are no others: they were given up."""
        now = self._clock()
        with self._lock:
            if whole:
                self._last.clear()
            for source, position in positions.items():
                self._last[source] = (position, now)

    def status(self) -> dict[str, Any]:
        """For the status document."""
        now = self._clock()
        with self._lock:
            last = sorted(self._last.items())
        return {source: f"{position} committed {max(0.0, now - at):.1f} s ago" for source, (position, at) in last}

    def copy(self, metrics: Metrics) -> None:
        """Into the metrics."""
        now = self._clock()
        with self._lock:
            last = list(self._last.values())
        metrics.set("casscade_checkpoint_age_seconds", max((now - at for _, at in last), default=0.0))
