"""The pipeline's topic: created as it has to be, or checked when it exists.

Invariant: a topic that passes loses nothing that a pipeline needs: it is never compacted, takes the largest mutation,
and keeps messages for the time that was asked for.
"""

from __future__ import annotations

import time
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined] # re-exported without saying so
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from casscade.core.errors import CasscadeError, ConfigurationError, RetryableError
from casscade.core.limits import KAFKA_MESSAGE_BYTES_MAX
from casscade.transport.kafka.client import ADMIN_TIMEOUT_S, KafkaSettings, client_properties, translate

# A topic that was just created reaches all brokers' metadata within this time.
_APPEAR_TIMEOUT_S: Final = 15.0
_HOUR_MS: Final = 3_600_000
_UNREACHED: Final = frozenset({KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT})


def ensure_topic(settings: KafkaSettings, *, reached: bool = False) -> int:
    """Create the topic if it does not exist, check it if it does; returns how many partitions it has.

    With `reached` these brokers have answered before: if none does now, that is an outage and no wrong configuration.

    Raises ConfigurationError (`kafka_unreachable`, `kafka_rights`, `kafka_login`, `topic_compacted`,
    `topic_partitions`, `topic_message_bytes`, `topic_retention`, `topic_refused`) or RetryableError.
    """
    admin = AdminClient(client_properties(settings, "admin"))
    partitions = _partitions(admin, settings, reached=reached)
    if partitions == 0:
        _create(admin, settings)
        partitions = _await_topic(admin, settings)
    _check(_configuration(admin, settings), partitions, settings)
    return partitions


def count_partitions(settings: KafkaSettings) -> int:
    """How many partitions the topic has, 0 when there is none; raises ConfigurationError or RetryableError."""
    return _partitions(AdminClient(client_properties(settings, "admin")), settings, reached=False)


def _partitions(admin: AdminClient, settings: KafkaSettings, *, reached: bool) -> int:
    """How many partitions the topic has, 0 when there is none.

    Asked for by its name, a topic that is missing would be made, in the broker's way, where brokers do that
    (`auto.create.topics.enable`): so all are listed.
    """
    try:
        listed = admin.list_topics(timeout=ADMIN_TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].code() in _UNREACHED and not reached:
            raise ConfigurationError(
                "kafka_unreachable",
                f"no broker of Kafka answered within {ADMIN_TIMEOUT_S:.0f} s",
                where=settings.where,
                now="nothing was started",
                hint="check transport.bootstrap_servers and transport.security",
            ) from error
        raise translate(error, settings, "listing topics") from error
    topic = listed.topics.get(settings.topic)
    if topic is None or (topic.error is not None and topic.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART):
        return 0
    if topic.error is not None:
        raise translate(topic.error, settings, f"looking for topic {settings.topic}")
    return len(topic.partitions)


def _create(admin: AdminClient, settings: KafkaSettings) -> None:
    """Create it; another instance that was faster is no error."""
    topic = NewTopic(
        settings.topic,
        num_partitions=settings.partitions,
        replication_factor=settings.replication_factor,
        config={
            "cleanup.policy": "delete",
            "retention.ms": str(settings.retention_hours * _HOUR_MS),
            "max.message.bytes": str(KAFKA_MESSAGE_BYTES_MAX),
            "compression.type": "producer",
            "min.insync.replicas": str(max(1, min(2, settings.replication_factor - 1))),
        },
    )
    future = admin.create_topics([topic], operation_timeout=ADMIN_TIMEOUT_S)[settings.topic]
    try:
        future.result()
    except KafkaException as error:
        cause = error.args[0]
        if cause.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return
        if cause.code() in {KafkaError.INVALID_REPLICATION_FACTOR, KafkaError.POLICY_VIOLATION}:
            raise _refused(
                "topic_refused",
                f"Kafka did not create it: {cause.name()}",
                settings,
                "lower transport.replication_factor to the number of brokers, or create the topic by hand",
            ) from error
        raise translate(error, settings, f"creating topic {settings.topic}") from error


def _await_topic(admin: AdminClient, settings: KafkaSettings) -> int:
    deadline = time.monotonic() + _APPEAR_TIMEOUT_S
    while time.monotonic() < deadline:
        partitions = _partitions(admin, settings, reached=True)
        if partitions:
            return partitions
        time.sleep(0.05)
    raise RetryableError(
        "topic_missing",
        f"topic {settings.topic} was created and does not appear",
        where=settings.where,
        now="it is tried again",
    )


def _configuration(admin: AdminClient, settings: KafkaSettings) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, settings.topic)
    try:
        entries: dict[str, Any] = admin.describe_configs([resource], request_timeout=ADMIN_TIMEOUT_S)[resource].result()
    except KafkaException as error:
        raise translate(error, settings, f"reading the configuration of topic {settings.topic}") from error
    return {name: str(entry.value) for name, entry in entries.items()}


def _check(configuration: dict[str, str], partitions: int, settings: KafkaSettings) -> None:
    if "compact" in configuration.get("cleanup.policy", ""):
        raise _refused(
            "topic_compacted",
            "it is compacted: Kafka would drop mutations of a key that has newer ones, and each holds other columns",
            settings,
            "kafka-configs --alter --add-config cleanup.policy=delete, or name another topic",
        )
    if partitions < settings.partitions:
        raise _refused(
            "topic_partitions",
            f"it has {partitions} partitions, transport.partitions asks for {settings.partitions}",
            settings,
            f"set transport.partitions: {partitions}, or name a new topic (adding partitions moves keys)",
        )
    message_bytes = int(configuration.get("max.message.bytes", KAFKA_MESSAGE_BYTES_MAX))
    if message_bytes < KAFKA_MESSAGE_BYTES_MAX:
        raise _refused(
            "topic_message_bytes",
            f"it takes messages of {message_bytes} bytes, a mutation may need {KAFKA_MESSAGE_BYTES_MAX}",
            settings,
            f"kafka-configs --alter --add-config max.message.bytes={KAFKA_MESSAGE_BYTES_MAX}",
        )
    retention = int(configuration.get("retention.ms", -1))
    if 0 <= retention < settings.retention_hours * _HOUR_MS:
        raise _refused(
            "topic_retention",
            f"it keeps messages for {retention / _HOUR_MS:.1f} hours, transport.retention_hours asks for "
            f"{settings.retention_hours}",
            settings,
            f"kafka-configs --alter --add-config retention.ms={settings.retention_hours * _HOUR_MS}, or lower the key",
        )


def _refused(code: str, what: str, settings: KafkaSettings, hint: str) -> CasscadeError:
    return ConfigurationError(
        code,
        f"topic {settings.topic} can't be used: {what}",
        where=settings.where,
        now="nothing was started",
        hint=hint,
    )
