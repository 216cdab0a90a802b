"""Where in the topic messages of a given time lie, and what positions in it are called.

Invariant: only asks; nothing is committed.
"""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaException, TopicPartition

from casscade.core.position import Position
from casscade.transport.kafka.client import ADMIN_TIMEOUT_S, KafkaSettings, client_properties, translate


def source_name(topic: str, partition: int) -> str:
    """The name under which a partition's position is kept."""
    return f"{topic}/{partition}"


def offsets_at(settings: KafkaSettings, seconds: float) -> dict[str, Position]:
    """For each partition of the topic, by its source name, the position of the first message from `seconds` on.

    Partitions without one are left out. Raises RetryableError when Kafka does not answer.
    """
    consumer = Consumer(client_properties(settings, "look") | {"group.id": settings.group})
    try:
        topic = consumer.list_topics(settings.topic, timeout=ADMIN_TIMEOUT_S).topics[settings.topic]
        wanted = [TopicPartition(settings.topic, number, int(seconds * 1000)) for number in topic.partitions]
        found = consumer.offsets_for_times(wanted, timeout=ADMIN_TIMEOUT_S)
    except KafkaException as error:
        raise translate(error, settings, "looking for messages by their time") from error
    finally:
        consumer.close()
    return {
        source_name(settings.topic, place.partition): Position(0, place.offset) for place in found if place.offset >= 0
    }
