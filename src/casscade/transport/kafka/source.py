"""The loader's side: messages of the assigned partitions become chunks, and the queue's fill decides what is fetched.

Invariant: a partition is read from the position that PostgreSQL holds for it, under the epoch that was taken when it
was assigned; offsets in Kafka are never committed, so that there is one truth.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from casscade.core.errors import BadDataError, ConfigurationError
from casscade.core.limits import KAFKA_CONSUMER_BYTES, KAFKA_MESSAGE_BYTES_MAX
from casscade.core.position import START, Position
from casscade.transport.chunk import Chunk
from casscade.transport.envelope import Envelope, open_envelope
from casscade.transport.kafka.client import ADMIN_TIMEOUT_S, KafkaSettings, client_properties, translate

# One call brings so many messages: enough to keep its price small, few enough to stay in the processor's cache.
MESSAGES_MAX: Final = 512
_POLL_S: Final = 0.05
_STATISTICS_S: Final = 1.0
# A loader that is stopped (SIGSTOP, a hanging disk) loses its partitions after this time.
SESSION_TIMEOUT_MS: Final = 10_000
# The version of a chunk that begins with a message that could not be opened.
_NO_ENCODING: Final = 0


class Owner(Protocol):
    """Who applies the partitions' mutations (the loader)."""

    def acquire(self, source: str) -> Position:
        """Take a partition over, from any earlier owner; returns the position to read from."""

    def release(self, sources: Sequence[str]) -> None:
        """Finish what was handed over of these partitions, or forget it; afterwards nothing of them is applied."""


class Queue(Protocol):
    """Where chunks wait (see `DirectTransport`)."""

    @property
    def queue_bytes(self) -> int: ...

    @property
    def bytes_queued(self) -> int: ...

    def put(self, chunk: Chunk, stop: threading.Event) -> bool: ...


class PartitionLag(NamedTuple):
    """Messages of a partition that were not applied yet, by the newest offset that the broker told."""

    source: str
    end: int
    applied: int

    @property
    def events(self) -> int:
        """How many."""
        return max(0, self.end - self.applied)


def source_name(topic: str, partition: int) -> str:
    """The name under which a partition's position is kept."""
    return f"{topic}/{partition}"


