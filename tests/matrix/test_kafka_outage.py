"""The broker goes while the agent is under load: the commit log is the buffer, and the space guard tells how full."""

from __future__ import annotations

import json
import uuid
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import psycopg
import pytest
from cassandra.concurrent import execute_concurrent_with_args

from casscade.capture.space import THRESHOLDS, used_bytes
from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.places import free_port
from tests.support.both_sides import compare_keyspace, describe
from tests.support.pipeline_process import PipelineProcess, configuration

pytestmark = pytest.mark.servers

# Sixteen segments of the test's node.
SPACE = 16 << 20
PADDING = "x" * 3600
ROWS = 100
WRITES_MAX = 200
WARNING = "cdc_raw fills up: when it is full, Cassandra refuses writes to CDC tables"


def events(process: PipelineProcess, event: str) -> list[dict[str, Any]]:
    """The log lines of one kind."""
    lines = [json.loads(line) for line in process.text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def refused(process: PipelineProcess) -> str:
    """What a probe of readiness is told, or nothing where it succeeds."""
    try:
        with urlopen(process.url("/readyz"), timeout=5.0):
            return ""
    except HTTPError as error:
        return error.read().decode("utf-8")


@pytest.mark.requirement("FR-019")
@pytest.mark.requirement("FR-024")
@pytest.mark.requirement("FR-028")
def test_an_outage_of_the_broker_is_waited_for_with_warnings(
    own_broker: KafkaBroker,
    cassandra_node: CassandraNode,
    cassandra_session: Any,
    keyspace: str,
    database: str,
    tmp_path: Path,
) -> None:
    session = cassandra_session
    session.execute(f"CREATE TABLE {keyspace}.t (id int PRIMARY KEY, v text) WITH cdc = true")
    insert = session.prepare(f"INSERT INTO {keyspace}.t (id, v) VALUES (?, ?)")
    document = configuration(cassandra_node, database, tmp_path / "state", [{"source": f"{keyspace}.t"}])
    document["name"] = f"k{uuid.uuid4().hex[:10]}"
    document["capture"]["cdc_total_space_bytes"] = SPACE
    document["transport"] = {
        "kind": "kafka",
        "bootstrap_servers": [own_broker.bootstrap],
        "partitions": 2,
        "replication_factor": 1,
    }
    with ExitStack() as stack:

        def start(command: str) -> PipelineProcess:
            own = deepcopy(document) | {"http": {"listen": f"127.0.0.1:{free_port()}"}}
            process = PipelineProcess(tmp_path / command, own, command)
            stack.callback(process.kill)
            process.start()
            process.wait_ready(40.0)
            return process

        agent, loader = start("capture"), start("load")

        def space() -> dict[str, Any]:
            status: dict[str, Any] = agent.status()["capture"]
            return status

        assert space()["cdc_space_total_bytes"] == SPACE
        agent.wait(lambda: space()["cdc_space_threshold"] == 0.0, "an empty cdc_raw")
        own_broker.kill()
        written = 0
        for threshold in THRESHOLDS:
            while used_bytes(cassandra_node.cdc_directory) < threshold * SPACE:
                assert written < ROWS * WRITES_MAX, agent.tail()
                execute_concurrent_with_args(session, insert, [(written + i, PADDING) for i in range(ROWS)])
                written += ROWS
            agent.wait(lambda threshold=threshold: space()["cdc_space_threshold"] == threshold, "a warning")  # type: ignore[misc]
        assert space()["cdc_space_seconds_left"] >= 0
        assert 0 <= agent.metric("casscade_capture_cdc_space_left_seconds") < 3600
        assert agent.metric("casscade_capture_cdc_space_ratio") >= 0.9
        warnings = events(agent, WARNING)
        assert [warning["threshold"] for warning in warnings] == list(THRESHOLDS)
        assert all(warning["seconds_left"] >= 0 and warning["level"] == "warning" for warning in warnings)
        agent.wait(lambda: not agent.probe("/healthz"), "the health to show it", 20.0)
        loader.wait(lambda: "kafka is down" in refused(loader), "the loader's readiness to show it", 20.0)
        own_broker.start()
        own_broker.wait_ready()
        loader.wait(lambda: loader.probe("/readyz"), "the loader to see it again", 30.0)
        agent.wait(lambda: bool(space()["cdc_space_threshold"] == 0.0), "the segments to go", 60.0)
        assert agent.metric("casscade_capture_deleted_segments_total") >= 10
        assert events(agent, "cdc_raw has room again")
        with psycopg.connect(database, autocommit=True) as connection:
            count = f"SELECT count(*) FROM {keyspace}.t"
            loader.wait(lambda: connection.execute(count).fetchone() == (written,), "all rows", 60.0)
        (comparison,) = compare_keyspace(session, database, keyspace)
        assert comparison.differences == 0, describe([comparison])
        assert (agent.stop().code, loader.stop().code) == (0, 0)


def test_brokers_that_were_never_reached_are_an_error_of_the_configuration(
    cassandra_node: CassandraNode, keyspace: str, cassandra_session: Any, tmp_path: Path
) -> None:
    cassandra_session.execute(f"CREATE TABLE {keyspace}.t (id int PRIMARY KEY, v text) WITH cdc = true")
    document = configuration(
        cassandra_node, "postgresql://x@127.0.0.1/x", tmp_path / "s", [{"source": f"{keyspace}.t"}]
    )
    document["transport"] = {"kind": "kafka", "bootstrap_servers": [f"127.0.0.1:{free_port()}"]}
    agent = PipelineProcess(tmp_path, document, "capture")
    agent.start()
    try:
        ended = agent.wait_end(40.0)
    finally:
        agent.kill()
    assert ended.code == 2
    assert "[kafka_unreachable]" in ended.text
    assert "transport.bootstrap_servers" in ended.text
    assert "Traceback" not in ended.text
