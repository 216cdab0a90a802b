"""`casscade tail` on a real broker: what it reads, where it begins and ends, and that it leaves nothing behind."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from casscade.cli.tail import tail
from casscade.core.errors import ConfigurationError
from casscade.core.position import Position
from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.places import free_port
from casscade.transport.envelope import seal
from casscade.transport.kafka.client import KafkaSettings
from casscade.transport.kafka.reader import BEGINNING, END, TopicReader
from casscade.transport.kafka.topic import ensure_topic
from tests.support.pipeline_process import PipelineProcess, configuration

pytestmark = [pytest.mark.servers]

PARTITIONS = 3


@pytest.fixture
def settings(kafka_broker: KafkaBroker) -> KafkaSettings:
    """A topic of its own that exists and is empty."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    settings = KafkaSettings((kafka_broker.bootstrap,), name, name, partitions=PARTITIONS, replication_factor=1)
    ensure_topic(settings)
    return settings


def produce(settings: KafkaSettings, numbers: range, milliseconds: int = 0) -> None:
    """A message for each number, to the partition that is its rest; written at that time, 0 for now."""
    producer = Producer({"bootstrap.servers": settings.where})
    for number in numbers:
        value = seal(8, bytes(16), Position(1, number), 0, b"m")
        producer.produce(settings.topic, value, b"k", number % PARTITIONS, timestamp=milliseconds)
    producer.flush(20.0)


def read(settings: KafkaSettings, start: str | int, **options: Any) -> list[tuple[int, int]]:
    """Partition and offset of all that is there now, in the order of each partition."""
    with closing(TopicReader(settings, settings.topic, start, follow=False, **options)) as reader:
        return sorted((message.partition, message.offset) for message in reader.read(threading.Event()))


