"""The loader's side: messages of the assigned partitions become chunks, and the queue's fill decides what is fetched.

Invariant: a partition is read from the position that PostgreSQL holds for it, under the epoch that was taken when it
was assigned; offsets in Kafka are never committed, so that there is one truth.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from casscade.core import failpoints
from casscade.core.errors import CasscadeError, ConfigurationError
from casscade.core.position import START, Position
from casscade.transport.chunk import Chunk
from casscade.transport.kafka.chunks import Run, add_message
from casscade.transport.kafka.client import ADMIN_TIMEOUT_S, KafkaSettings, translate
from casscade.transport.kafka.gaps import AGAIN, BEFORE, Gaps, Place
from casscade.transport.kafka.membership import consumer_properties, quit_group
from casscade.transport.kafka.offsets import source_name
from casscade.transport.kafka.reach import Reach

# One call brings so many messages: enough to keep its price small, few enough to stay in the processor's cache.
MESSAGES_MAX: Final = 512
_POLL_S: Final = 0.05
_STATISTICS_S: Final = 1.0
# A member that was stopped hears from the group within a heartbeat or two (3 s each) that it is one no more.
SUSPENDED_S: Final = 8.0


class Owner(Protocol):
    """Who applies the partitions' mutations (the loader). All methods are called by the thread of `KafkaSource.run`."""

    def acquire(self, source: str) -> Position:
        """Take a partition over, from any earlier owner; returns the position to read from."""

    def drain(self, handed: Mapping[str, Position]) -> None:
        """Wait, for a bounded time, until what was handed over of these partitions is applied."""

    def release(self, sources: Sequence[str]) -> bool:
        """Give partitions up: nothing of them is applied afterwards.

        Returns whether anything that was handed over, of whichever partition, was given up with them: then all others
        have to be read again from their applied positions.
        """

    def interrupted(self) -> Sequence[str] | None:
        """Partitions that another owner took, after which nothing was applied any more; None if there were none."""

    def applied(self, source: str) -> Position:
        """The committed position of a partition that is owned."""


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


