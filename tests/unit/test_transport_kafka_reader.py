"""Reading a topic to look into it, on the broker that the client brings along for tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from casscade.core.errors import ConfigurationError
from casscade.transport.kafka.client import KafkaSettings
from casscade.transport.kafka.reader import BEGINNING, END, TopicReader
from casscade.transport.kafka.topic import count_partitions

# As many as that broker gives a topic.
PARTITIONS = 4


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    """Its address; it makes a topic when somebody asks for one by its name, as brokers do by default."""
    keeper = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "replaced"})
    (broker,) = keeper.list_topics(timeout=10.0).brokers.values()
    yield f"{broker.host}:{broker.port}"
    keeper.flush(1.0)


@pytest.fixture
def settings(bootstrap: str, request: pytest.FixtureRequest) -> KafkaSettings:
    topic = request.node.name.partition("[")[0]
    return KafkaSettings((bootstrap,), topic, "group", partitions=PARTITIONS)


def produce(settings: KafkaSettings, numbers: range) -> None:
    """A message for each number, to the partition that is its rest."""
    producer = Producer({"bootstrap.servers": settings.where, "linger.ms": 0})
    for number in numbers:
        producer.produce(settings.topic, b"%d" % number, b"key", number % PARTITIONS)
    assert producer.flush(10.0) == 0


def read(settings: KafkaSettings, start: str, **options: Any) -> list[tuple[int, int]]:
    with closing(TopicReader(settings, settings.topic, start, follow=False, **options)) as reader:
        return sorted((message.partition, message.offset) for message in reader.read(threading.Event()))


def test_all_partitions_are_read_to_their_ends(settings: KafkaSettings) -> None:
    produce(settings, range(10))
    expected = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (3, 0), (3, 1)]
    assert read(settings, BEGINNING) == expected
    assert read(settings, BEGINNING, partition=1) == expected[3:6]
    assert read(settings, END) == []


def test_what_comes_later_is_followed(settings: KafkaSettings) -> None:
    produce(settings, range(5))
    stop = threading.Event()
    with closing(TopicReader(settings, settings.topic, END, follow=True)) as reader:
        messages = reader.read(stop)
        produce(settings, range(5, 6))
        found = next(messages)
        assert (found.partition, found.offset, found.key, found.value) == (1, 1, b"key", b"5")
        assert found.written_ms
        stop.set()
        assert list(messages) == []


def test_a_partition_that_is_not_there_is_refused(settings: KafkaSettings) -> None:
    produce(settings, range(1))
    with pytest.raises(ConfigurationError, match="from 0 to 3") as refused:
        TopicReader(settings, settings.topic, END, partition=PARTITIONS, follow=False)
    assert refused.value.code == "partition_unknown"


@pytest.mark.requirement("FR-043")
def test_looking_for_a_topic_does_not_make_it(settings: KafkaSettings) -> None:
    with pytest.raises(ConfigurationError, match="no topic") as refused:
        TopicReader(settings, settings.topic, END, follow=True)
    assert refused.value.code == "topic_unknown"
    assert count_partitions(settings) == 0
    assert count_partitions(replace(settings, topic="other")) == 0
    listed = AdminClient({"bootstrap.servers": settings.where}).list_topics(timeout=10.0).topics
    assert not {settings.topic, "other"} & listed.keys()
