"""The three strategies for late and conflicting writes beside a real Cassandra, and through a restart."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from casscade.devstack.cassandra import CassandraNode
from tests.support.pipeline_process import configuration, started

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
