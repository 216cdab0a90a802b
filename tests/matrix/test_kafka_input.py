"""Bad input of the Kafka transport, with a real broker: rights, logins, topics that change, messages of any kind."""

from __future__ import annotations

import json
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined] # re-exported without saying so

from casscade.commitlog.encoder import encode_mutation
from casscade.core.cell import live_cell
from casscade.core.errors import ConfigurationError
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.position import Position
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.places import free_port
from casscade.schema.model import assign_indexes
from casscade.schema.reader import read_schema
from casscade.security.secret import Secret
from casscade.testing.tables import create_all
from casscade.transport.kafka.client import KafkaSettings
from casscade.transport.kafka.topic import ensure_topic
from tests.matrix.test_kafka import PARTITIONS, TABLES, Members, members, wait_equal, write
from tests.support.kafka_input import (
    AGENT,
    LOADER,
    MUTATION,
    WAIT_S,
    Secured,
    act_as_agent,
    act_as_loader,
    produce,
    read_one,
    sealed,
    secured_settings,
)

pytestmark = pytest.mark.servers
__all__ = ["members"]
PREFIX = "casscade-test-"


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    """A broker on which users have no right that is not granted."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as directory:
        port, login, controller = free_port(), free_port(), free_port()
        settings = secured_settings(port, login, controller)
        broker = KafkaBroker(Path(directory) / "kafka", port=port, controller_port=controller, settings=settings)
        broker.start(owner=os.getpid())
        broker.wait_ready()
        yield Secured(broker, f"127.0.0.1:{login}")
        broker.kill()


@pytest.fixture
def settings(kafka_broker: KafkaBroker) -> KafkaSettings:
    """A topic name of its own on the shared broker."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    return KafkaSettings((kafka_broker.bootstrap,), name, name, 1, 1)


class TestRights:
    @pytest.mark.requirement("FR-035")
    def test_those_of_the_documentation_are_enough(self, secured: Secured) -> None:
        act_as_agent(secured.settings(AGENT))
        assert act_as_loader(secured.settings(LOADER)).mutations == [MUTATION]

    @pytest.mark.parametrize("right", AGENT)
    def test_each_that_an_agent_lacks_is_named(self, secured: Secured, right: str) -> None:
        self._refused(secured.settings(AGENT, without=right), act_as_agent)

    @pytest.mark.parametrize("right", LOADER)
    def test_each_that_a_loader_lacks_is_named(self, secured: Secured, right: str) -> None:
        self._refused(secured.settings(LOADER, without=right), act_as_loader)

    def _refused(self, settings: KafkaSettings, act: Callable[[KafkaSettings], object]) -> None:
        with pytest.raises(ConfigurationError, match="AUTHORIZATION_FAILED") as refused:
            act(settings)
        assert refused.value.code == "kafka_rights"
        assert settings.topic in refused.value.hint

    def test_a_wrong_login_is_named_at_once(self, secured: Secured) -> None:
        sound = secured.settings(AGENT)
        wrong = replace(sound, security=replace(sound.security, password=Secret("guessed")))
        begin = time.monotonic()
        with pytest.raises(ConfigurationError, match="Kafka refused the connection") as refused:
            ensure_topic(wrong)
        assert time.monotonic() - begin < 5.0
        assert refused.value.code == "kafka_login"
        assert "guessed" not in refused.value.explain()


class TestPositions:
    def test_beyond_the_end_is_an_error(self, settings: KafkaSettings) -> None:
        ensure_topic(settings)
        produce(settings.where, settings.topic, [(b"k", sealed(MUTATION))] * 3)
        with pytest.raises(ConfigurationError, match="ends at 3, before the committed position 7") as refused:
            read_one(settings, Position(0, 7))
        assert refused.value.code == "kafka_position"

    @pytest.mark.parametrize("start", [0, 1])
    def test_before_the_beginning_is_an_error(self, settings: KafkaSettings, start: int) -> None:
        ensure_topic(settings)
        produce(settings.where, settings.topic, [(b"k", sealed(MUTATION))] * 3)
        admin = AdminClient({"bootstrap.servers": settings.where})
        for future in admin.delete_records([TopicPartition(settings.topic, 0, 2)]).values():
            future.result(WAIT_S)
        with pytest.raises(ConfigurationError, match="deleted before they were applied") as refused:
            read_one(settings, Position(0, start))
        assert refused.value.code == "kafka_retention"
        assert read_one(settings, Position(0, 2)).mutations == [MUTATION]


def mutation_of(session: Any, keyspace: str, key: int, value: bytes) -> bytes:
    """A row of `bad (p int PRIMARY KEY, b blob)`, as Cassandra writes it."""
    (table,) = [table for table in read_schema(session).tables.values() if table.full_name == f"{keyspace}.bad"]
    shape = assign_indexes(table, {}).shape(replicated=True)
    update = PartitionUpdate(shape, key.to_bytes(4, "big"))
    row = Row(b"", [])
    row.liveness_ts = 5
    row.cells = {0: live_cell(5, value)}
    update.rows.append(row)
    return encode_mutation([update], 8)


