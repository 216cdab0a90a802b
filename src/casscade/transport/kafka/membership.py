"""How a loader is a member of its group: what its client is told, and how one with a name leaves.

Invariant: no offset is committed in Kafka, so that there is one truth; a loader that ends as it should is not waited
for by the others, whether it has a name or not.

A member without a name is a new one in each life: the group waits for the end of the session of one that was killed
before it gives away its partitions, also to its next life. One with a name (`group.instance.id`) is the same member
again, and has its partitions at once; epochs in PostgreSQL fence its earlier life all the same.
"""

from __future__ import annotations

import time
from typing import Any, Final

from confluent_kafka import Consumer

from casscade.core.limits import KAFKA_CONSUMER_BYTES, KAFKA_MESSAGE_BYTES_MAX
from casscade.transport.kafka.client import KafkaSettings, client_properties

_HEARTBEAT_MS_MAX: Final = 3000
# Partitions that were added, and topics that did not exist, are looked for so often.
_DISCOVERY_MS: Final = 10_000
# Beyond giving partitions up, which has its own limit, it is one request; without a broker the session ends by itself.
_QUIT_S_MAX: Final = 20.0
_POLL_S: Final = 0.05


def consumer_properties(settings: KafkaSettings) -> dict[str, Any]:
    """The properties of a loader's client."""
    named = {"group.instance.id": settings.instance} if settings.instance else {}
    return {
        **client_properties(settings, "load"),
        **named,
        "group.id": settings.group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": settings.session_timeout_ms,
        "heartbeat.interval.ms": min(_HEARTBEAT_MS_MAX, settings.session_timeout_ms // 3),
        "fetch.message.max.bytes": KAFKA_MESSAGE_BYTES_MAX,
        "queued.max.messages.kbytes": KAFKA_CONSUMER_BYTES // 1024,
        "fetch.wait.max.ms": 100,
        "topic.metadata.refresh.interval.ms": _DISCOVERY_MS,
    }


def quit_group(consumer: Consumer) -> None:
    """Leave the group for good; the callbacks of giving partitions up are served meanwhile.

    Closing a client without a name does that by itself. One with a name stays a member when it is closed, and its
    partitions would wait for the end of its session.
    """
    consumer.unsubscribe()
    deadline = time.monotonic() + _QUIT_S_MAX
    # The client forgets what the group calls it when it tells the group.
    while consumer.memberid() and time.monotonic() < deadline:
        consumer.consume(1, _POLL_S)
