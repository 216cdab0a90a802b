"""Latencies in a histogram of logarithmic buckets: bounded memory, percentiles exact to one percent, mergeable.

Invariant: a percentile differs from the exact one (nearest rank) by at most `RESOLUTION` / 2 of its value, between
`LEAST_S` and `MOST_S`; values outside are counted at the ends.
"""

from __future__ import annotations

import math
from typing import Final

from casscade.core.errors import BadDataError

# Neighbouring bucket bounds differ by 2 %: what is reported, the middle, is at most 1 % away from what was recorded.
RESOLUTION: Final = 0.02
LEAST_S: Final = 0.0001
# Longer than a day behind is told by the lag, not by percentiles; 1,043 buckets hold all of it.
MOST_S: Final = 100_000.0

_STEP: Final = math.log1p(RESOLUTION)
BUCKETS: Final = math.ceil(math.log(MOST_S / LEAST_S) / _STEP)
_MIDDLE: Final = math.sqrt(1 + RESOLUTION)


class LatencyHistogram:
    """Counts of latencies in seconds. One thread records; others may read, and miss at most what is being recorded."""

    def __init__(self) -> None:
        self._counts: list[int] = [0] * BUCKETS
        self.count: int = 0
        self.least: float = math.inf
        self.most: float = 0.0

    def record(self, seconds: float, times: int = 1) -> None:
        """Count a latency; a negative one (clocks differ) counts as 0. `times` > 0 events share it."""
        seconds = max(seconds, 0.0)
        self._counts[_bucket(seconds)] += times
        self.count += times
        self.least = min(self.least, seconds)
        self.most = max(self.most, seconds)

    def merge(self, other: LatencyHistogram) -> None:
        """Add all that `other` counted."""
        self._counts = [mine + theirs for mine, theirs in zip(self._counts, other._counts, strict=True)]
        self.count += other.count
        self.least = min(self.least, other.least)
        self.most = max(self.most, other.most)

    def percentile(self, percent: float) -> float | None:
        """The latency that `percent` (0 to 100) of the events did not exceed, in seconds; None without events."""
        counts = self._counts
        total = sum(counts)
        if not total:
            return None
        rank = max(math.ceil(total * percent / 100), 1)
        passed = 0
        for bucket, count in enumerate(counts):
            passed += count
            if passed >= rank:
                return min(max(LEAST_S * math.exp(bucket * _STEP) * _MIDDLE, self.least), self.most)
        return self.most

    def to_json(self) -> dict[str, object]:
        """What `from_json` reads: plain values, only the buckets in use."""
        return {
            "resolution": RESOLUTION,
            "least": self.least if self.count else None,
            "most": self.most,
            "counts": {str(bucket): count for bucket, count in enumerate(self._counts) if count},
        }

    @classmethod
    def from_json(cls, data: object) -> LatencyHistogram:
        """The histogram that `to_json` wrote. Raises `BadDataError` when it is none, or one of another resolution."""
        histogram = cls()
        try:
            if not isinstance(data, dict) or data["resolution"] != RESOLUTION:
                raise ValueError("another resolution")
            for bucket, count in data["counts"].items():
                if not isinstance(count, int) or count <= 0 or not 0 <= int(bucket) < BUCKETS:
                    raise ValueError("no count of a bucket")
                histogram._counts[int(bucket)] += count
                histogram.count += count
            histogram.least = math.inf if data["least"] is None else float(data["least"])
            histogram.most = float(data["most"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadDataError("latency_json", "this is no latency histogram of the same resolution") from error
        return histogram


def _bucket(seconds: float) -> int:
    if seconds <= LEAST_S:
        return 0
    return min(int(math.log(seconds / LEAST_S) / _STEP), BUCKETS - 1)
