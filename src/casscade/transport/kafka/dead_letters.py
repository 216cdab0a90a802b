"""The topic of dead letters: messages that wait for PostgreSQL, and their way back to the pipeline's topic.

Invariant: a message lies here as it came, key and value, with Kafka Connect's headers around it; what is kept is kept
by all in-sync replicas before anybody is told so, and what goes back is there before its place here is forgotten.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from casscade.core.errors import CasscadeError
from casscade.core.limits import KAFKA_CONSUMER_BYTES, KAFKA_MESSAGE_BYTES_MAX, KAFKA_PRODUCER_BYTES
from casscade.transport.chunk import Chunk, ReplayProgress
from casscade.transport.envelope import seal_notice, sealer
from casscade.transport.kafka.chunks import LETTER_HEADER, headers_of, host_of
from casscade.transport.kafka.client import ADMIN_TIMEOUT_S, KafkaSettings, client_properties, translate
from casscade.transport.kafka.keys import key_of

CONNECT_PREFIX: Final = "__connect.errors."
CAUSE_HEADER: Final = "casscade.cause"
OUTAGE: Final = b"outage"
# One round of copying: some thousand small messages, and the time of one request when there is none.
MESSAGES_MAX: Final = 500
_POLL_S: Final = 0.2
_WAIT_S: Final = 0.05
# Whoever waits for it shows no sign of life meanwhile; a batch is acknowledged within a second.
KEEP_S: Final = 20.0

Header = tuple[str, bytes]


def topic_settings(settings: KafkaSettings, topic: str) -> KafkaSettings:
    """The settings of the topic of dead letters: all is as in the pipeline's own, but the name."""
    return replace(settings, topic=topic)


def connect_headers(settings: KafkaSettings, source: str, offset: int, code: str, task: str) -> list[Header]:
    """Kafka Connect's headers of a failed record, with the cause; `source` is topic/partition."""
    topic, _, partition = source.rpartition("/")
    fields = {
        "topic": topic,
        "partition": partition,
        "offset": str(offset),
        "connector.name": settings.group,
        "task.id": task,
        "stage": "TASK_PUT",
        "class.name": "casscade.load",
        "exception.class.name": "casscade.RetriesExhausted",
        "exception.message": f"PostgreSQL failed with {code} until the time for retries was over",
        "exception.stacktrace": "",
    }
    headers = [(CONNECT_PREFIX + name, value.encode()) for name, value in fields.items()]
    return [*headers, (CAUSE_HEADER, OUTAGE)]


