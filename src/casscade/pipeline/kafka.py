"""The `transport` section as the settings of the Kafka clients.

Invariant: agents and loaders of one configuration use one topic and one group.
"""

from __future__ import annotations

from casscade.config import PipelineConfig
from casscade.core.errors import ConfigurationError
from casscade.transport.kafka.client import KafkaSecurity, KafkaSettings


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


def _path(path: object) -> str:
    return "" if path is None else str(path)
