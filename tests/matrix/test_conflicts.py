"""The three strategies for late and conflicting writes beside a real Cassandra, and through a restart."""

from __future__ import annotations

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
from tests.support.pipeline_process import PipelineProcess, configuration, started

pytestmark = [pytest.mark.servers]

ARRIVAL_S_MAX = 20.0
TABLES = ("plain", "strict", "arrived")
NEW, OLD = 4_000_000_000_000, 1_000_000_000_000


@pytest.fixture
def schema(cassandra_session: Any) -> Iterator[str]:
    name = f"conflict_{uuid.uuid4().hex[:8]}"
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    cassandra_session.execute(f"CREATE KEYSPACE {name} WITH replication = {replication}")
    for table in TABLES:
        cassandra_session.execute(f"CREATE TABLE {name}.{table} (id int PRIMARY KEY, v text) WITH cdc = true")
    yield name
    cassandra_session.execute(f"DROP KEYSPACE {name}", timeout=60)


@pytest.mark.requirement("FR-025", "SC-010")
def test_each_table_goes_by_its_strategy(
    cassandra_node: CassandraNode, cassandra_session: Any, schema: str, database: str, tmp_path: Path
) -> None:
    tables = [
        {"source": f"{schema}.*"},
        {"source": f"{schema}.strict", "conflicts": "dead_letter"},
        {"source": f"{schema}.arrived", "conflicts": "arrival_order"},
    ]
    document = configuration(cassandra_node, database, tmp_path / "s", tables)

    def write(row: int, value: str, ts: int) -> None:
        for table in TABLES:
            cassandra_session.execute(
                f"UPDATE {schema}.{table} USING TIMESTAMP {ts} SET v = %s WHERE id = %s", (value, row)
            )

    def shown() -> dict[str, list[str]]:
        with psycopg.connect(database) as connection:
            return {
                table: [v for (v,) in connection.execute(f"SELECT v FROM {schema}.{table} ORDER BY id").fetchall()]
                for table in TABLES
            }

    directory = tmp_path / "p"
    directory.mkdir()
    with started(directory, document) as process:
        write(1, "new", NEW)
        write(1, "late", OLD)
        write(2, "a", NEW)
        write(2, "b", NEW)
        expected = {"plain": ["new", "b"], "strict": ["new", "b"], "arrived": ["late", "b"]}
        process.wait(lambda: process.status()["conflicts"]["cells"] == 2, "the conflicts", ARRIVAL_S_MAX)
        process.wait(lambda: shown() == expected, "the rows", ARRIVAL_S_MAX)
        assert process.status()["conflicts"]["stale_rows"] == 2
        with psycopg.connect(database) as connection:
            found = connection.execute("SELECT code, source_name FROM casscade.dead_letters ORDER BY code").fetchall()
        assert found == [("conflicting_write", f"{schema}.strict"), ("stale_write", f"{schema}.strict")]
    with started(directory, document) as process:
        write(1, "later", OLD - 1)
        write(3, "end", NEW)
        process.wait(
            lambda: (
                shown()
                == {"plain": ["new", "b", "end"], "strict": ["new", "b", "end"], "arrived": ["later", "b", "end"]}
            ),
            "the rows after a restart",
            ARRIVAL_S_MAX,
        )


@pytest.mark.requirement("FR-025")
def test_arrival_decides_over_kafka_through_a_kill_and_when_keys_move(
    cassandra_node: CassandraNode,
    cassandra_session: Any,
    schema: str,
    database: str,
    kafka_broker: KafkaBroker,
    tmp_path: Path,
) -> None:
    """Each write has an older time than the one before, so that by write times the first would stay."""
    table = f"{schema}.arrived"
    rows, written = range(12), 0
    document = configuration(
        cassandra_node, database, tmp_path / "s", [{"source": table, "conflicts": "arrival_order"}]
    )
    document["name"] = f"a{uuid.uuid4().hex[:10]}"
    document["transport"] = {
        "kind": "kafka",
        "bootstrap_servers": [kafka_broker.bootstrap],
        "partitions": 4,
        "replication_factor": 1,
        "session_timeout_ms": 6000,
    }

    def write() -> list[tuple[int, str]]:
        nonlocal written
        written += 1
        for row in rows:
            cassandra_session.execute(
                f"UPDATE {table} USING TIMESTAMP {NEW - written} SET v = %s WHERE id = %s", (f"{written}", row)
            )
        return [(row, f"{written}") for row in rows]

    def shown() -> list[tuple[int, str]]:
        with psycopg.connect(database) as connection:
            return connection.execute(f"SELECT id, v FROM {table} ORDER BY id".encode()).fetchall()

    with ExitStack() as stack:

        def start(command: str, name: str) -> PipelineProcess:
            own = deepcopy(document) | {"http": {"listen": f"127.0.0.1:{free_port()}"}}
            process = PipelineProcess(tmp_path / name, own, command)
            stack.callback(process.kill)
            process.start()
            process.wait_ready(40.0)
            return process

        def owns(process: PipelineProcess, partitions: int) -> None:
            process.wait(lambda: process.status()["kafka"]["partitions"] == partitions, "its partitions", 40.0)

        agent, first = start("capture", "agent"), start("load", "first")
        owns(first, 4)
        for _ in range(3):
            expected = write()
        first.wait(lambda: shown() == expected, "the last to arrive", ARRIVAL_S_MAX)
        # The second was there before the first gave out its newest times, and then takes its keys over.
        second = start("load", "second")
        owns(second, 2)
        expected = write()
        second.wait(lambda: shown() == expected, "the last to arrive at two loaders", ARRIVAL_S_MAX)
        first.kill()
        expected = write()
        owns(second, 4)
        second.wait(lambda: shown() == expected, "the last to arrive after a kill", ARRIVAL_S_MAX)
        third = start("load", "third")
        owns(third, 2)
        for _ in range(2):
            expected = write()
        third.wait(lambda: shown() == expected, "the last to arrive after keys moved", ARRIVAL_S_MAX)
        assert [process.stop().code for process in (agent, second, third)] == [0, 0, 0]
