"""What the node's sizes mean for a pipeline: when `cdc_raw` is full, and whether every mutation fits into a message.

Invariant: the space that warnings go by is the node's own wherever it tells it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from casscade.capture.node_sizes import cdc_total_bytes, mutation_bytes_max
from casscade.capture.space import SpaceGuard
from casscade.config import PipelineConfig
from casscade.core.limits import KAFKA_MESSAGE_BYTES_MAX
from casscade.observability.logs import get_logger
from casscade.pipeline.monitor import Monitor

log = get_logger("casscade.pipeline")

# A key has 64 KiB at most; the envelope and Kafka's record need some bytes.
_MESSAGE_OVERHEAD: Final = 128 << 10


def space_guard(config: PipelineConfig, settings: Mapping[str, str | None], monitor: Monitor) -> SpaceGuard:
    """The guard of the node's `cdc_raw`: by the configuration, else what the node says, else Cassandra's default."""
    total = config.capture.cdc_total_space_bytes or cdc_total_bytes(settings)
    return SpaceGuard(config.capture.cdc_directory, total, monitor.space_crossed)


def warn_of_large_mutations(settings: Mapping[str, str | None]) -> bool:
    """Say so where the node takes mutations that no message holds; such a one stops the agent. True if it does."""
    largest = mutation_bytes_max(settings)
    if largest is None or largest <= KAFKA_MESSAGE_BYTES_MAX - _MESSAGE_OVERHEAD:
        return False
    log.warning(
        "the node takes mutations that are larger than a message of Kafka: one of them stops capture",
        mutation_bytes_max=largest,
        message_bytes_max=KAFKA_MESSAGE_BYTES_MAX,
        hint="max_mutation_size in cassandra.yaml bounds them",
    )
    return True
