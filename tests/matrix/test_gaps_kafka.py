"""A gap reaches the loaders through the topic, once, and is repaired there; also when the agent dies meanwhile."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any

import psycopg
import pytest

from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.places import free_port
from tests.support.both_sides import compare_keyspace, describe
from tests.support.pipeline_process import PipelineProcess, configuration

pytestmark = [pytest.mark.servers]

ROWS = 60
REPAIR_S_MAX = 60.0


@pytest.fixture
def members(
    cassandra_node: CassandraNode, kafka_broker: KafkaBroker, keyspace: str, database: str, tmp_path: Path
) -> Iterator[tuple[PipelineProcess, PipelineProcess]]:
    """An agent and a loader, not started."""
    document = configuration(cassandra_node, database, tmp_path / "state", [{"source": f"{keyspace}.*"}])
    document["name"] = f"g{uuid.uuid4().hex[:10]}"
    servers = [kafka_broker.bootstrap]
    document["transport"] = {"kind": "kafka", "bootstrap_servers": servers, "partitions": 3, "replication_factor": 1}
    with ExitStack() as stack:
        processes = []
        for command in ("capture", "load"):
            own = deepcopy(document)
            own["http"] = {"listen": f"127.0.0.1:{free_port()}"}
            processes.append(PipelineProcess(tmp_path / command, own, command))
            stack.callback(processes[-1].kill)
        yield processes[0], processes[1]


@pytest.mark.requirement("FR-023")
@pytest.mark.timeout(300)
def test_a_lost_state_directory_and_lost_segments_are_repaired_by_the_loaders(
    cassandra_node: CassandraNode,
    cassandra_session: Any,
    keyspace: str,
    database: str,
    members: tuple[PipelineProcess, PipelineProcess],
    tmp_path: Path,
) -> None:
    agent, loader = members
    session = cassandra_session
    session.execute(f"CREATE TABLE {keyspace}.t (p int, k int, v text, PRIMARY KEY (p, k)) WITH cdc = true")
    agent.start()
    loader.start()
    for process in members:
        process.wait_ready(60.0)
    for number in range(ROWS):
        session.execute(f"INSERT INTO {keyspace}.t (p, k, v) VALUES (%s, 1, 'v')", (number,))
    with psycopg.connect(database, autocommit=True) as connection:
        count = f"SELECT count(*) FROM {keyspace}.t".encode()
        loader.wait(lambda: connection.execute(count).fetchone() == (ROWS,), "the rows", 30.0)
        agent.kill()
        session.execute(f"DELETE FROM {keyspace}.t WHERE p = 1")
        session.execute(f"DELETE v FROM {keyspace}.t WHERE p = 2 AND k = 1")
        session.execute(f"INSERT INTO {keyspace}.t (p, k, v) VALUES (3, 2, 'new')")
        for path in cassandra_node.cdc_directory.iterdir():
            path.unlink()
        shutil.rmtree(tmp_path / "state")
        agent.start()
        agent.wait_ready(60.0)
        agent.kill()  # perhaps while it tells of it
        agent.start()
        loader.wait(lambda: states(loader) == [("state_lost", "repaired")], "the repair", REPAIR_S_MAX)
        comparisons = compare_keyspace(session, database, keyspace)
        assert not any(one.differences for one in comparisons), describe(comparisons)
        assert connection.execute("SELECT count(*) FROM casscade.dead_letters").fetchone() == (0,)


def states(loader: PipelineProcess) -> list[tuple[str, str]]:
    return [(gap["reason"], gap["state"]) for gap in loader.status()["gaps"]]