def test_all_is_read_up_to_what_is_there(settings: KafkaSettings) -> None:
    assert read(settings, BEGINNING) == []
    produce(settings, range(1000))
    expected = [(number, offset) for number in range(PARTITIONS) for offset in range((1002 - number) // PARTITIONS)]
    assert read(settings, BEGINNING) == expected
    assert read(settings, END) == []
    assert read(settings, BEGINNING, partition=2) == [place for place in expected if place[0] == 2]


def test_a_time_is_where_it_begins(settings: KafkaSettings) -> None:
    now = int(time.time() * 1000)
    produce(settings, range(6), now - 60_000)
    produce(settings, range(3), now - 1_000)
    assert read(settings, now - 30_000) == [(0, 2), (1, 2), (2, 2)]
    assert len(read(settings, 1)) == 9
    assert read(settings, now + 3_600_000) == []


def test_it_follows_from_the_end(settings: KafkaSettings) -> None:
    produce(settings, range(10))
    stop = threading.Event()
    with closing(TopicReader(settings, settings.topic, END, follow=True)) as reader:
        messages: Iterator[Any] = reader.read(stop)
        produce(settings, range(2))
        found = {(message.partition, message.offset) for message in islice(messages, 2)}
        assert found == {(0, 4), (1, 3)}
        stop.set()
        assert list(messages) == []


def test_messages_of_a_transaction_end_where_they_end(settings: KafkaSettings) -> None:
    producer = Producer({"bootstrap.servers": settings.where, "transactional.id": settings.topic})
    producer.init_transactions(20.0)
    producer.begin_transaction()
    producer.produce(settings.topic, b"x", b"k", 0)
    producer.commit_transaction(20.0)
    assert read(settings, BEGINNING) == [(0, 0)], "the mark of the commit lies behind it and is no message"


@pytest.mark.parametrize(
    ("topic", "partition", "code"), [("none", None, "topic_unknown"), ("", PARTITIONS, "partition_unknown")]
)
def test_what_is_not_there_is_refused(settings: KafkaSettings, topic: str, partition: int | None, code: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        TopicReader(settings, topic or settings.topic, END, partition=partition, follow=False)
    assert refused.value.code == code
    admin = AdminClient({"bootstrap.servers": settings.where})
    assert "none" not in admin.list_topics(timeout=20.0).topics


def call(tmp_path: Path, document: dict[str, Any], *arguments: str) -> Result:
    file = tmp_path / "tail.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return CliRunner().invoke(tail, ["-c", str(file), "--no-follow", *arguments])


@pytest.mark.requirement("FR-043")
def test_a_pipeline_is_seen_and_not_disturbed(
    cassandra_node: CassandraNode,
    cassandra_session: Any,
    kafka_broker: KafkaBroker,
    keyspace: str,
    database: str,
    tmp_path: Path,
) -> None:
    cassandra_session.execute(f"CREATE TABLE {keyspace}.t (p text, c int, v text, PRIMARY KEY (p, c)) WITH cdc = true")
    document = configuration(cassandra_node, database, tmp_path / "state", [{"source": f"{keyspace}.*"}])
    document["name"] = name = f"k{uuid.uuid4().hex[:10]}"
    transport = {"kind": "kafka", "bootstrap_servers": [kafka_broker.bootstrap], "partitions": PARTITIONS}
    document["transport"] = transport | {"replication_factor": 1}
    cassandra_session.execute(f"INSERT INTO {keyspace}.t (p, c, v) VALUES ('hidden', 1, 'secret') USING TTL 500")
    agent = PipelineProcess(tmp_path / "agent", document, "capture")
    try:
        agent.start()
        agent.wait_ready(40.0)
        cassandra_session.execute(f"DELETE FROM {keyspace}.t WHERE p = 'hidden' AND c > 3")
        deadline = time.monotonic() + 30.0
        # The log of the shared node also has mutations of tables that other tests dropped.
        while (result := call(tmp_path, document)).stdout.count(f'"{keyspace}.t"') < 2:
            assert time.monotonic() < deadline, result.stdout + result.stderr + agent.tail()
    finally:
        agent.kill()
    assert (result.exit_code, result.stderr) == (0, "")
    assert not re.search("hidden|secret", result.stdout)
    first, second = (json.loads(line) for line in result.stdout.splitlines() if f'"{keyspace}.t"' in line)
    assert first["kind"] == "stream"
    assert first["key"] == second["key"]
    (written,) = first["updates"][0]["operations"]
    assert (first["updates"][0]["table"], written["kind"]) == (f"{keyspace}.t", "upsert")
    assert (written["columns"]["v"]["ttl"], written["columns"]["v"]["bytes"]) == (500, 6)
    assert second["updates"][0]["operations"][0]["kind"] == "range_delete"
    shown = call(tmp_path, document, "--values").stdout.splitlines()
    open_ = next(json.loads(line) for line in shown if f'"{keyspace}.t"' in line)
    assert open_["updates"][0]["partition_key"] == {"p": "hidden"}
    assert open_["updates"][0]["operations"][0]["columns"]["v"]["value"] == "secret"
    unreachable = document | {"cassandra": document["cassandra"] | {"port": free_port()}}
    closed = call(tmp_path, unreachable)
    assert "only envelopes are shown" in closed.stderr
    assert "updates" not in json.loads(closed.stdout.splitlines()[0])
    require_nothing_left(kafka_broker, name)


def require_nothing_left(broker: KafkaBroker, name: str) -> None:
    """No group of the pipeline's exists, and none has a committed offset."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    groups = admin.list_consumer_groups(request_timeout=20.0).result().valid
    assert not [group.group_id for group in groups if name in group.group_id]
    for group in (f"casscade.{name}", f"casscade.{name}.tail"):
        consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group})
        with closing(consumer):
            places = [TopicPartition(f"{name}.mutations", number) for number in range(PARTITIONS)]
            assert all(place.offset < 0 for place in consumer.committed(places, timeout=20.0))
