"""The space guard: how full `cdc_raw` is, and when Cassandra will start to refuse writes (or to delete segments).

Invariant: `SpaceMeter` is pure (time and sizes are handed in) and reports each crossing of a threshold once; a
crossing back counts only when the ratio has fallen clearly below the threshold.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

# Shares of cdc_total_space at which someone should hear of it.
THRESHOLDS: Final = (0.50, 0.75, 0.90)
# Below a threshold by this much before it can be reported again: segments come and go in whole pieces.
_HYSTERESIS: Final = 0.05
# Five minutes at one look every 5 s: long enough to see a trend through the saw-tooth of deletions.
_SAMPLES_MAX: Final = 60
# Cassandra's default for cdc_total_space: 4096 MiB, or 1/8 of the volume if that is less (DatabaseDescriptor).
_DEFAULT_TOTAL: Final = 4096 << 20
_DEFAULT_SHARE: Final = 8


class SpaceReading(NamedTuple):
    """One look: bytes used of `total_bytes`, the ratio, the highest threshold reached (0.0: none) and a forecast.

    `seconds_left` is the time until the space is full at the recent rate of growth; None when it does not grow.
    """

    used_bytes: int
    total_bytes: int
    ratio: float
    threshold: float
    seconds_left: float | None


class SpaceMeter:
    """Turns sizes seen over time into readings."""

    def __init__(self, total_bytes: int) -> None:
        self._total = max(1, total_bytes)
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SAMPLES_MAX)
        self._threshold = 0.0

    def observe(self, now_s: float, used_bytes: int) -> tuple[SpaceReading, bool]:
        """Take a sample; returns the reading and whether a threshold was crossed since the previous one."""
        self._samples.append((now_s, used_bytes))
        ratio = used_bytes / self._total
        reached = max((threshold for threshold in THRESHOLDS if ratio >= threshold), default=0.0)
        crossed = reached > self._threshold or (reached < self._threshold and ratio < self._threshold - _HYSTERESIS)
        if crossed:
            self._threshold = reached
        return SpaceReading(used_bytes, self._total, ratio, self._threshold, self._seconds_left(used_bytes)), crossed

    def _seconds_left(self, used_bytes: int) -> float | None:
        if used_bytes >= self._total:
            return 0.0
        first_s, first_bytes = self._samples[0]
        last_s, last_bytes = self._samples[-1]
        if last_s <= first_s or last_bytes <= first_bytes:
            return None
        return (self._total - used_bytes) * (last_s - first_s) / (last_bytes - first_bytes)


class SpaceGuard:
    """Looks at a CDC directory and calls `on_crossing` when the fill level crosses a threshold in either direction.

    `check` is meant for a thread that never waits for the transport: a full queue is when the space runs out.
    """

    def __init__(
        self,
        directory: Path,
        total_bytes: int | None,
        on_crossing: Callable[[SpaceReading], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._meter = SpaceMeter(default_total_bytes(directory) if total_bytes is None else total_bytes)
        self._on_crossing = on_crossing
        self._clock = clock

    def check(self) -> SpaceReading:
        """Look once. Raises OSError when the directory is gone."""
        reading, crossed = self._meter.observe(self._clock(), used_bytes(self._directory))
        if crossed:
            self._on_crossing(reading)
        return reading


def used_bytes(directory: Path) -> int:
    """The lengths of all files of `directory` together, as Cassandra counts them (`DirectorySizeCalculator`)."""
    total = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                if entry.is_file(follow_symlinks=False):
                    total += entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
    return total


def default_total_bytes(directory: Path) -> int:
    """What Cassandra takes for `cdc_total_space` when cassandra.yaml does not say."""
    volume = os.statvfs(directory)
    return min(_DEFAULT_TOTAL, volume.f_blocks * volume.f_frsize // _DEFAULT_SHARE)
