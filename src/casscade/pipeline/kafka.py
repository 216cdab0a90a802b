"""The `transport` section as the settings of the Kafka clients.

Invariant: agents and loaders of one configuration use one topic and one group.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from casscade.config import PipelineConfig
from casscade.core.errors import ConfigurationError
from casscade.observability.health import Health, State
from casscade.schema.model import Table
from casscade.transport.kafka.client import KafkaSecurity, KafkaSettings
from casscade.transport.kafka.dead_letters import topic_settings

# Reconnects of the client, and a restart of a single broker's process, are over by then.
_DOWN_AFTER_S: Final = 5.0


def kafka_settings(config: PipelineConfig) -> KafkaSettings:
    """The settings; ConfigurationError (`transport_direct`) where the transport is not Kafka."""
    section = config.transport
    if section.bootstrap_servers is None:
        raise ConfigurationError(
            "transport_direct",
            "this command needs the Kafka transport, and the pipeline's transport is direct",
            where=config.location("transport"),
            now="nothing was started",
            hint="set transport: {kind: kafka, bootstrap_servers: [host:9092]}, or use casscade run",
        )
    security = section.security
    return KafkaSettings(
        bootstrap_servers=section.bootstrap_servers,
        topic=section.topic or f"{config.name}.mutations",
        group=f"casscade.{config.name}",
        partitions=section.partitions,
        replication_factor=section.replication_factor,
        retention_hours=section.retention_hours,
        compression=section.compression,
        session_timeout_ms=section.session_timeout_ms,
        instance=section.instance or "",
        security=KafkaSecurity(
            protocol=security.protocol,
            ca_file=_path(security.ca_file),
            certificate_file=_path(security.certificate_file),
            key_file=_path(security.key_file),
            key_password=security.key_password,
            mechanism=security.mechanism or "",
            username=security.username or "",
            password=security.password,
        ),
    )


def show_brokers(health: Health, down_seconds: float) -> None:
    """Show in the health whether brokers can be reached; a reconnect of a moment is no outage."""
    if down_seconds > _DOWN_AFTER_S:
        health.set("kafka", State.DOWN, f"no broker could be reached for {down_seconds:.0f} s")
    else:
        health.set("kafka", State.OK)


def letter_settings(config: PipelineConfig) -> KafkaSettings:
    """The settings of the topic of dead letters."""
    return topic_settings(kafka_settings(config), config.transport.dead_letter_topic or f"{config.name}.dead_letters")


def debezium_topics(config: PipelineConfig, tables: Iterable[Table]) -> list[str]:
    """The topics that Debezium's connector writes for the tables; none if Casscade captures itself."""
    prefix = config.transport.topic_prefix
    return [] if prefix is None else [f"{prefix}.{table.full_name}" for table in tables]


def require_own_capture(config: PipelineConfig) -> None:
    """Raise ConfigurationError (`capture_by_debezium`) where Debezium's connector captures."""
    if config.transport.format == "debezium":
        raise ConfigurationError(
            "capture_by_debezium",
            "the pipeline takes its input from topics of Debezium's, so that no agent of Casscade's has a part in it",
            where=config.location("transport", "format"),
            now="nothing was started",
            hint="run casscade load alone, or remove transport.format and topic_prefix",
        )


def _path(path: object) -> str:
    return "" if path is None else str(path)
