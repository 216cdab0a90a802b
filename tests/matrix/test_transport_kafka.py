"""The Kafka transport against a real broker: topics, acknowledgements, outages."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined] # re-exported without saying so

from casscade.core.errors import ConfigurationError
from casscade.core.position import START, Position
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.places import free_port
from casscade.transport.chunk import Chunk
from casscade.transport.envelope import open_envelope
from casscade.transport.kafka.chunks import place_of
from casscade.transport.kafka.client import KafkaSettings
from casscade.transport.kafka.outlet import KafkaOutlet
from casscade.transport.kafka.topic import ensure_topic

pytestmark = pytest.mark.servers
HOST = str(uuid.UUID(int=7))
PARTITIONS = 4
WAIT_S = 30.0


def mutation(key: bytes, rest: bytes) -> bytes:
    """As much of a serialized mutation as the transport looks at: one update, a table id, the partition key."""
    return b"\x01" + bytes(range(16)) + bytes((len(key),)) + key + rest


def chunk(numbers: range, segment: int = 1) -> Chunk:
    """A chunk whose mutations have their number as key and as offset."""
    mutations = [mutation(b"key %d" % (number % 10), b"value %d" % number) for number in numbers]
    return Chunk(HOST, 7, Position(segment, numbers.stop), 1.5, mutations, list(numbers), 0)


@pytest.fixture
def settings(kafka_broker: KafkaBroker) -> KafkaSettings:
    """A topic name of its own on the shared broker."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    return KafkaSettings((kafka_broker.bootstrap,), name, name, partitions=PARTITIONS, replication_factor=1)


@pytest.fixture
def making_broker(tmp_path: Path) -> Iterator[KafkaBroker]:
    """A broker as Kafka's own defaults have it: a topic that somebody asks for is there."""
    broker = KafkaBroker(
        tmp_path / "kafka",
        port=free_port(),
        controller_port=free_port(),
        settings={"auto.create.topics.enable": "true", "num.partitions": "1"},
    )
    broker.start(owner=os.getpid())
    broker.wait_ready()
    yield broker
    broker.kill()


def read_all(settings: KafkaSettings, count: int) -> list[tuple[int, bytes, bytes]]:
    """Partition, key and value of `count` messages, in the order of each partition."""
    consumer = Consumer({"bootstrap.servers": settings.where, "group.id": "test", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(settings.topic, partition, 0) for partition in range(PARTITIONS)])
    found: list[tuple[int, bytes, bytes]] = []
    with closing(consumer):
        while len(found) < count:
            for message in consumer.consume(100, 10.0):
                assert message.error() is None
                found.append((message.partition() or 0, message.key() or b"", message.value() or b""))
    return found


def drain(outlet: KafkaOutlet, position: Position) -> None:
    """Poll until `position` is acknowledged."""
    while outlet.acknowledged(HOST) < position:
        outlet.poll(0.1)


def poll_until(outlet: KafkaOutlet, condition: Callable[[], bool]) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        outlet.poll(0.1)
        assert time.monotonic() < deadline


def create(settings: KafkaSettings, config: dict[str, str], partitions: int = PARTITIONS) -> None:
    """The topic by hand, with other settings than Casscade's own."""
    admin = AdminClient({"bootstrap.servers": settings.where})
    admin.create_topics([NewTopic(settings.topic, partitions, 1, config=config)])[settings.topic].result()


class TestTopic:
    @pytest.mark.requirement("FR-043")
    def test_is_created_and_found_again(self, settings: KafkaSettings) -> None:
        made = ensure_topic(settings)
        assert made[:2] == (PARTITIONS, 1)
        assert made.id
        assert ensure_topic(settings, made.id) == made

    @pytest.mark.parametrize(
        ("config", "code"),
        [
            ({"cleanup.policy": "compact"}, "topic_compacted"),
            ({"cleanup.policy": "compact,delete"}, "topic_compacted"),
            ({}, "topic_message_bytes"),
            ({"max.message.bytes": "20000000", "retention.ms": "3600000"}, "topic_retention"),
            ({"max.message.bytes": "20000000", "retention.bytes": "1000000"}, "topic_retention_bytes"),
            ({"max.message.bytes": "20000000", "min.insync.replicas": "2"}, "topic_in_sync"),
        ],
    )
    def test_that_would_lose_mutations_is_refused(
        self, settings: KafkaSettings, config: dict[str, str], code: str
    ) -> None:
        create(settings, config)
        with pytest.raises(ConfigurationError, match=settings.topic) as refused:
            ensure_topic(settings)
        assert refused.value.code == code
        assert refused.value.hint

    def test_with_too_few_partitions_is_refused(self, settings: KafkaSettings) -> None:
        create(settings, {}, partitions=2)
        with pytest.raises(ConfigurationError, match="has 2 partitions") as refused:
            ensure_topic(settings)
        assert refused.value.code == "topic_partitions"

    def test_more_copies_than_brokers_are_refused(self, settings: KafkaSettings) -> None:
        three = KafkaSettings(settings.bootstrap_servers, settings.topic, settings.group, replication_factor=3)
        with pytest.raises(ConfigurationError, match="INVALID_REPLICATION_FACTOR") as refused:
            ensure_topic(three)
        assert "replication_factor" in refused.value.hint

    def test_is_not_made_by_brokers_that_make_what_is_looked_for(self, making_broker: KafkaBroker) -> None:
        settings = KafkaSettings((making_broker.bootstrap,), "made", "made", PARTITIONS, 1)
        assert ensure_topic(settings).partitions == PARTITIONS


