"""The pipeline over a real broker: an agent, loaders that come and go, and both sides equal in the end."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from copy import deepcopy
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cassandra.concurrent import execute_concurrent_with_args

from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.places import free_port
from casscade.testing.runner import Runner
from casscade.testing.samples import COLLECTIONS, PLAIN, STATICS
from casscade.testing.tables import create_all
from casscade.testing.workload import Options, Workload
from tests.support.both_sides import compare_keyspace, describe
from tests.support.pipeline_process import PipelineProcess, configuration

pytestmark = [pytest.mark.servers]

TABLES = (PLAIN, STATICS, COLLECTIONS)
PARTITIONS = 4
EQUAL_S_MAX = 40.0


class Members:
    """The agent and the loaders of one pipeline."""

    def __init__(self, directory: Path, document: dict[str, Any], stack: ExitStack) -> None:
        self.name = document["name"]
        self._directory = directory
        self.document = document
        self._stack = stack
        self._number = 0

    def start(self, command: str) -> PipelineProcess:
        """A new process, which is killed at the end of the test."""
        self._number += 1
        document = deepcopy(self.document)
        document["http"] = {"listen": f"127.0.0.1:{free_port()}"}
        process = PipelineProcess(self._directory / f"process{self._number}", document, command)
        self._stack.callback(process.kill)
        process.start()
        return process


@pytest.fixture
def members(
    cassandra_node: CassandraNode, kafka_broker: KafkaBroker, keyspace: str, database: str, tmp_path: Path
) -> Iterator[Members]:
    """Nothing runs yet."""
    document = configuration(cassandra_node, database, tmp_path / "state", [{"source": f"{keyspace}.*"}])
    document["name"] = f"k{uuid.uuid4().hex[:10]}"
    document["transport"] = {
        "kind": "kafka",
        "bootstrap_servers": [kafka_broker.bootstrap],
        "partitions": PARTITIONS,
        "replication_factor": 1,
    }
    with ExitStack() as stack:
        yield Members(tmp_path, document, stack)


def write(session: Any, keyspace: str, seed: int, operations: int) -> None:
    """Random statements by the client's clock."""
    workload = Workload(seed, keyspace, TABLES, Options(timestamps=None, partitions=20))
    with closing(Runner(session)) as runner:
        for _ in range(operations):
            runner.execute(next(workload))
        runner.flush()


def wait_equal(session: Any, dsn: str, keyspace: str, processes: list[PipelineProcess]) -> None:
    """Return when both sides are equal; fail with what differs, and the ends of the logs."""
    deadline = time.monotonic() + EQUAL_S_MAX
    while True:
        comparisons = compare_keyspace(session, dsn, keyspace)
        if not any(comparison.differences for comparison in comparisons):
            assert sum(comparison.rows_cassandra for comparison in comparisons) > 0
            return
        logs = "\n".join(process.tail() for process in processes)
        assert time.monotonic() < deadline, describe(comparisons) + logs
        time.sleep(0.2)


@pytest.mark.requirement("FR-003")
@pytest.mark.requirement("FR-043")
@pytest.mark.requirement("SC-007")
def test_both_sides_are_equal_whoever_is_killed(
    cassandra_session: Any, keyspace: str, database: str, members: Members
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    for statement in create_all(keyspace, TABLES):
        cassandra_session.execute(statement)
    write(cassandra_session, keyspace, seed, 200)
    agent, first, second = members.start("capture"), members.start("load"), members.start("load")
    for process in (agent, first, second):
        process.wait_ready(40.0)
    wait_equal(cassandra_session, database, keyspace, [agent, first, second])
    write(cassandra_session, keyspace, seed + 1, 150)
    first.kill()
    write(cassandra_session, keyspace, seed + 2, 150)
    third = members.start("load")
    agent.kill()
    write(cassandra_session, keyspace, seed + 3, 150)
    agent.start()
    third.wait_ready(40.0)
    assert second.stop().code == 0
    write(cassandra_session, keyspace, seed + 4, 150)
    wait_equal(cassandra_session, database, keyspace, [agent, third])
    assert third.status()["kafka"]["partitions"] == PARTITIONS
    assert third.status()["dead_letters"] == {}


@pytest.mark.requirement("FR-001")
def test_a_truncation_empties_the_table_and_what_follows_stays(
    cassandra_session: Any, keyspace: str, database: str, members: Members
) -> None:
    create = f"CREATE TABLE {keyspace}.{{}} (p int PRIMARY KEY, v int) WITH cdc = true"
    for table in ("gone", "other"):
        cassandra_session.execute(create.format(table))
    agent, first, second = members.start("capture"), members.start("load"), members.start("load")
    for process in (agent, first, second):
        process.wait_ready(40.0)
    insert = f"INSERT INTO {keyspace}.{{}} (p, v) VALUES (%s, %s) USING TIMESTAMP %s"
    for number in range(50):
        cassandra_session.execute(insert.format("gone"), (number, 1, 4_000_000_000_000_000))
        cassandra_session.execute(insert.format("other"), (number, 1, 5))
    wait_equal(cassandra_session, database, keyspace, [agent, first, second])
    cassandra_session.execute(f"TRUNCATE {keyspace}.gone")
    for number in range(40, 60):
        cassandra_session.execute(insert.format("gone"), (number, 2, 3))
        cassandra_session.execute(insert.format("other"), (number, 2, 6))
    wait_equal(cassandra_session, database, keyspace, [agent, first, second])
    first.kill()
    wait_equal(cassandra_session, database, keyspace, [agent, second])
    with psycopg.connect(database) as connection:
        assert connection.execute(f"SELECT count(*), min(v) FROM {keyspace}.gone").fetchone() == (20, 2)


@pytest.mark.requirement("FR-023")
def test_a_job_that_is_killed_is_gone_on_with_by_the_next(
    cassandra_session: Any, keyspace: str, database: str, members: Members
) -> None:
    rows = 4000
    cassandra_session.execute(f"CREATE TABLE {keyspace}.big (id int PRIMARY KEY, v text) WITH cdc = true")
    insert = cassandra_session.prepare(f"INSERT INTO {keyspace}.big (id, v) VALUES (?, ?)")
    execute_concurrent_with_args(cassandra_session, insert, [(i, f"value {i}") for i in range(rows)])
    # Slow enough that there is something left to take over, whoever reads.
    members.document["snapshot"] = {"ranges_per_table": 16, "page_rows": 50, "workers": 1, "rows_per_second": 400}
    agent, loader = members.start("capture"), members.start("load")
    for process in (agent, loader):
        process.wait_ready(40.0)
    with psycopg.connect(database, autocommit=True) as connection:

        def claimed_by_a_job() -> bool:
            query = "SELECT count(*) FROM casscade.snapshot_tasks WHERE owner LIKE 'job-%' AND rows > 0"
            (count,) = connection.execute(query).fetchone() or (0,)
            return bool(count)

        job = members.start("snapshot run")
        job.wait(claimed_by_a_job, "a range of the job", 30.0)
        job.kill()
        ended = members.start("snapshot run").wait_end(90.0)
        assert ended.code == 0, ended.text
        assert "complete" in ended.text.splitlines()[-1]
        (read, left) = connection.execute(
            "SELECT sum(rows), count(*) FILTER (WHERE state <> 'done') FROM casscade.snapshot_tasks"
        ).fetchone() or (0, 1)
    assert left == 0
    # Pages that were not durable when the job died were read again; not more than some of one range.
    assert rows <= read <= rows + rows // 16
    wait_equal(cassandra_session, database, keyspace, [agent, loader])
