"""What the source does with messages that are not the next ones, whatever the client was asked to forget."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from casscade.core.position import START, Position
from casscade.transport.chunk import Chunk
from casscade.transport.direct import DirectTransport
from casscade.transport.envelope import seal
from casscade.transport.kafka import source as module
from casscade.transport.kafka.client import KafkaSettings
from casscade.transport.kafka.source import KafkaSource

TOPIC = "own"
FOREIGN = "cdc.shop.orders"
HOST = bytes(range(16))


class StoredMessage:
    """A message of partition 0 whose mutation tells its offset."""

    def __init__(self, offset: int, topic: str = TOPIC) -> None:
        self._offset, self._topic = offset, topic

    def error(self) -> None:
        return None

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return b"k"

    def headers(self) -> None:
        return None

    def value(self) -> bytes:
        return seal(8, HOST, Position(7, self._offset), 0, b"%d" % self._offset)

    def timestamp(self) -> tuple[int, int]:
        return 1, 0


Step = Callable[["FakeConsumer"], Sequence[StoredMessage]]


class FakeConsumer:
    """Answers each `consume` by the next step of a script, and remembers what it was asked for."""

    def __init__(self, script: Sequence[Step], topic: str, done: threading.Event) -> None:
        self.sought: list[tuple[str, int]] = []
        self._script = list(script)
        self._topic = topic
        self._done = done

    def subscribe(self, _topics: list[str], **callbacks: Any) -> None:
        self.callbacks = callbacks

    def rebalance(self, what: str) -> list[StoredMessage]:
        """`on_assign`, `on_revoke` or `on_lost` of partition 0."""
        self.callbacks[what](self, [TopicPartition(self._topic, 0)])
        return []

    def consume(self, _count: int, _timeout_s: float) -> Sequence[StoredMessage]:
        if not self._script:
            self._done.set()
            return []
        return self._script.pop(0)(self)

    def incremental_assign(self, _places: list[TopicPartition]) -> None: ...

    def incremental_unassign(self, _places: list[TopicPartition]) -> None: ...

    def seek(self, place: TopicPartition) -> None:
        self.sought.append((place.topic, place.offset))

    def get_watermark_offsets(self, _place: TopicPartition, *, cached: bool) -> tuple[int, int]:
        assert cached
        return 0, -1

    def close(self) -> None: ...


class Owner:
    """Everything is applied up to `position`."""

    def __init__(self, position: Position) -> None:
        self.position = position

    def acquire(self, _source: str) -> Position:
        return self.position

    def drain(self, _handed: Mapping[str, Position]) -> None: ...

    def release(self, _sources: Sequence[str]) -> bool:
        return False

    def interrupted(self) -> Sequence[str] | None:
        return None

    def applied(self, _source: str) -> Position:
        return self.position


def messages(*offsets: int, topic: str = TOPIC) -> Step:
    return lambda _: [StoredMessage(offset, topic) for offset in offsets]


def assigned(consumer: FakeConsumer) -> list[StoredMessage]:
    return consumer.rebalance("on_assign")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[int], Position, FakeConsumer]]:
    """Run a source through a script: the offsets that were handed over, the last position, and the consumer."""

    def run(*script: Step, position: int, topic: str = TOPIC) -> tuple[list[int], Position, FakeConsumer]:
        stop = threading.Event()
        consumer = FakeConsumer(script, topic, stop)
        monkeypatch.setattr(module, "Consumer", lambda _: consumer)
        queue = DirectTransport(1 << 20)
        foreign = [] if topic == TOPIC else [topic]
        KafkaSource(KafkaSettings(("b",), TOPIC, "g"), Owner(Position(0, position)), queue, stop, foreign).run()
        chunks: list[Chunk] = []
        while (chunk := queue.get(0.0)) is not None:
            chunks.append(chunk)
        return [offset for chunk in chunks for offset in chunk.offsets], chunks[-1].end if chunks else START, consumer

    return run


@pytest.mark.requirement("FR-003")
class TestOwnTopic:
    def test_the_next_messages_are_handed_over(self, read: Any) -> None:
        handed, end, consumer = read(assigned, messages(5, 6), messages(7), position=5)
        assert (handed, end, consumer.sought) == ([5, 6, 7], Position(0, 8), [])

    def test_messages_fetched_before_a_seek_forward_are_left_out(self, read: Any) -> None:
        handed, end, consumer = read(assigned, messages(3, 4, 5), messages(4, 6), position=5)
        assert (handed, end, consumer.sought) == ([5, 6], Position(0, 7), [])

    def test_messages_fetched_before_a_seek_backwards_skip_nothing(self, read: Any) -> None:
        handed, end, consumer = read(assigned, messages(90, 91), messages(5, 6), position=5)
        assert (handed, end) == ([5, 6], Position(0, 7))
        assert consumer.sought == [(TOPIC, 5)]

    def test_a_gap_in_the_topic_itself_is_passed(self, read: Any) -> None:
        handed, end, consumer = read(assigned, messages(5, 8, 9), messages(8, 9), position=5)
        assert (handed, end) == ([5, 8, 9], Position(0, 10))
        assert consumer.sought == [(TOPIC, 6)]

    def test_a_beginning_that_is_gone_is_asked_for_once_more(self, read: Any) -> None:
        """A broker that holds it no more then answers with an error, which ends the source."""
        handed, end, consumer = read(assigned, messages(40), messages(40, 41), position=0)
        assert (handed, end) == ([40, 41], Position(0, 42))
        assert consumer.sought == [(TOPIC, 0)]

    def test_a_partition_that_comes_back_within_one_call_is_read_from_its_position(self, read: Any) -> None:
        def back(consumer: FakeConsumer) -> list[StoredMessage]:
            consumer.rebalance("on_lost")
            consumer.rebalance("on_assign")
            return [StoredMessage(7), StoredMessage(8)]

        handed, end, _ = read(assigned, messages(5, 6), back, messages(5, 6, 7), position=5)
        assert handed == [5, 6, 5, 6, 7]
        assert end == Position(0, 8)


def test_gaps_in_topics_of_others_are_their_own(read: Any) -> None:
    """Kafka Connect may write in transactions, whose ends take offsets."""
    handed, end, consumer = read(assigned, messages(5, 8, topic=FOREIGN), position=5, topic=FOREIGN)
    assert (handed, end, consumer.sought) == ([5, 8], Position(0, 9), [])