class LetterProducer:
    """Produces to `settings.topic` and waits for the acknowledgements; one thread calls it."""

    def __init__(self, settings: KafkaSettings, role: str) -> None:
        self._settings = settings
        self._failed: KafkaError | None = None
        self._deadline = math.inf
        self._producer = Producer(
            client_properties(settings, role)
            | {
                "enable.idempotence": True,
                "acks": "all",
                "compression.type": settings.compression,
                "message.timeout.ms": 0,
                "queue.buffering.max.kbytes": KAFKA_PRODUCER_BYTES // 1024,
                "partitioner": "consistent",
            }
        )

    def keep(self, chunks: Iterable[Chunk], code: str, task: str, stop: threading.Event) -> bool:
        """Hold the messages of chunks in the topic of dead letters; False when `stop` was set before all were held.

        Raises RetryableError, also when the brokers don't acknowledge all of it within `KEEP_S`.
        """
        self._deadline = time.monotonic() + KEEP_S
        for chunk in chunks:
            first, second = sealer(chunk.version, host_of(chunk), chunk.segment, round(chunk.captured_at * 1_000_000))
            own = chunk.own_progress
            letter = [(LETTER_HEADER, str(own.ids[0]).encode())] if isinstance(own, ReplayProgress) else []
            for offset, place, mutation in zip(chunk.offsets, chunk.places, chunk.mutations, strict=True):
                value = b"".join((first, offset.to_bytes(4, "big"), second, mutation))
                headers = connect_headers(self._settings, chunk.source, place, code, task)
                if not self.send(key_of(mutation), value, [*headers, *letter], stop):
                    return False
            for notice in chunk.notices:
                value = seal_notice(notice, host_of(chunk), round(chunk.captured_at * 1_000_000))
                headers = connect_headers(self._settings, chunk.source, chunk.end.offset, code, task)
                if not self.send(host_of(chunk), value, headers, stop):
                    return False
            for event, value, _ in chunk.refused:
                place = int(event.rpartition(":")[2])
                headers = connect_headers(self._settings, chunk.source, place, code, task)
                if not self.send(b"", value, headers, stop):
                    return False
        return self.flush(stop)

    def send(self, key: bytes, value: bytes, headers: list[Header], stop: threading.Event) -> bool:
        """Queue one message; False when `stop` was set while the queue was full. Raises RetryableError."""
        while not stop.is_set():
            try:
                self._producer.produce(
                    self._settings.topic, value, key, on_delivery=self._delivered, headers=list(headers)
                )
            except BufferError:
                self._producer.poll(_WAIT_S)
                self._check()
                continue
            except KafkaException as error:
                raise translate(error, self._settings, "producing") from error
            return True
        return False

    def flush(self, stop: threading.Event) -> bool:
        """Wait until everything is acknowledged; False when `stop` was set before. Raises RetryableError."""
        while len(self._producer):
            if stop.is_set():
                return False
            self._producer.poll(_WAIT_S)
            self._check()
        self._check()
        return True

    def close(self) -> None:
        """Give up what is under way."""
        self._producer.purge()
        self._producer.flush(1.0)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None and self._failed is None:
            self._failed = error

    def _check(self) -> None:
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise translate(failed, self._settings, "producing")
        if time.monotonic() > self._deadline:
            self._deadline = math.inf
            raise translate(KafkaError(KafkaError._TIMED_OUT), self._settings, "producing")


class LetterReader:
    """Reads the topic of dead letters from given offsets, in no group; one thread calls it."""

    def __init__(self, settings: KafkaSettings, start: Mapping[int, int]) -> None:
        """`start` has the next offset of each partition that was read before."""
        self._settings = settings
        self._consumer = Consumer(
            client_properties(settings, "resubmit")
            | {
                "group.id": settings.group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "fetch.message.max.bytes": KAFKA_MESSAGE_BYTES_MAX,
                "queued.max.messages.kbytes": KAFKA_CONSUMER_BYTES // 1024,
            }
        )
        try:
            topic = self._consumer.list_topics(settings.topic, timeout=ADMIN_TIMEOUT_S).topics[settings.topic]
            self._consumer.assign(
                [
                    TopicPartition(settings.topic, partition, start.get(partition, OFFSET_BEGINNING))
                    for partition in topic.partitions
                ]
            )
        except KafkaException as error:
            self._consumer.close()
            raise translate(error, settings, "reading dead letters") from error

    def read(self) -> list[Message]:
        """The next messages, none when there are none just now. Raises RetryableError, ConfigurationError."""
        messages: list[Message] = []
        for message in self._consumer.consume(MESSAGES_MAX, _POLL_S):
            error = message.error()
            if error is None:
                messages.append(message)
            elif not error.retriable() or error.fatal():
                raise self._translated(error)
        return messages

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()

    def _translated(self, error: KafkaError) -> CasscadeError:
        return translate(error, self._settings, "reading dead letters")


def waits_for_postgres(message: Message) -> bool:
    """Whether a message lies in the topic only because PostgreSQL was away."""
    return (CAUSE_HEADER, OUTAGE) in headers_of(message)


def letter_header(message: Message) -> list[Header]:
    """The header that tells which dead letter a message is a replay of, if it is one."""
    return [(name, value) for name, value in headers_of(message) if name == LETTER_HEADER]