class KafkaSource:
    """Reads the topic as a member of the pipeline's group until `stop`; one thread calls `run`.

    `run` raises RetryableError when Kafka failed (a new source goes on from the committed positions) and
    ConfigurationError when it refuses for want of rights, or when messages were deleted before they were applied.
    """

    def __init__(self, settings: KafkaSettings, owner: Owner, queue: Queue, stop: threading.Event) -> None:
        self._settings = settings
        self._owner = owner
        self._queue = queue
        self._stop = stop
        self._positions: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._paused = False
        self._looked_at = 0.0
        self.beat = time.monotonic()
        properties = client_properties(settings, "load") | {
            "group.id": settings.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "fetch.message.max.bytes": KAFKA_MESSAGE_BYTES_MAX,
            "queued.max.messages.kbytes": KAFKA_CONSUMER_BYTES // 1024,
            "fetch.wait.max.ms": 100,
        }
        self._consumer = Consumer(properties)

    @property
    def assigned(self) -> int:
        """How many partitions this loader owns now."""
        return len(self._positions)

    @property
    def paused(self) -> bool:
        """Whether fetching pauses because the queue is full."""
        return self._paused

    def run(self) -> None:
        """Join the group and read until `stop` is set."""
        try:
            self._consumer.subscribe(
                [self._settings.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
            )
            while not self._stop.is_set():
                self.beat = time.monotonic()
                self._balance()
                self._take(self._consumer.consume(MESSAGES_MAX, _POLL_S))
                self._look()
        except KafkaException as error:
            raise translate(error, self._settings, "consuming") from error
        finally:
            self._consumer.close()

    def lag(self, applied: Callable[[str], Position]) -> list[PartitionLag]:
        """The lag of each assigned partition; `applied` tells the committed position of a source."""
        ends = dict(self._ends)
        topic = self._settings.topic
        return [
            PartitionLag(source_name(topic, partition), end, applied(source_name(topic, partition)).offset)
            for partition, end in sorted(ends.items())
        ]

    def rewind(self, partition: int, position: Position) -> None:
        """Read a partition again from `position`: what was handed over of it since was given up."""
        if partition in self._positions:
            self._consumer.seek(TopicPartition(self._settings.topic, partition, position.offset))
            self._positions[partition] = position.offset

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            position = self._owner.acquire(source_name(partition.topic, partition.partition))
            partition.offset = OFFSET_BEGINNING if position == START else position.offset
            self._positions[partition.partition] = position.offset
        consumer.incremental_assign(partitions)
        if self._paused:
            consumer.pause(partitions)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._owner.release([source_name(partition.topic, partition.partition) for partition in partitions])
        for partition in partitions:
            self._positions.pop(partition.partition, None)
            self._ends.pop(partition.partition, None)
        consumer.incremental_unassign(partitions)

    def _balance(self) -> None:
        """Stop fetching while the queue is full; go on when half of it is free."""
        queued = self._queue.bytes_queued
        if not self._paused and queued >= self._queue.queue_bytes:
            self._consumer.pause(self._consumer.assignment())
            self._paused = True
        elif self._paused and queued * 2 <= self._queue.queue_bytes:
            self._consumer.resume(self._consumer.assignment())
            self._paused = False

    def _take(self, messages: list[Message]) -> None:
        """Hand messages over as chunks: one for each run of a partition and encoding."""
        chunks: list[Chunk] = []
        last: dict[int, Chunk] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                self._raise(error, message)
                continue
            partition, offset, value = message.partition(), message.offset(), message.value() or b""
            assert partition is not None
            assert offset is not None
            try:
                envelope: Envelope | BadDataError = open_envelope(value)
            except BadDataError as refused:
                envelope = refused
            chunk = last.get(partition)
            encoding = _NO_ENCODING if isinstance(envelope, BadDataError) else envelope.encoding
            if chunk is None or encoding not in (chunk.version, _NO_ENCODING):
                captured_at = time.time() if isinstance(envelope, BadDataError) else envelope.captured_at / 1_000_000
                source = source_name(self._settings.topic, partition)
                chunk = last[partition] = Chunk(source, encoding, Position(0, offset), captured_at)
                chunks.append(chunk)
            if isinstance(envelope, BadDataError):
                chunk.refused.append((offset, value, envelope))
            else:
                chunk.mutations.append(envelope.mutation)
                chunk.offsets.append(offset)
            chunk.size += len(value)
            chunk.end = Position(0, offset + 1)
            self._positions[partition] = offset + 1
        for chunk in chunks:
            while not self._queue.put(chunk, self._stop):
                if self._stop.is_set():
                    return

    def _raise(self, error: KafkaError, message: Message) -> None:
        """An error in the place of a message: passing ones are only seen, the others end the source."""
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise ConfigurationError(
                "kafka_retention",
                f"partition {message.partition()} of topic {self._settings.topic} no longer holds the messages at the "
                "committed position: they were deleted before they were applied",
                where=self._settings.where,
                now="this loader stops, so that the gap is not passed in silence",
                hint="keep messages for longer (transport.retention_hours); casscade verify tells which rows differ",
            )
        if not error.retriable() or error.fatal():
            raise translate(error, self._settings, "consuming")

    def _look(self) -> None:
        """Note the ends of the partitions, as far as the last fetches told them."""
        now = time.monotonic()
        if now - self._looked_at < _STATISTICS_S:
            return
        self._looked_at = now
        for partition in list(self._positions):
            place = TopicPartition(self._settings.topic, partition)
            _, high = self._consumer.get_watermark_offsets(place, cached=True)
            if high >= 0:
                self._ends[partition] = high


def beginning_of(settings: KafkaSettings, partition: int) -> int:
    """The oldest offset that a partition still holds."""
    consumer = Consumer(client_properties(settings, "look") | {"group.id": settings.group})
    try:
        low: Any
        low, _ = consumer.get_watermark_offsets(TopicPartition(settings.topic, partition), timeout=ADMIN_TIMEOUT_S)
        return int(low)
    finally:
        consumer.close()
