"""With `rules: {apply: capture}` no message of the topic holds what rules hide, whether agent or loader sends it."""

from __future__ import annotations

import uuid
from contextlib import ExitStack, closing
from copy import deepcopy
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.places import free_port
from tests.support.pipeline_process import PipelineProcess, configuration

pytestmark = [pytest.mark.servers]

MARKER = "Xq7Marker"
PARTITIONS = 2


def messages(bootstrap: str, topic: str) -> list[bytes]:
    """Keys and values of all messages of a topic."""
    settings = {"bootstrap.servers": bootstrap, "group.id": f"look-{uuid.uuid4()}", "enable.auto.commit": False}
    found: list[bytes] = []
    with closing(Consumer(settings)) as consumer:
        for number in range(PARTITIONS):
            place = TopicPartition(topic, number, 0)
            _, end = consumer.get_watermark_offsets(place, timeout=10)
            consumer.assign([place])
            read = 0
            while read < end:
                message = consumer.poll(10)
                assert message is not None, f"{read} of {end} messages came"
                assert message.error() is None
                found += [bytes(message.key() or b""), bytes(message.value() or b"")]
                read = (message.offset() or 0) + 1
    return found


@pytest.mark.requirement("FR-013")
@pytest.mark.requirement("FR-030")
def test_nothing_hidden_gets_into_kafka(
    kafka_broker: KafkaBroker, cassandra_node: CassandraNode, cassandra_session: Any, keyspace: str, database: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    session = cassandra_session
    session.execute(
        f"CREATE TABLE {keyspace}.people "
        "(id text PRIMARY KEY, email text, age int, phone text, note text) WITH cdc = true"
    )
    insert = session.prepare(f"INSERT INTO {keyspace}.people (id, email, age, phone, note) VALUES (?, ?, ?, ?, ?)")
    session.execute(insert, (f"{MARKER} 1", MARKER, 7, MARKER, "before"))
    entry = {
        "source": f"{keyspace}.people",
        "transforms": [
            {"hash": {"columns": ["id"]}},
            {"mask": {"columns": ["email", "age"], "with": "hmac-sha256"}},
            {"null": {"columns": ["phone"]}},
        ],
    }
    document = configuration(cassandra_node, database, tmp_path / "state", [entry])
    document["name"] = f"k{uuid.uuid4().hex[:10]}"
    document["rules"] = {"apply": "capture", "key": "0123456789abcdef"}
    document["transport"] = {
        "kind": "kafka",
        "bootstrap_servers": [kafka_broker.bootstrap],
        "partitions": PARTITIONS,
        "replication_factor": 1,
    }
    with ExitStack() as stack:

        def start(command: str) -> PipelineProcess:
            own = deepcopy(document) | {"http": {"listen": f"127.0.0.1:{free_port()}"}}
            process = PipelineProcess(tmp_path / command, own, command)
            stack.callback(process.kill)
            process.start()
            return process

        agent, loader = start("capture"), start("load")
        for process in (agent, loader):
            process.wait_ready(40.0)
        session.execute(insert, (f"{MARKER} 2", MARKER, 7, MARKER, "after"))
        session.execute(f"UPDATE {keyspace}.people SET email = '{MARKER} x' WHERE id = '{MARKER} 1'")
        session.execute(f"DELETE FROM {keyspace}.people WHERE id = '{MARKER} 3'")
        with psycopg.connect(database, autocommit=True) as connection:

            def shown() -> bool:
                query = f"SELECT note, length(email), age, phone FROM {keyspace}.people ORDER BY note"
                rows = connection.execute(query).fetchall()
                hashed = len({row[2] for row in rows}) == 1
                return hashed and [(note, size, phone) for note, size, _, phone in rows] == [
                    ("after", 64, None),
                    ("before", 64, None),
                ]

            loader.wait(shown, "both rows", 30.0)
            emails = f"SELECT count(DISTINCT email) FROM {keyspace}.people"
            loader.wait(lambda: connection.execute(emails).fetchone() == (2,), "the update", 20.0)
        found = messages(kafka_broker.bootstrap, f"{document['name']}.mutations")
        assert any(b"before" in part for part in found), "the snapshot's row is there"
        assert any(b"after" in part for part in found)
        assert not [part for part in found if MARKER.encode() in part]
        assert MARKER not in agent.text() + loader.text()
        assert loader.status()["dead_letters"] == {}
