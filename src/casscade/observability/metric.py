"""What a metric is: its names, its kind and its buckets.

Invariant: names follow one rule, `casscade_<name>_<unit>` and `_total` behind counters (see `metric_table`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

PREFIX: Final = "casscade"
PIPELINE_LABEL: Final = "pipeline"

# The user's bounds are 2 s (P95) and 5 s; below 50 ms the commit log's own sync dominates. Around 1 to 2 s, where
# P95 is judged, neighbours lie close together, since a percentile is only as exact as its bucket.
LATENCY_BUCKETS_S: Final = (
    0.05,
    0.1,
    0.2,
    0.35,
    0.5,
    0.75,
    1.0,
    1.25,
    1.5,
    1.75,
    2.0,
    2.5,
    3.5,
    5.0,
    7.5,
    10.0,
    30.0,
    60.0,
)
# One transaction: milliseconds for a small batch, tens for 1,000 rows, seconds when PostgreSQL struggles.
BATCH_BUCKETS_S: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: `name` and `unit` make its full name, `help` is its HELP line, `meaning` tells what to read from it.

    `labels` are its labels beside `pipeline`; `buckets` are the upper bounds of a histogram, in its unit.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    help: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """The name that Prometheus sees."""
        return f"{PREFIX}_{self.name}_{self.unit}" + ("_total" if self.kind == "counter" else "")
