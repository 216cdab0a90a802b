"""Reads a topic for somebody who only looks.

Invariant: nothing is left behind: no group is joined, no offset committed, no topic made.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # re-exported without saying so

from casscade.core.errors import ConfigurationError
from casscade.core.limits import KAFKA_CONSUMER_BYTES, KAFKA_MESSAGE_BYTES_MAX
from casscade.transport.kafka.client import ADMIN_TIMEOUT_S, KafkaSettings, client_properties, translate
from casscade.transport.kafka.topic import count_partitions
from casscade.transport.topic_message import TopicMessage

_MESSAGES_MAX: Final = 256
_POLL_S: Final = 0.1
# The client looks its group up although none is joined; whoever may read the topic need not have rights on it.
_NOT_OURS: Final = frozenset({KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.COORDINATOR_NOT_AVAILABLE})

BEGINNING: Final = "beginning"
END: Final = "end"


class TopicReader:
    """Messages of `topic` from `start` on: `BEGINNING`, `END`, or a Unix time in milliseconds.

    One partition, or all of them, each in its order. With `follow` it goes on until it is stopped; else it ends at
    what the topic held when it was opened.
    """

    def __init__(
        self, settings: KafkaSettings, topic: str, start: str | int, *, partition: int | None = None, follow: bool
    ) -> None:
        """Raises ConfigurationError (`topic_unknown`, `partition_unknown`, `kafka_unreachable`, `kafka_rights`)."""
        self._settings = replace(settings, topic=topic)
        places = self._places(partition)
        starts = self._offsets(places, start)
        ends = {} if follow else self._offsets(places, END)
        # Read up to here; None: without an end.
        self._left: dict[int, int | None] = {
            number: ends.get(number) for number in starts if follow or starts[number] < ends[number]
        }
        self._consumer = Consumer(
            client_properties(self._settings, "tail")
            | {
                # Not the pipeline's: even a mistake of the client could not disturb its loaders.
                "group.id": f"{settings.group}.tail",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": not follow,
                "fetch.message.max.bytes": KAFKA_MESSAGE_BYTES_MAX,
                "queued.max.messages.kbytes": KAFKA_CONSUMER_BYTES // 1024,
                "fetch.wait.max.ms": 100,
            }
        )
        self._consumer.assign([TopicPartition(topic, number, starts[number]) for number in self._left])

    def read(self, stop: threading.Event) -> Iterator[TopicMessage]:
        """Messages until `stop` is set, or the end; raises what `translate` makes of an error that does not pass."""
        while self._left and not stop.is_set():
            for message in self._consumer.consume(_MESSAGES_MAX, _POLL_S):
                number = message.partition()
                if self._failed(message) or number not in self._left:
                    continue
                found = _as_message(message)
                end = self._left[found.partition]
                if end is not None and found.offset >= end - 1:
                    del self._left[found.partition]
                if end is None or found.offset < end:
                    yield found

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()

    def _failed(self, message: Message) -> bool:
        """Whether the message is an event of the client: the end of a partition is kept, what passes is not."""
        error = message.error()
        if error is None:
            return False
        if error.code() == KafkaError._PARTITION_EOF:
            # What a transaction leaves behind its last message has an offset and is never delivered.
            self._left.pop(message.partition() or 0, None)
        elif error.code() not in _NOT_OURS and (not error.retriable() or error.fatal()) and not _passes(error):
            raise translate(error, self._settings, "consuming")
        return True

    def _places(self, partition: int | None) -> list[int]:
        count = count_partitions(self._settings)
        if count == 0:
            raise ConfigurationError(
                "topic_unknown",
                f"Kafka has no topic {self._settings.topic}",
                where=self._settings.where,
                now="nothing was read",
                hint="name it with --topic; the pipeline's own is created by the first casscade capture or load",
            )
        if partition is not None and partition >= count:
            raise ConfigurationError(
                "partition_unknown",
                f"topic {self._settings.topic} has {count} partitions, from 0 to {count - 1}, and no partition "
                f"{partition}",
                where=self._settings.where,
                now="nothing was read",
                hint="leave --partition out to read all of them",
            )
        return list(range(count)) if partition is None else [partition]

    def _offsets(self, numbers: list[int], start: str | int) -> Mapping[int, int]:
        """The offset in each partition that `start` means now."""
        if start == BEGINNING:
            spec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
        elif start == END:
            spec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        else:
            # Negative numbers mean something else to Kafka.
            spec = OffsetSpec.for_timestamp(max(0, int(start)))
        admin = AdminClient(client_properties(self._settings, "tail"))
        places = {TopicPartition(self._settings.topic, number): spec for number in numbers}
        try:
            futures = admin.list_offsets(places, request_timeout=ADMIN_TIMEOUT_S)
            found = {place.partition: future.result().offset for place, future in futures.items()}
        except KafkaException as error:
            raise translate(error, self._settings, f"looking for offsets of topic {self._settings.topic}") from error
        if isinstance(start, int):
            # No message is that new: those to come are.
            late = [number for number, offset in found.items() if offset < 0]
            found |= self._offsets(late, END) if late else {}
        return found


def _passes(error: KafkaError) -> bool:
    """Whether the client itself goes on once the brokers are back."""
    return error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT)


def _as_message(message: Message) -> TopicMessage:
    kind, written = message.timestamp()
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return TopicMessage(
        topic, partition, offset, written if kind else None, _bytes(message.key()), _bytes(message.value())
    )


def _bytes(part: bytes | str | None) -> bytes | None:
    return part.encode() if isinstance(part, str) else part
