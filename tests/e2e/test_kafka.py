"""Capture and loaders of their own over a real broker: a loader is killed, the topic holds a foreign message."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cassandra.concurrent import execute_concurrent_with_args

from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.places import free_port
from tests.support.both_sides import compare_keyspace, describe
from tests.support.kafka_input import produce
from tests.support.pipeline_process import PipelineProcess, configuration

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("cdc")]

PARTITIONS = 2
KEYS = 60
# Of the shared node (`CassandraSettings.cdc_total_space`).
CDC_BYTES = 256 << 20


def owned(loader: PipelineProcess) -> int:
    """How many partitions a loader has now."""
    return int(loader.status().get("kafka", {}).get("partitions", 0))


@pytest.mark.requirement("FR-003")
@pytest.mark.requirement("FR-022")
@pytest.mark.requirement("FR-043")
def test_a_killed_loader_and_a_foreign_message_cost_nothing(
    kafka_broker: KafkaBroker, cassandra_node: CassandraNode, cassandra_session: Any, keyspace: str, database: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    session = cassandra_session
    session.execute(f"CREATE TABLE {keyspace}.m (p int, c int, v int, s set<int>, PRIMARY KEY (p, c)) WITH cdc = true")
    insert = session.prepare(f"INSERT INTO {keyspace}.m (p, c, v, s) VALUES (?, ?, ?, ?)")
    update = session.prepare(f"UPDATE {keyspace}.m SET v = ?, s = s + ? WHERE p = ? AND c = ?")
    delete = session.prepare(f"DELETE FROM {keyspace}.m WHERE p = ? AND c = ?")

    def change(turn: int) -> None:
        rows = range(turn, 2 * KEYS, 2)
        execute_concurrent_with_args(session, update, [(turn, {turn}, row % KEYS, row // KEYS) for row in rows])
        execute_concurrent_with_args(session, delete, [(row % KEYS, 1) for row in rows[::5]])

    execute_concurrent_with_args(session, insert, [(key, 0, key, {key}) for key in range(KEYS)])
    document = configuration(cassandra_node, database, tmp_path / "state", [{"source": f"{keyspace}.*"}])
    document["name"] = f"k{uuid.uuid4().hex[:10]}"
    document["transport"] = {
        "kind": "kafka",
        "bootstrap_servers": [kafka_broker.bootstrap],
        "partitions": PARTITIONS,
        "replication_factor": 1,
        "session_timeout_ms": 1500,
    }
    topic = f"{document['name']}.mutations"
    with ExitStack() as stack:

        def start(command: str, number: int) -> PipelineProcess:
            own = deepcopy(document) | {"http": {"listen": f"127.0.0.1:{free_port()}"}}
            process = PipelineProcess(tmp_path / f"{command}{number}", own, command)
            stack.callback(process.kill)
            process.start()
            return process

        agent, first, second = start("capture", 0), start("load", 1), start("load", 2)
        change(0)
        for loader in (first, second):
            loader.wait(lambda loader=loader: owned(loader) == 1, "a partition", 30.0)  # type: ignore[misc]
        first.kill()
        change(1)
        produce(kafka_broker.bootstrap, topic, [(None, b"foreign")])
        change(2)
        second.wait(lambda: owned(second) == PARTITIONS, "all partitions", 20.0)
        session.execute(insert, (-1, 0, 1, None))
        with psycopg.connect(database, autocommit=True) as connection:
            last = f"SELECT FROM {keyspace}.m WHERE p = -1"
            second.wait(lambda: connection.execute(last).fetchone() is not None, "the last row", 20.0)
            equal = lambda: compare_keyspace(session, database, keyspace)[0].differences == 0  # noqa: E731
            second.wait(equal, "equal sides", 20.0)
            kept = "SELECT event_id, code, mutation FROM casscade.dead_letters"
            second.wait(lambda: connection.execute(kept).fetchone() is not None, "the dead letter", 20.0)
            letters = connection.execute(kept).fetchall()
        (comparison,) = compare_keyspace(session, database, keyspace)
        assert comparison.differences == 0, describe([comparison]) + second.tail()
        assert comparison.rows_cassandra > KEYS
        assert [(event[: event.rindex(":")], code, content) for event, code, content in letters] == [
            (f"{topic}/0", "envelope_foreign", b"foreign")
        ]
        assert second.metric("casscade_kafka_misplaced_mutations_total") == 0
        assert agent.status()["capture"]["cdc_space_total_bytes"] == CDC_BYTES
        assert (agent.stop().code, second.stop().code) == (0, 0)