class TestOutlet:
    @pytest.mark.requirement("FR-004")
    def test_order_is_kept_for_each_partition_key(self, settings: KafkaSettings) -> None:
        ensure_topic(settings)
        outlet = KafkaOutlet(settings)
        for first in range(0, 1000, 100):
            assert outlet.put(chunk(range(first, first + 100)), threading.Event())
        drain(outlet, Position(1, 1000))
        outlet.close(5.0)
        homes: dict[bytes, set[int]] = {}
        offsets: dict[bytes, list[int]] = {}
        for partition, key, value in read_all(settings, 1000):
            assert partition == place_of(key, PARTITIONS)
            opened = open_envelope(value)
            homes.setdefault(key, set()).add(partition)
            offsets.setdefault(key, []).append(opened.position.offset)
            assert opened.event_id == f"{HOST}:1:{opened.position.offset}"
            assert opened.mutation == mutation(key, b"value %d" % opened.position.offset)
            assert (opened.encoding, opened.captured_at) == (7, 1_500_000)
        assert all(len(partitions) == 1 for partitions in homes.values())
        assert len({*map(frozenset, homes.values())}) > 1
        assert all(found == sorted(found) and len(found) == 100 for found in offsets.values())

    def test_the_position_waits_for_the_oldest_message(self, settings: KafkaSettings) -> None:
        ensure_topic(settings)
        outlet = KafkaOutlet(settings)
        assert outlet.put(chunk(range(10)), threading.Event())
        assert outlet.acknowledged(HOST) == START
        done: list[str] = []
        empty = Chunk(HOST, 7, Position(2, 0), 1.0)
        assert outlet.put(empty, threading.Event(), lambda: done.append("empty"))
        drain(outlet, Position(2, 0))
        assert done == ["empty"]
        outlet.close(5.0)

    def test_a_mutation_of_16_mib_fits(self, settings: KafkaSettings) -> None:
        ensure_topic(settings)
        outlet = KafkaOutlet(settings)
        large = mutation(b"k", bytes(16 << 20))
        assert outlet.put(Chunk(HOST, 7, Position(1, 9), 1.0, [large], [9]), threading.Event())
        drain(outlet, Position(1, 9))
        outlet.close(5.0)


class TestOutage:
    @pytest.mark.requirement("FR-019")
    @pytest.mark.requirement("FR-024")
    def test_a_broker_that_is_away_is_waited_for(self, own_broker: KafkaBroker) -> None:
        settings = KafkaSettings((own_broker.bootstrap,), "away", "away", PARTITIONS, 1)
        ensure_topic(settings)
        outlet = KafkaOutlet(settings)
        assert outlet.put(chunk(range(100)), threading.Event())
        drain(outlet, Position(1, 100))
        own_broker.kill()
        assert outlet.put(chunk(range(100, 200)), threading.Event())
        outlet.poll(0.5)
        assert outlet.acknowledged(HOST) == Position(1, 100)
        assert outlet.messages_waiting == 100
        own_broker.start()
        own_broker.wait_ready()
        drain(outlet, Position(1, 200))
        outlet.close(5.0)
        found = [open_envelope(value).position.offset for _, _, value in read_all(settings, 200)]
        assert sorted(found) == list(range(200))

    @pytest.mark.requirement("FR-028")
    def test_an_outage_shows_as_long_as_it_lasts_although_nothing_is_sent(self, own_broker: KafkaBroker) -> None:
        settings = KafkaSettings((own_broker.bootstrap,), "idle", "idle", PARTITIONS, 1)
        ensure_topic(settings)
        outlet = KafkaOutlet(settings)
        assert outlet.put(chunk(range(10)), threading.Event())
        drain(outlet, Position(1, 10))
        assert outlet.down_seconds == 0.0
        own_broker.kill()
        poll_until(outlet, lambda: outlet.down_seconds > 0.0)
        assert outlet.put(Chunk(HOST, 7, Position(1, 20), 1.0), threading.Event())
        drain(outlet, Position(1, 20))
        assert outlet.down_seconds > 0.0
        own_broker.start()
        own_broker.wait_ready()
        poll_until(outlet, lambda: outlet.down_seconds == 0.0)
        outlet.close(5.0)
