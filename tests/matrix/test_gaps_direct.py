"""Input that was lost is noticed and repaired: inserts, updates and deletions of every reach, by real segments."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from casscade.devstack.cassandra import CassandraNode
from tests.support.both_sides import compare_keyspace, describe
from tests.support.pipeline_process import PipelineProcess, configuration

pytestmark = [pytest.mark.servers]

REPAIR_S_MAX = 40.0
ROWS = 40
TABLES = (
    "CREATE TABLE {ks}.simple (id int PRIMARY KEY, v text, w int) WITH cdc = true",
    "CREATE TABLE {ks}.events (p int, k int, owner text static, a text, tags set<text>, m map<text, int>, "
    "steps list<int>, PRIMARY KEY (p, k)) WITH cdc = true",
    "CREATE TABLE {ks}.counted (p int PRIMARY KEY, n counter) WITH cdc = true",
)
BEFORE = (
    "INSERT INTO {ks}.simple (id, v, w) VALUES (%s, 'before', 1)",
    "UPDATE {ks}.simple SET v = 'updated only' WHERE id = 1%s",
    "INSERT INTO {ks}.events (p, k, owner, a, tags, m, steps) "
    "VALUES (%s, 1, 'o', 'a', {'x', 'y'}, {'x': 1, 'y': 2}, [1, 2, 3])",
    "INSERT INTO {ks}.events (p, k, a, tags, steps) VALUES (%s, 2, 'b', {'z'}, [7])",
    "UPDATE {ks}.events SET a = 'no insert' WHERE p = %s AND k = 3",
    "UPDATE {ks}.counted SET n = n + 1 WHERE p = %s",
)
LOST = (
    "INSERT INTO {ks}.simple (id, v, w) VALUES (900, 'new', 1)",
    "UPDATE {ks}.simple SET v = 'changed' WHERE id = 0",
    "DELETE FROM {ks}.simple WHERE id = 1",
    "DELETE w FROM {ks}.simple WHERE id = 2",
    "DELETE FROM {ks}.simple WHERE id = 3",
    "UPDATE {ks}.simple SET v = 'back' WHERE id = 3",
    "DELETE v FROM {ks}.simple WHERE id = 14",
    "DELETE FROM {ks}.events WHERE p = 1",
    "DELETE FROM {ks}.events WHERE p = 2 AND k >= 2",
    "DELETE FROM {ks}.events WHERE p = 3 AND k = 1",
    "DELETE owner FROM {ks}.events WHERE p = 4",
    "UPDATE {ks}.events SET tags = tags - {'x'}, m = m - {'y'} WHERE p = 5 AND k = 1",
    "DELETE tags, m FROM {ks}.events WHERE p = 6 AND k = 1",
    "DELETE steps[1] FROM {ks}.events WHERE p = 7 AND k = 1",
    "UPDATE {ks}.events SET steps = steps + [4] WHERE p = 8 AND k = 1",
    "DELETE steps FROM {ks}.events WHERE p = 9 AND k = 1",
    "DELETE a FROM {ks}.events WHERE p = 9 AND k = 3",
    "INSERT INTO {ks}.events (p, k, owner, a) VALUES (900, 1, 'new', 'new')",
    "UPDATE {ks}.counted SET n = n + 5 WHERE p = 1",
    "DELETE FROM {ks}.counted WHERE p = 2",
)


@pytest.fixture(scope="module")
def schema(cassandra_session: Any) -> Iterator[str]:
    name = f"gap_{uuid.uuid4().hex[:8]}"
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    cassandra_session.execute(f"CREATE KEYSPACE {name} WITH replication = {replication}")
    for statement in TABLES:
        cassandra_session.execute(statement.replace("{ks}", name))
    yield name
    cassandra_session.execute(f"DROP KEYSPACE {name}", timeout=60)


def repaired(process: PipelineProcess, reason: str) -> bool:
    """Whether there is one gap, of that reason, and it is repaired."""
    return [(gap["reason"], gap["state"]) for gap in process.status()["gaps"]] == [(reason, "repaired")]


def reasons(process: PipelineProcess) -> dict[str, str]:
    """The state of the newest gap of each reason."""
    return {gap["reason"]: gap["state"] for gap in reversed(process.status()["gaps"])}


def switch_off_and_on(session: Any, schema: str, process: PipelineProcess) -> None:
    """CDC of a table is off while it is written to."""
    session.execute(f"ALTER TABLE {schema}.simple WITH cdc = false")
    process.wait(lambda: process.status()["capture"]["cdc_off"] != [], "cdc off")
    session.execute(f"DELETE FROM {schema}.simple WHERE id = 20")
    session.execute(f"INSERT INTO {schema}.simple (id, v) VALUES (901, 'while it was off')")
    session.execute(f"ALTER TABLE {schema}.simple WITH cdc = true")


def lose(node: CassandraNode) -> None:
    """Delete by hand all that lies in cdc_raw, the link of the segment that is being written included."""
    for path in node.cdc_directory.iterdir():
        path.unlink()


@pytest.mark.requirement("FR-023")
def test_segments_deleted_while_the_pipeline_is_down_are_repaired(
    cassandra_node: CassandraNode, cassandra_session: Any, schema: str, database: str, tmp_path: Path
) -> None:
    session = cassandra_session
    document = configuration(cassandra_node, database, tmp_path / "state", [{"source": f"{schema}.*"}])
    process = PipelineProcess(tmp_path / "pipeline", document)
    try:
        process.start()
        process.wait_caught_up()
        for number in range(ROWS):
            for statement in BEFORE:
                session.execute(statement.replace("{ks}", schema) % number)
        with psycopg.connect(database, autocommit=True) as connection:
            count = f'SELECT count(*) FROM "{schema}".counted'.encode()
            process.wait(lambda: connection.execute(count).fetchone() == (ROWS,), "the rows")
        process.kill()
        for statement in LOST:
            session.execute(statement.replace("{ks}", schema))
        lose(cassandra_node)
        process.start()
        process.wait(lambda: repaired(process, "segment_vanished"), "the repair", REPAIR_S_MAX)
        with psycopg.connect(database, autocommit=True) as connection:
            left = b"SELECT count(*) FROM casscade.rechecks"
            process.wait(lambda: connection.execute(left).fetchone() == (0,), "the rechecks", REPAIR_S_MAX)
        assert compared(session, database, schema) == ""
        assert process.status()["gaps"][0]["rows_repaired"] > 0
        # A clean end and another start find nothing new.
        assert process.stop().code == 0
        process.start()
        process.wait_caught_up()
        assert repaired(process, "segment_vanished")
        switch_off_and_on(session, schema, process)
        process.wait(lambda: "table_cdc_off" in reasons(process), "the second gap", REPAIR_S_MAX)
        process.wait(lambda: set(reasons(process).values()) == {"repaired"}, "the second repair", REPAIR_S_MAX)
        assert compared(session, database, schema) == ""
        assert process.stop().code == 0
    finally:
        process.kill()


def compared(session: Any, database: str, schema: str) -> str:
    """What differs; nothing when both sides are equal."""
    comparisons = compare_keyspace(session, database, schema)
    return describe(comparisons) if any(one.differences for one in comparisons) else ""
