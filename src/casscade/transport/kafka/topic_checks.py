"""What a topic and its brokers must be like for the pipeline: findings from plain values, without asking anybody.

Invariant: what would lose a mutation or stop the pipeline for good is refused, with the command that mends it; what
only costs is a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from casscade.core.errors import ConfigurationError
from casscade.core.limits import KAFKA_MESSAGE_BYTES_MAX
from casscade.transport.kafka.client import KafkaSettings

HOUR_MS: Final = 3_600_000
# Who asks for so many copies wants to lose none of them without noticing; fewer are a choice for availability.
SAFE_COPIES: Final = 3
# The rest of a request that carries one message: names, headers of the batch.
_REQUEST_OVERHEAD: Final = 64 << 10


class TopicShape(NamedTuple):
    """A topic as the brokers describe it; `copies` are those of the partition that has the fewest."""

    partitions: int
    copies: int
    id: str = ""


def in_sync_copies(replication_factor: int) -> int:
    """The `min.insync.replicas` of topics that are created: one copy may be away, if there are several."""
    return max(1, min(2, replication_factor - 1))


def check_shape(shape: TopicShape, settings: KafkaSettings) -> None:
    """Raise ConfigurationError (`topic_partitions`, `topic_replication`) for too few partitions or copies."""
    if shape.partitions < settings.partitions:
        raise refused(
            "topic_partitions",
            f"it has {shape.partitions} partitions, transport.partitions asks for {settings.partitions}",
            settings,
            f"set transport.partitions: {shape.partitions}, or add partitions (docs/kafka.md tells what that means)",
        )
    if shape.copies < settings.replication_factor:
        raise refused(
            "topic_replication",
            f"a partition of it has {shape.copies} copies, transport.replication_factor asks for "
            f"{settings.replication_factor}",
            settings,
            f"kafka-reassign-partitions adds copies; or set transport.replication_factor: {shape.copies}",
        )


def check_configuration(configuration: Mapping[str, str], shape: TopicShape, settings: KafkaSettings) -> list[str]:
    """Raise ConfigurationError for what would lose something (see `ensure_topic`); returns what only costs."""
    if "compact" in configuration.get("cleanup.policy", ""):
        raise refused(
            "topic_compacted",
            "it is compacted: Kafka would drop mutations of a key that has newer ones, and each holds other columns",
            settings,
            f"{_alter('cleanup.policy=delete')}, or name another topic",
        )
    message_bytes = int(configuration.get("max.message.bytes", KAFKA_MESSAGE_BYTES_MAX))
    if message_bytes < KAFKA_MESSAGE_BYTES_MAX:
        raise refused(
            "topic_message_bytes",
            f"it takes messages of {message_bytes} bytes, a mutation may need {KAFKA_MESSAGE_BYTES_MAX}",
            settings,
            _alter(f"max.message.bytes={KAFKA_MESSAGE_BYTES_MAX}"),
        )
    _check_retention(configuration, settings)
    _check_durability(configuration, shape, settings)
    compression = configuration.get("compression.type", "producer")
    if compression in {"producer", settings.compression} or (compression, settings.compression) == (
        "uncompressed",
        "none",
    ):
        return []
    return [
        f"the brokers compress every message again, because compression.type is {compression} and not producer "
        f"({_alter('compression.type=producer')})"
    ]


def _check_retention(configuration: Mapping[str, str], settings: KafkaSettings) -> None:
    retention = int(configuration.get("retention.ms", -1))
    if 0 <= retention < settings.retention_hours * HOUR_MS:
        raise refused(
            "topic_retention",
            f"it keeps messages for {retention / HOUR_MS:.1f} hours, transport.retention_hours asks for "
            f"{settings.retention_hours}",
            settings,
            f"{_alter(f'retention.ms={settings.retention_hours * HOUR_MS}')}, or lower the key",
        )
    size = int(configuration.get("retention.bytes", -1))
    if size >= 0:
        raise refused(
            "topic_retention_bytes",
            f"it keeps no more than {size} bytes of a partition, whatever transport.retention_hours says: a burst "
            "would drop mutations that no loader has applied",
            settings,
            _alter("retention.bytes=-1"),
        )


def _check_durability(configuration: Mapping[str, str], shape: TopicShape, settings: KafkaSettings) -> None:
    in_sync = int(configuration.get("min.insync.replicas", 1))
    if in_sync > shape.copies:
        raise refused(
            "topic_in_sync",
            f"it wants {in_sync} copies in sync (min.insync.replicas) and has {shape.copies}: it takes no message",
            settings,
            _alter(f"min.insync.replicas={in_sync_copies(shape.copies)}"),
        )
    if settings.replication_factor >= SAFE_COPIES and in_sync < in_sync_copies(settings.replication_factor):
        raise refused(
            "topic_in_sync",
            "it acknowledges mutations that one broker alone holds (min.insync.replicas is 1), and their segments are "
            "deleted then",
            settings,
            f"{_alter('min.insync.replicas=2')}; whoever prefers availability says so by a "
            "transport.replication_factor of 2",
        )
    if shape.copies > 1 and configuration.get("unclean.leader.election.enable") == "true":
        raise refused(
            "topic_unclean",
            "a broker that lags may become the leader, and mutations that were acknowledged are gone then",
            settings,
            _alter("unclean.leader.election.enable=false"),
        )


def check_broker(configuration: Mapping[str, str], settings: KafkaSettings) -> None:
    """Raise ConfigurationError (`broker_request_bytes`) when a broker cuts connections that bring a large mutation."""
    allowed = int(configuration.get("socket.request.max.bytes", KAFKA_MESSAGE_BYTES_MAX + _REQUEST_OVERHEAD))
    if allowed < KAFKA_MESSAGE_BYTES_MAX + _REQUEST_OVERHEAD:
        raise ConfigurationError(
            "broker_request_bytes",
            f"the brokers take requests of {allowed} bytes, one mutation may need {KAFKA_MESSAGE_BYTES_MAX}",
            where=settings.where,
            now="nothing was started",
            hint="remove socket.request.max.bytes from server.properties of the brokers (its default is 100 MiB)",
        )


def _alter(setting: str) -> str:
    return f"kafka-configs --alter --add-config {setting}"


def refused(code: str, what: str, settings: KafkaSettings, hint: str) -> ConfigurationError:
    """The error for a topic that can't be used."""
    return ConfigurationError(
        code,
        f"topic {settings.topic} can't be used: {what}",
        where=settings.where,
        now="nothing was started",
        hint=hint,
    )
