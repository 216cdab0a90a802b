"""What every Kafka client of a pipeline is configured with, and its errors in our words.

Invariant: no text of an error or a log line holds a secret; librdkafka's own lines go to our log, bounded by level and
in number: an outage is no flood.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from casscade.core.errors import KAFKA_UNAVAILABLE, CasscadeError, ConfigurationError, RetryableError
from casscade.core.limits import KAFKA_MESSAGE_BYTES_MAX
from casscade.security.secret import Secret

# The whole round trip of an administrative request; a broker that takes longer is away.
ADMIN_TIMEOUT_S: Final = 15.0
# Reconnects of the client itself: from a tenth of a second to ten, so that a broker's return is seen soon.
_RECONNECT_MS: Final = 100
_RECONNECT_MAX_MS: Final = 10_000

# While brokers are away each client tries to connect some ten times a second, and tells so; one line of each kind in
# this time is enough.
LOG_INTERVAL_S: Final = 10.0
_LOG_KINDS_MAX: Final = 256

# Errors after which the same request can't succeed, by what has to be changed.
_RIGHTS: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
# A consumer tells of its end by an error that has the reason in its text alone, in the client's own words.
_FENCED: Final = KafkaError(KafkaError.FENCED_INSTANCE_ID).str()
LOGIN: Final = frozenset({KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._AUTHENTICATION, KafkaError._SSL})


class SparseLog(logging.Filter):
    """Lets one line of each kind and client pass in `LOG_INTERVAL_S`, with the number of those left out before it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._passed: dict[object, float] = {}
        self._left_out: Counter[object] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line passes; librdkafka's arguments are the kind, the client and the text."""
        kind = record.args[:2] if isinstance(record.args, tuple) and len(record.args) > 2 else record.msg
        now = self._clock()
        if now - self._passed.get(kind, -LOG_INTERVAL_S) < LOG_INTERVAL_S:
            self._left_out[kind] += 1
            return False
        if len(self._passed) >= _LOG_KINDS_MAX:
            self._passed.clear()
            self._left_out.clear()
        self._passed[kind] = now
        left_out = self._left_out.pop(kind, 0)
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} lines like it left out)", None
        return True


_LOGGER: Final = logging.getLogger("casscade.kafka")
_LOGGER.addFilter(SparseLog())


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """How brokers are spoken to: `protocol` as librdkafka names it, files for TLS, name and password for SASL."""

    protocol: str = "plaintext"
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    key_password: Secret | None = None
    mechanism: str = ""
    username: str = ""
    password: Secret | None = None


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """A pipeline's cluster and topic; `instance` names a loader for longer than its process lives, if it has a name."""

    bootstrap_servers: tuple[str, ...]
    topic: str
    group: str
    partitions: int = 12
    replication_factor: int = 3
    retention_hours: int = 168
    compression: str = "lz4"
    session_timeout_ms: int = 10_000
    instance: str = ""
    security: KafkaSecurity = field(default_factory=KafkaSecurity)

    @property
    def where(self) -> str:
        """The brokers, for messages."""
        return ", ".join(self.bootstrap_servers)


def client_properties(settings: KafkaSettings, role: str) -> dict[str, Any]:
    """The properties that producers, consumers and administrative clients share; `role` names the client."""
    security = settings.security
    properties: dict[str, Any] = {
        "bootstrap.servers": ",".join(settings.bootstrap_servers),
        "client.id": f"casscade-{role}",
        "security.protocol": security.protocol,
        "reconnect.backoff.ms": _RECONNECT_MS,
        "reconnect.backoff.max.ms": _RECONNECT_MAX_MS,
        "message.max.bytes": KAFKA_MESSAGE_BYTES_MAX,
        # Looking for a topic must not make it as the brokers would: with one partition, and for small messages.
        "allow.auto.create.topics": False,
        "socket.keepalive.enable": True,
        "logger": _LOGGER,
    }
    optional = {
        "ssl.ca.location": security.ca_file,
        "ssl.certificate.location": security.certificate_file,
        "ssl.key.location": security.key_file,
        "ssl.key.password": "" if security.key_password is None else security.key_password.reveal(),
        "sasl.mechanisms": security.mechanism,
        "sasl.username": security.username,
        "sasl.password": "" if security.password is None else security.password.reveal(),
    }
    return properties | {name: value for name, value in optional.items() if value}


def translate(error: KafkaError | KafkaException, settings: KafkaSettings, doing: str) -> CasscadeError:
    """An error of the client in our families: what needs a change of configuration, and what passes by itself."""
    cause = error.args[0] if isinstance(error, KafkaException) else error
    code = cause.code() if isinstance(cause, KafkaError) else None
    if code == KafkaError._FATAL and _FENCED in cause.str():
        code = KafkaError.FENCED_INSTANCE_ID
    name = cause.name() if isinstance(cause, KafkaError) else type(error).__name__
    if code in _RIGHTS:
        return ConfigurationError(
            "kafka_rights",
            f"Kafka refused {doing} ({name})",
            where=settings.where,
            now="the process stops; nothing that was read is lost",
            hint=f"grant the principal its rights on topic {settings.topic} and group {settings.group} "
            "(docs/kafka.md lists them)",
        )
    if code in LOGIN:
        return ConfigurationError(
            "kafka_login",
            f"Kafka refused the connection while {doing} ({name})",
            where=settings.where,
            now="the process stops; nothing that was read is lost",
            hint="compare transport.security with the listeners of the brokers",
        )
    if code == KafkaError.FENCED_INSTANCE_ID:
        return ConfigurationError(
            "kafka_instance",
            f"another loader has joined the group as {settings.instance}, the name of this one",
            where=settings.where,
            now="this one stops; what it had not committed is read by the other",
            hint="give each loader a transport.instance of its own, or leave it out",
        )
    if code == KafkaError.INVALID_SESSION_TIMEOUT:
        return ConfigurationError(
            "kafka_session_timeout",
            f"the brokers do not allow a session timeout of {settings.session_timeout_ms} ms",
            where=settings.where,
            now="the process stops; nothing that was read is lost",
            hint="set transport.session_timeout_ms within group.min and group.max.session.timeout.ms of the brokers",
        )
    return RetryableError(
        KAFKA_UNAVAILABLE,
        f"Kafka failed while {doing} ({name})",
        where=settings.where,
        now="it is tried again",
        hint="see whether the brokers of transport.bootstrap_servers run and can be reached from here",
    )