class KafkaSource:
    """Reads the topic as a member of the pipeline's group until `stop`; one thread calls `run`.

    `run` raises RetryableError when Kafka failed (a new source goes on from the committed positions) and
    ConfigurationError when it refuses for want of rights, or when messages were deleted before they were applied.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        owner: Owner,
        queue: Queue,
        stop: threading.Event,
        foreign: Sequence[str] = (),
        partitions: int = 0,
    ) -> None:
        """`partitions`: by how many the place of a key is reckoned, those of the settings if it is 0.

        `foreign` are topics of Debezium's, which may not exist yet; their messages are decoded by the loader.
        """
        self._settings = settings
        self._foreign = tuple(foreign)
        self._partitions = partitions or settings.partitions
        self._owner = owner
        self._queue = queue
        self._stop = stop
        self._positions: dict[Place, int] = {}
        self._ends: dict[Place, int] = {}
        self._suspended: dict[Place, float] = {}
        self._gaps = Gaps()
        self._leaving = threading.Event()
        self._paused = False
        self._looked_at = 0.0
        self.beat = time.monotonic()
        self.reach = Reach()
        self._consumer = Consumer(consumer_properties(settings) | self.reach.properties)

    @property
    def assigned(self) -> int:
        """How many partitions this loader owns now."""
        return len(self._positions)

    @property
    def paused(self) -> bool:
        """Whether fetching pauses because the queue is full."""
        return self._paused

    def run(self) -> None:
        """Join the group and read until `stop` is set or `leave` was called."""
        try:
            # A pattern finds topics that are created later; a name would be an error until then.
            patterns = [f"^{re.escape(topic)}$" for topic in self._foreign]
            self._consumer.subscribe(
                [self._settings.topic, *patterns], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
            )
            while not self._stop.is_set() and not self._leaving.is_set():
                self.beat = time.monotonic()
                self._resume_after_fence()
                self._balance()
                self._take(self._consumer.consume(MESSAGES_MAX, _POLL_S))
                self._look()
            if self._settings.instance and not self._stop.is_set():
                quit_group(self._consumer)
        except KafkaException as error:
            raise translate(error, self._settings, "consuming") from error
        finally:
            self._consumer.close()

    def leave(self) -> None:
        """End `run`: partitions are drained and given up, then the group is left. May be called by any thread."""
        self._leaving.set()

    def lag(self) -> list[PartitionLag]:
        """The lag of each assigned partition whose end is known."""
        ends = sorted(dict(self._ends).items())
        return [
            PartitionLag(self._name(number), end, self._owner.applied(self._name(number)).offset)
            for number, end in ends
        ]

    def _resume_after_fence(self) -> None:
        """Another loader took partitions that the group has not taken from us yet: go on with the rest.

        Most often the group follows within moments, because this process was stopped for too long. If it does not,
        they are ours again.
        """
        lost = self._owner.interrupted()
        if lost is not None:
            numbers = [number for number in self._positions if self._name(number) in lost]
            self._consumer.pause(self._places(numbers))
            for number in numbers:
                del self._positions[number]
                self._suspended[number] = time.monotonic() + SUSPENDED_S
            self._owner.release(lost)
            self._rewind()
        for number in [number for number, until in self._suspended.items() if time.monotonic() >= until]:
            del self._suspended[number]
            position = self._owner.acquire(self._name(number))
            self._consumer.seek(self._place(number, position))
            self._positions[number] = position.offset
            if not self._paused:
                self._consumer.resume(self._places([number]))

    def _rewind(self) -> None:
        """Read all partitions again from what is applied: what was handed over since was given up."""
        for number in self._positions:
            position = self._owner.applied(self._name(number))
            self._consumer.seek(self._place(number, position))
            self._positions[number] = position.offset

    def _name(self, place: Place) -> str:
        return source_name(*place)

    def _place(self, place: Place, position: Position) -> TopicPartition:
        """Topics of Debezium's are read from what is there; in ours, what is no longer there is a gap."""
        anywhere = position == START and place[0] != self._settings.topic
        return TopicPartition(*place, OFFSET_BEGINNING if anywhere else position.offset)

    def _places(self, places: Iterable[Place]) -> list[TopicPartition]:
        return [TopicPartition(*place) for place in places]

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        places: list[TopicPartition] = []
        for partition in partitions:
            number = (partition.topic, partition.partition)
            position = self._owner.acquire(self._name(number))
            places.append(self._place(number, position))
            self._positions[number] = position.offset
        consumer.incremental_assign(places)
        if self._paused:
            consumer.pause(places)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = [(partition.topic, partition.partition) for partition in partitions]
        held = [number for number in numbers if number in self._positions]
        self._owner.drain({self._name(number): Position(0, self._positions[number]) for number in held})
        self._leave(consumer, partitions, numbers)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """They have another owner by now: nothing can be finished."""
        self._leave(consumer, partitions, [(partition.topic, partition.partition) for partition in partitions])

    def _leave(self, consumer: Consumer, partitions: list[TopicPartition], numbers: list[Place]) -> None:
        for number in numbers:
            self._positions.pop(number, None)
            self._suspended.pop(number, None)
            self._ends.pop(number, None)
        given_up = self._owner.release([self._name(number) for number in numbers])
        consumer.incremental_unassign(partitions)
        if given_up:
            self._rewind()

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
        """Hand messages over as chunks: one for each commit-log segment that a partition's messages come from.

        Only the last chunk of a partition moves its position, past all of them.
        """
        runs: dict[Place, dict[Run, Chunk]] = {}
        starts: dict[Place, Position] = {}
        heads: dict[Place, dict[bytes, Chunk]] = {}
        again: set[Place] = set()
        for message in messages:
            error = message.error()
            if error is not None:
                self._raise(error, message)
                continue
            topic, number, offset = message.topic(), message.partition(), message.offset()
            assert topic is not None
            assert number is not None
            assert offset is not None
            partition = (topic, number)
            if partition not in self._positions or partition in again:
                continue  # given up since it was fetched, and read by its next owner; or read once more
            own = topic == self._settings.topic
            verdict = self._gaps.judge(partition, self._positions[partition], offset, own=own)
            if verdict == AGAIN:
                again.add(partition)
            if verdict in (AGAIN, BEFORE):
                continue
            chunks = runs.setdefault(partition, {})
            start = starts.setdefault(partition, Position(0, self._positions[partition]))
            known = heads.setdefault(partition, {})
            name = self._name(partition)
            add_message(chunks, message, name, start, own=own, partitions=self._partitions, heads=known)
            self._positions[partition] = offset + 1
        for partition in again:
            self._consumer.seek(self._place(partition, Position(0, self._positions[partition])))
        for partition, chunks in runs.items():
            *_, last = chunks.values()
            last.end = Position(0, self._positions[partition])
            for chunk in chunks.values():
                while not self._queue.put(chunk, self._stop):
                    if self._stop.is_set():
                        return
        if failpoints.ARMED and runs:
            failpoints.reach("messages_handed_over")

    def _raise(self, error: KafkaError, message: Message) -> None:
        """An error in the place of a message: passing ones are only seen, the others end the source."""
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise self._out_of_range(message)
        if not error.retriable() or error.fatal():
            raise translate(error, self._settings, "consuming")

    def _out_of_range(self, message: Message) -> CasscadeError:
        """The committed position is none that the partition holds: it lies before its beginning, or beyond its end."""
        place = (message.topic() or "", message.partition() or 0)
        position = self._positions.get(place, self._owner.applied(self._name(place)).offset)
        try:
            _, end = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=ADMIN_TIMEOUT_S)
        except KafkaException as error:
            return translate(error, self._settings, "looking for the end of a partition")
        if position > end:
            return ConfigurationError(
                "kafka_position",
                f"partition {place[1]} of topic {place[0]} ends at {end}, before the committed position {position}: "
                "the brokers lost messages, or it is another topic",
                where=self._settings.where,
                now="this loader stops, so that nothing is passed in silence",
                hint="name a new topic (transport.topic) for agents and loaders; casscade verify shows what differs",
            )
        return ConfigurationError(
            "kafka_retention",
            f"partition {place[1]} of topic {place[0]} no longer holds the messages at the committed position "
            f"{position}: they were deleted before they were applied",
            where=self._settings.where,
            now="this loader stops, so that the gap is not passed in silence",
            hint="keep messages for longer (transport.retention_hours); casscade verify tells which rows differ",
        )

    def _look(self) -> None:
        """Note the ends of the partitions, as far as the last fetches told them."""
        now = time.monotonic()
        if now - self._looked_at < _STATISTICS_S:
            return
        self._looked_at = now
        for partition in list(self._positions):
            place = TopicPartition(*partition)
            _, high = self._consumer.get_watermark_offsets(place, cached=True)
            if high >= 0:
                self._ends[partition] = high
