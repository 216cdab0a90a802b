"""The topic of dead letters on a real broker: what it holds, and how messages come back when PostgreSQL does."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, Message, TopicPartition
from psycopg import sql

from casscade.cli.main import main
from casscade.core.position import Position
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.postgres import PostgresServer
from casscade.transport.chunk import Chunk
from casscade.transport.envelope import open_envelope
from casscade.transport.kafka.client import KafkaSettings
from casscade.transport.kafka.dead_letters import (
    LetterProducer,
    LetterReader,
    connect_headers,
    topic_settings,
    waits_for_postgres,
)
from casscade.transport.kafka.topic import ensure_topic
from tests.matrix.test_kafka import Members, members, wait_equal

__all__ = ["members"]

pytestmark = pytest.mark.servers
HOST = str(uuid.UUID(int=7))


def read_all(settings: KafkaSettings, count: int) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": settings.where, "group.id": "test", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(settings.topic, partition, 0) for partition in range(settings.partitions)])
    found: list[Message] = []
    with closing(consumer):
        while len(found) < count:
            found += consumer.consume(100, 10.0)
    return found


@pytest.mark.requirement("FR-021")
def test_messages_lie_there_as_they_came_with_the_headers_of_kafka_connect(kafka_broker: KafkaBroker) -> None:
    name = f"t-{uuid.uuid4().hex[:12]}"
    own = KafkaSettings((kafka_broker.bootstrap,), name, f"casscade.{name}", partitions=2, replication_factor=1)
    letters = topic_settings(own, f"{name}.dead_letters")
    ensure_topic(letters)
    mutation = b"\x01" + bytes(range(16)) + b"\x03key" + b"rest"
    chunk = Chunk(f"{name}/1", 8, Position(0, 8), 1.5, [mutation], [77], 0, None, 3, HOST, places=[7])
    stop = threading.Event()
    producer = LetterProducer(letters, "test")
    with closing(producer):
        assert producer.keep([chunk], "57P01", "loader-1", stop)
        assert producer.send(b"other", b"somebody's", [("x", b"y")], stop)
        assert producer.flush(stop)
    message = next(each for each in read_all(letters, 2) if each.key() == b"key")
    value = message.value()
    assert isinstance(value, bytes)
    opened = open_envelope(value)
    assert (opened.event_id, opened.mutation, opened.captured_at) == (f"{HOST}:3:77", mutation, 1_500_000)
    headers: Any = message.headers()
    assert headers == connect_headers(letters, f"{name}/1", 7, "57P01", "loader-1")
    told = dict(headers)
    assert told["__connect.errors.topic"] == name.encode()
    assert told["__connect.errors.partition"] == b"1"
    assert told["__connect.errors.offset"] == b"7"
    assert told["__connect.errors.task.id"] == b"loader-1"
    assert b"57P01" in told["__connect.errors.exception.message"]
    reader = LetterReader(letters, {})
    with closing(reader):
        seen: list[Message] = []
        while len(seen) < 2:
            seen += reader.read()
    assert [each.key() for each in seen if waits_for_postgres(each)] == [b"key"]


def _door(server: PostgresServer, database: str) -> Callable[[bool], None]:
    name = database.rpartition("/")[2]

    def move(opened: bool) -> None:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
            connection.execute(statement.format(sql.Identifier(name), sql.SQL("true" if opened else "false")))
            if not opened:
                connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))

    return move


@pytest.mark.requirement("SC-009")
@pytest.mark.requirement("FR-021")
def test_an_outage_goes_to_the_topic_and_comes_back_and_letters_are_replayed_through_kafka(
    cassandra_session: Any,
    keyspace: str,
    postgres_server: PostgresServer,
    database: str,
    members: Members,
    tmp_path: Path,
) -> None:
    cassandra_session.execute(f"CREATE TABLE {keyspace}.t (id int PRIMARY KEY, v int) WITH cdc = true")
    members.document["load"] |= {
        "retry": {"first_ms": 100, "for_seconds": 1},
        "circuit": {"failures": 2, "open_seconds": 60},
    }
    insert = f"INSERT INTO {keyspace}.t (id, v) VALUES (%s, %s)"
    door = _door(postgres_server, database)
    agent, first, second = members.start("capture"), members.start("load"), members.start("load")
    loaders = [first, second]
    for process in (agent, *loaders):
        process.wait_ready(40.0)
    cassandra_session.execute(insert, (0, 0))
    wait_equal(cassandra_session, database, keyspace, [agent, *loaders])
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE {keyspace}.t ADD CONSTRAINT small CHECK (v < 1000)".encode())
    door(False)
    for number in range(1, 50):
        cassandra_session.execute(insert, (number, 5000 if number == 7 else number))

    def kept() -> int:
        return sum(int(process.status()["outage"]["messages_kept"]) for process in loaders)

    first.wait(lambda: kept() >= 49, "messages in the topic of dead letters", 30.0)
    # One of the loaders dies with what it has not told PostgreSQL: it is read twice, which changes nothing.
    second.kill()
    door(True)
    first.wait(lambda: first.status()["resubmissions"]["messages_put_back"] >= 49, "their return", 60.0)
    with psycopg.connect(database, autocommit=True) as connection:
        count = f"SELECT count(*) FROM {keyspace}.t".encode()
        first.wait(lambda: connection.execute(count).fetchone() == (49,), "all rows but the poison", 60.0)
        letters = "SELECT code, topic IS NOT NULL FROM casscade.dead_letters"
        first.wait(lambda: bool(connection.execute(letters).fetchall()), "the poison as a dead letter")
        connection.execute(f"ALTER TABLE {keyspace}.t DROP CONSTRAINT small".encode())
        replay = CliRunner().invoke(main, ["dlq", "replay", "-c", str(first.config_file), "--all"])
        assert "1 of 1 dead letters will be replayed" in replay.output
        wait_equal(cassandra_session, database, keyspace, [agent, first])
        first.wait(lambda: not connection.execute(letters).fetchall(), "an empty store")
