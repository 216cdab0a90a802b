"""What so many events a second need, from what one row costs: a model that the same run checks.

Invariant: pure arithmetic over measured costs; what it predicts for this machine stands beside what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# SC-006: what ten instances have to take.
EVENTS_PER_SECOND: Final = 100_000
INSTANCES: Final = 10
# Partitions for each loader: with one, a group that grows by a loader has nothing to give it.
PARTITIONS_PER_LOADER: Final = 2
# A server that is planned to its last core falls behind at the first peak.
HEADROOM: Final = 1.5


@dataclass(frozen=True, slots=True)
class Need:
    """What `events_per_second` over `instances` loaders need.

    Cores are busy ones, by part and over all instances, without headroom; bandwidths are bytes a second.
    """

    events_per_second: int
    instances: int
    cores: Mapping[str, float]
    partitions: int
    wal_bandwidth: float
    topic_bandwidth: float

    @property
    def events_per_instance(self) -> float:
        """The share of one loader."""
        return self.events_per_second / self.instances

    @property
    def loader_cores_each(self) -> float:
        """How busy one loader is; one process decodes and writes on little more than one core."""
        return self.cores.get("loaders", 0.0) / self.instances


def need(
    cpu_us: Mapping[str, float],
    wal_bytes: float,
    topic_bytes: float,
    events_per_second: int = EVENTS_PER_SECOND,
    instances: int = INSTANCES,
) -> Need:
    """From microseconds of CPU a row by part, bytes of WAL a row and bytes of the topic a row."""
    return Need(
        events_per_second,
        instances,
        {part: spent * events_per_second / 1e6 for part, spent in cpu_us.items()},
        instances * PARTITIONS_PER_LOADER,
        wal_bytes * events_per_second,
        topic_bytes * events_per_second,
    )


def predicted_rate(cpu_us: Mapping[str, float], cores: int) -> float:
    """Rows a second if all parts share `cores` cores and nothing else limits them."""
    return cores * 1e6 / sum(cpu_us.values())
