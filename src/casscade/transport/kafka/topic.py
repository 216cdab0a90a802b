"""The pipeline's topic: created as it has to be, or checked when it exists.

Invariant: a topic that passes loses nothing that a pipeline needs: it is never compacted, takes the largest mutation,
keeps messages for the time that was asked for, and is the one that positions were kept for.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # re-exported without saying so
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicDescription,
)

from casscade.core import failpoints
from casscade.core.errors import CasscadeError, ConfigurationError, RetryableError
from casscade.core.limits import KAFKA_MESSAGE_BYTES_MAX
from casscade.observability.logs import get_logger
from casscade.transport.kafka.client import ADMIN_TIMEOUT_S, LOGIN, KafkaSettings, client_properties, translate
from casscade.transport.kafka.topic_checks import (
    HOUR_MS,
    TopicShape,
    check_broker,
    check_configuration,
    check_shape,
    in_sync_copies,
    refused,
)

log = get_logger("casscade.kafka")

T = TypeVar("T")

# A topic that was just created reaches all brokers' metadata within this time.
_APPEAR_TIMEOUT_S: Final = 15.0
_SERVE_S: Final = 0.05
_UNREACHED: Final = frozenset(
    {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE}
)
_NOT_TOLD: Final = frozenset(
    {KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.INVALID_REQUEST}
)


class _Admin:
    """Administrative requests about one topic, with their errors in our families."""

    def __init__(self, settings: KafkaSettings, *, reached: bool = False) -> None:
        self._settings = settings
        self._reached = reached
        self._login: KafkaError | None = None
        self._client = AdminClient(client_properties(settings, "admin") | {"error_cb": self._on_error})

    def _on_error(self, error: KafkaError) -> None:
        """A login that is refused does not end a request, which would be tried until its time is over."""
        if error.code() in LOGIN:
            self._login = error

    def _result(self, future: Future[T], doing: str) -> T:
        """What a request brought; raises KafkaException for what the callers tell apart."""
        while not future.done():
            self._client.poll(_SERVE_S)
            if self._login is not None:
                raise translate(self._login, self._settings, doing)
        try:
            return future.result()
        except KafkaException as error:
            if error.args[0].code() in _UNREACHED and not self._reached:
                raise self._unreachable() from error
            raise

    def _unreachable(self) -> ConfigurationError:
        return ConfigurationError(
            "kafka_unreachable",
            f"no broker of Kafka answered within {ADMIN_TIMEOUT_S:.0f} s",
            where=self._settings.where,
            now="nothing was started",
            hint="check transport.bootstrap_servers and transport.security",
        )

    def shape(self) -> TopicShape | None:
        """The topic as it is, None when there is none."""
        doing = f"looking for topic {self._settings.topic}"
        wanted = TopicCollection([self._settings.topic])
        try:
            futures = self._client.describe_topics(wanted, request_timeout=ADMIN_TIMEOUT_S)
            found: TopicDescription = self._result(futures[self._settings.topic], doing)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise translate(error, self._settings, doing) from error
        copies = min((len(partition.replicas) for partition in found.partitions), default=0)
        return TopicShape(len(found.partitions), copies, str(found.topic_id))

    def listed_partitions(self) -> int:
        """How many partitions the list of all topics tells, 0 when it has none of the name; needs no controller.

        Asked for by its name, a topic that is missing would be made where brokers do that.
        """
        try:
            topic = self._client.list_topics(timeout=ADMIN_TIMEOUT_S).topics.get(self._settings.topic)
        except KafkaException as error:
            if error.args[0].code() in _UNREACHED and not self._reached:
                raise self._unreachable() from error
            raise translate(error, self._settings, "listing topics") from error
        if topic is not None and topic.error is not None:
            raise translate(topic.error, self._settings, f"looking for topic {self._settings.topic}")
        return 0 if topic is None else len(topic.partitions)

    def create(self) -> None:
        """Create it; another instance that was faster is no error."""
        settings = self._settings
        topic = NewTopic(
            settings.topic,
            num_partitions=settings.partitions,
            replication_factor=settings.replication_factor,
            config={
                "cleanup.policy": "delete",
                "retention.ms": str(settings.retention_hours * HOUR_MS),
                "retention.bytes": "-1",
                "max.message.bytes": str(KAFKA_MESSAGE_BYTES_MAX),
                "compression.type": "producer",
                "min.insync.replicas": str(in_sync_copies(settings.replication_factor)),
                "unclean.leader.election.enable": "false",
            },
        )
        doing = f"creating topic {settings.topic}"
        try:
            self._result(self._client.create_topics([topic], operation_timeout=ADMIN_TIMEOUT_S)[settings.topic], doing)
            if failpoints.ARMED:
                failpoints.reach("topic_created")
        except KafkaException as error:
            cause = error.args[0]
            if cause.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return
            if cause.code() in {KafkaError.INVALID_REPLICATION_FACTOR, KafkaError.POLICY_VIOLATION}:
                raise refused(
                    "topic_refused",
                    f"Kafka did not create it: {cause.name()}",
                    settings,
                    "lower transport.replication_factor to the number of brokers, or create the topic by hand",
                ) from error
            raise translate(error, settings, doing) from error

    def configuration(self) -> dict[str, str]:
        """The settings of the topic, those that the brokers give it included."""
        doing = f"reading the configuration of topic {self._settings.topic}"
        try:
            return self._describe(ConfigResource(ResourceType.TOPIC, self._settings.topic), doing)
        except KafkaException as error:
            raise translate(error, self._settings, doing) from error

    def broker_configuration(self) -> dict[str, str]:
        """The settings of one broker; empty where they are not told to us (DescribeConfigs on the cluster)."""
        doing = "reading the configuration of a broker"
        try:
            brokers = self._client.list_topics(self._settings.topic, timeout=ADMIN_TIMEOUT_S).brokers
            return self._describe(ConfigResource(ResourceType.BROKER, str(min(brokers))), doing)
        except KafkaException as error:
            if error.args[0].code() in _NOT_TOLD:
                return {}
            raise translate(error, self._settings, doing) from error

    def _describe(self, resource: ConfigResource, doing: str) -> dict[str, str]:
        future = self._client.describe_configs([resource], request_timeout=ADMIN_TIMEOUT_S)[resource]
        entries: dict[str, Any] = self._result(future, doing)
        return {name: str(entry.value) for name, entry in entries.items() if entry.value is not None}

    def beginnings(self, partitions: int) -> list[int]:
        """The offset of the oldest message that each partition holds."""
        doing = "looking for the oldest messages"
        first = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
        wanted = {TopicPartition(self._settings.topic, number): first for number in range(partitions)}
        try:
            futures = self._client.list_offsets(wanted, request_timeout=ADMIN_TIMEOUT_S)
            found = {place.partition: self._result(future, doing).offset for place, future in futures.items()}
        except KafkaException as error:
            raise translate(error, self._settings, doing) from error
        return [found[number] for number in range(partitions)]


def count_partitions(settings: KafkaSettings) -> int:
    """How many partitions the topic has, 0 when there is none; raises ConfigurationError or RetryableError."""
    return _Admin(settings).listed_partitions()


def ensure_topic(settings: KafkaSettings, known_id: str = "", *, reached: bool = False) -> TopicShape:
    """Create the topic if it does not exist, check it if it does; returns what it is like.

    `known_id` is that of the topic for which positions are kept. With `reached` these brokers have answered before: if
    none does now, that is an outage (RetryableError) and no wrong configuration.

    Raises ConfigurationError (`kafka_unreachable`, `kafka_rights`, `kafka_login`, `topic_gone`, `topic_recreated`,
    `topic_partitions`, `topic_replication`, `topic_compacted`, `topic_message_bytes`, `topic_retention`,
    `topic_retention_bytes`, `topic_in_sync`, `topic_unclean`, `topic_refused`, `broker_request_bytes`) or
    RetryableError.
    """
    admin = _Admin(settings, reached=reached)
    shape = admin.shape()
    require_same(shape, settings, known_id)
    if shape is None:
        admin.create()
        shape = _await_topic(admin, settings)
    check_shape(shape, settings)
    for warning in check_configuration(admin.configuration(), shape, settings):
        log.warning("the topic costs more than it has to", topic=settings.topic, reason=warning)
    check_broker(admin.broker_configuration(), settings)
    return shape


def beginnings(settings: KafkaSettings, partitions: int) -> list[int]:
    """The offset of the oldest message of each partition; raises what `ensure_topic` raises."""
    return _Admin(settings).beginnings(partitions)


def look_again(settings: KafkaSettings, known_id: str) -> None:
    """Raise ConfigurationError when the topic is gone or another one; what passes by itself (an outage) is ignored."""
    with suppress(RetryableError):
        require_same(_Admin(settings, reached=True).shape(), settings, known_id)


def require_same(shape: TopicShape | None, settings: KafkaSettings, known_id: str) -> None:
    """Raise ConfigurationError (`topic_gone`, `topic_recreated`) when positions are kept for another topic."""
    if not known_id or (shape is not None and shape.id == known_id):
        return
    code, what = (
        ("topic_gone", "it was deleted")
        if shape is None
        else ("topic_recreated", "it was deleted, and another one has its name")
    )
    raise _other(code, what, settings)


def _other(code: str, what: str, settings: KafkaSettings) -> CasscadeError:
    return ConfigurationError(
        code,
        f"topic {settings.topic} can't be used: {what}; mutations that it held may not be applied",
        where=settings.where,
        now="nothing is read, written or created, so that the gap is not passed in silence",
        hint="name a new topic (transport.topic) for agents and loaders; casscade verify shows what differs",
    )


def _await_topic(admin: _Admin, settings: KafkaSettings) -> TopicShape:
    deadline = time.monotonic() + _APPEAR_TIMEOUT_S
    while time.monotonic() < deadline:
        shape = admin.shape()
        if shape is not None and shape.partitions:
            return shape
        time.sleep(_SERVE_S)
    raise RetryableError(
        "topic_missing",
        f"topic {settings.topic} was created and does not appear",
        where=settings.where,
        now="it is tried again",
    )