@pytest.mark.requirement("FR-022")
def test_whatever_lies_in_the_topic_nothing_is_lost(
    cassandra_session: Any, keyspace: str, database: str, members: Members, kafka_broker: KafkaBroker
) -> None:
    cassandra_session.execute(f"CREATE TABLE {keyspace}.bad (p int PRIMARY KEY, b blob) WITH cdc = true")
    loader = members.start("load")
    loader.wait_ready(40.0)
    large = bytes(16 << 20)
    sound = sealed(mutation_of(cassandra_session, keyspace, 1, b"one"))
    corrupt = sealed(mutation_of(cassandra_session, keyspace, 9, b"nine")[:-3], 2)
    change = json.dumps({"before": None, "after": {"p": {"value": 1}}, "op": "c"}).encode()
    letters = {
        0: (b"k", b"\x00\x01\x02", "envelope_foreign"),
        1: (b"k", change, "envelope_foreign"),
        2: (b"k", sound[:2] + b"\x02" + sound[3:], "envelope_newer"),
        3: (b"k", sound[:30], "envelope_damaged"),
        4: (b"k", None, "envelope_foreign"),
        5: (None, b"", "envelope_foreign"),
        6: (b"k", sealed(MUTATION, 6, 109), "envelope_encoding"),
        7: (b"k", corrupt, "mutation_corrupt"),
    }
    topic = f"{members.name}.mutations"
    produce(
        kafka_broker.bootstrap,
        topic,
        [
            *((key, value) for key, value, _ in letters.values()),
            (None, sound),
            (b"k", sealed(mutation_of(cassandra_session, keyspace, 2, large), 3)),
        ],
    )
    with psycopg.connect(database, autocommit=True) as connection:
        rows = f"SELECT p, length(b) FROM {keyspace}.bad ORDER BY p"
        loader.wait(lambda: connection.execute(rows).fetchall() == [(1, 3), (2, 16 << 20)], "both rows", 30.0)
        kept = connection.execute("SELECT event_id, code, mutation FROM casscade.dead_letters ORDER BY id").fetchall()
    expected = {
        (f"{topic}/0:{offset}" if code != "mutation_corrupt" else f"{uuid.UUID(int=7)}:1:2", code)
        for offset, (_, _, code) in letters.items()
    }
    assert {(event, code) for event, code, _ in kept} == expected
    assert {bytes(content) for *_, content in kept if len(content) > 40} >= {change}
    counted = loader.status()["dead_letters"]
    assert sum(counted.values()) == len(letters)
    assert "the parts are built anew" not in loader.text()


@pytest.mark.requirement("FR-043")
def test_partitions_that_are_added_lose_and_mix_up_nothing(
    cassandra_session: Any, keyspace: str, database: str, members: Members, kafka_broker: KafkaBroker
) -> None:
    for statement in create_all(keyspace, TABLES):
        cassandra_session.execute(statement)
    agent, first, second = members.start("capture"), members.start("load"), members.start("load")
    for process in (agent, first, second):
        process.wait_ready(40.0)
    write(cassandra_session, keyspace, 1, 150)
    admin = AdminClient({"bootstrap.servers": kafka_broker.bootstrap})
    added = NewPartitions(f"{members.name}.mutations", PARTITIONS + 2)
    for future in admin.create_partitions([added]).values():
        future.result(WAIT_S)
    agent.kill()
    write(cassandra_session, keyspace, 2, 150)
    agent.start()
    agent.wait_ready(40.0)
    write(cassandra_session, keyspace, 3, 150)
    wait_equal(cassandra_session, database, keyspace, [agent, first, second])
    second.kill()
    third = members.start("load")
    third.wait_ready(40.0)
    assert "more partitions than at first" in third.text()
    write(cassandra_session, keyspace, 4, 150)
    wait_equal(cassandra_session, database, keyspace, [agent, first, third])
    assert first.metric("casscade_kafka_misplaced_mutations_total") > 0


def test_a_topic_that_is_deleted_ends_agents_and_loaders_and_is_not_made_again(
    cassandra_session: Any, keyspace: str, database: str, members: Members, kafka_broker: KafkaBroker
) -> None:
    for statement in create_all(keyspace, TABLES):
        cassandra_session.execute(statement)
    processes = [members.start("capture"), members.start("load")]
    for process in processes:
        process.wait_ready(40.0)
    write(cassandra_session, keyspace, 1, 100)
    wait_equal(cassandra_session, database, keyspace, processes)
    admin = AdminClient({"bootstrap.servers": kafka_broker.bootstrap})
    topic = f"{members.name}.mutations"
    admin.delete_topics([topic])[topic].result(WAIT_S)
    write(cassandra_session, keyspace, 2, 50)
    for process in processes:
        ended = process.wait_end(60.0)
        assert (ended.code, "topic_gone" in ended.text) == (2, True), ended.text
    for process in processes:
        process.start()
        assert process.wait_end(60.0).code == 2
    assert topic not in admin.list_topics(timeout=WAIT_S).topics
    # Another one of the same name is none the better.
    ensure_topic(KafkaSettings((kafka_broker.bootstrap,), topic, "g", PARTITIONS, 1))
    for process in processes:
        process.start()
        ended = process.wait_end(60.0)
        assert (ended.code, "topic_recreated" in ended.text) == (2, True), ended.text
    for process in processes:
        process.document["transport"]["topic"] = f"{topic}.2"
        process.start()
    for process in processes:
        process.wait_ready(40.0)
    wait_equal(cassandra_session, database, keyspace, processes)
