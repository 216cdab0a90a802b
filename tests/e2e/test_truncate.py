"""TRUNCATE beside a real Cassandra and a real PostgreSQL: what lies before it is gone, what lies behind it stays."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from cassandra.concurrent import execute_concurrent_with_args

from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.postgres import PostgresServer
from tests.support.both_sides import compare_keyspace, describe
from tests.support.databases import create_database, drop_database
from tests.support.pipeline_process import configuration, started
from tests.support.replica import Replica, eventually

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("cdc")]

# A bound for waiting, not a measurement.
ARRIVAL_S_MAX = 20.0
START_S_MAX = 40.0
LARGE_ROWS = 1500
FUTURE = 9_000_000_000_000_000
TABLES = (
    "CREATE TABLE {ks}.large (id int PRIMARY KEY, v text) WITH cdc = true",
    "CREATE TABLE {ks}.events (p int, k int, owner text static, a text, tags set<text>, PRIMARY KEY (p, k)) "
    "WITH cdc = true",
    "CREATE TABLE {ks}.untouched (id int PRIMARY KEY, v text) WITH cdc = true",
)
# Whatever a table may hold: past, present and future writes, and deletions of every reach with future timestamps.
BEFORE = (
    "INSERT INTO {ks}.events (p, k, owner, a, tags) VALUES (1, 1, 'past', 'past', {'x'}) USING TIMESTAMP 1000",
    "INSERT INTO {ks}.events (p, k, owner, a, tags) VALUES (1, 2, 'now', 'now', {'y'})",
    f"INSERT INTO {{ks}}.events (p, k, owner, a) VALUES (1, 3, 'future', 'future') USING TIMESTAMP {FUTURE}",
    f"DELETE FROM {{ks}}.events USING TIMESTAMP {FUTURE} WHERE p = 1 AND k = 4",
    f"DELETE FROM {{ks}}.events USING TIMESTAMP {FUTURE} WHERE p = 1 AND k > 4 AND k < 9",
    f"DELETE FROM {{ks}}.events USING TIMESTAMP {FUTURE} WHERE p = 2",
    "INSERT INTO {ks}.events (p, k, a) VALUES (3, 1, 'goes')",
)
# The same keys with older timestamps: each would lose against what lay there before.
BEHIND = (
    "INSERT INTO {ks}.events (p, k, owner, a) VALUES (1, 1, 'o', 'older') USING TIMESTAMP 500",
    "UPDATE {ks}.events USING TIMESTAMP 501 SET tags = {'z'} WHERE p = 1 AND k = 1",
    "INSERT INTO {ks}.events (p, k, a) VALUES (1, 3, 'new')",
    "INSERT INTO {ks}.events (p, k, a) VALUES (1, 4, 'was deleted')",
    "INSERT INTO {ks}.events (p, k, a) VALUES (1, 5, 'was in a range')",
    "UPDATE {ks}.events SET owner = 'back' WHERE p = 2",
)
AFTERWARDS = [
    (1, 1, "o", "older"),
    (1, 3, "o", "new"),
    (1, 4, "o", "was deleted"),
    (1, 5, "o", "was in a range"),
    (2, None, "back", None),
]
EVENTS = "SELECT p, k, owner, a FROM {ks}.events_with_static ORDER BY p, k"


@pytest.fixture(scope="module")
def replica(
    cassandra_node: CassandraNode,
    cassandra_session: Any,
    postgres_server: PostgresServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Replica]:
    """A pipeline that has not begun its snapshot when the first test begins."""
    name = f"trunc_{uuid.uuid4().hex[:8]}"
    session = cassandra_session
    session.execute(f"CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}")
    for statement in TABLES:
        session.execute(statement.replace("{ks}", name))
    insert = session.prepare(f"INSERT INTO {name}.large (id, v) VALUES (?, ?)")
    execute_concurrent_with_args(session, insert, [(i, f"row {i}") for i in range(LARGE_ROWS)], concurrency=64)
    session.execute(f"INSERT INTO {name}.untouched (id, v) VALUES (1, 'before')")
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as admin:
        create_database(admin, name)
        dsn = postgres_server.dsn(name)
        document = configuration(cassandra_node, dsn, tmp_path_factory.mktemp("state") / "s", [{"source": f"{name}.*"}])
        document["snapshot"] |= {"page_rows": 20, "workers": 1}
        directory = tmp_path_factory.mktemp("pipeline")
        with started(directory, document) as process, psycopg.connect(dsn, autocommit=True) as connection:
            replica = Replica(session, name, connection, process)
            eventually(lambda: _reading(replica), True, process, START_S_MAX)
            replica.cql("TRUNCATE {ks}.large")
            replica.cql("INSERT INTO {ks}.large (id, v) VALUES (1, 'again') USING TIMESTAMP 5")
            process.wait(lambda: bool(process.status()["truncations"]["applied"]), "the truncation")
            yield replica
        drop_database(admin, name)
    session.execute(f"DROP KEYSPACE {name}", timeout=60)


def _reading(replica: Replica) -> bool:
    """Whether the snapshot of the large table is on its way."""
    try:
        return replica.rows("SELECT count(*) > 0 FROM {ks}.large") == [(True,)]
    except psycopg.errors.UndefinedTable:
        return False


def equal(replica: Replica) -> None:
    comparisons = compare_keyspace(replica.session, replica.connection.info.dsn, replica.schema)
    assert sum(one.differences for one in comparisons) == 0, describe(comparisons)


def tombstones(replica: Replica, table: str) -> list[Any]:
    return replica.rows(
        "SELECT (SELECT count(*) FROM casscade.row_tombstones r JOIN casscade.targets t USING (target_no) "
        f"WHERE t.source_name = '{replica.schema}.{table}') + "
        "(SELECT count(*) FROM casscade.range_tombstones r JOIN casscade.targets t USING (target_no) "
        f"WHERE t.source_name = '{replica.schema}.{table}')"
    )


@pytest.mark.requirement("US-1")
def test_a_truncation_during_the_snapshot_leaves_only_what_follows(replica: Replica) -> None:
    replica.arrives("SELECT id, v FROM {ks}.large ORDER BY id LIMIT 2", [(1, "again")])
    replica.arrives("SELECT count(*) FROM casscade.snapshot_tasks WHERE state <> 'done'", [(0,)])
    replica.arrives("SELECT v FROM {ks}.untouched WHERE id = 1", [("before",)])
    equal(replica)


@pytest.mark.requirement("FR-025")
def test_what_lies_before_is_gone_and_what_follows_stays_whatever_its_timestamps(replica: Replica) -> None:
    for statement in BEFORE:
        replica.cql(statement)
    replica.arrives("SELECT a FROM {ks}.events WHERE p = 1 AND k = 3", [("future",)])
    replica.arrives("SELECT a FROM {ks}.events WHERE p = 3", [("goes",)])
    assert tombstones(replica, "events") != [(0,)]
    before = replica.process.status()["truncations"]["applied"]
    replica.cql("TRUNCATE {ks}.events")
    for statement in BEHIND:
        replica.cql(statement)
    replica.cql("INSERT INTO {ks}.untouched (id, v) VALUES (2, 'meanwhile')")
    assert replica.arrives(EVENTS, AFTERWARDS) < ARRIVAL_S_MAX
    replica.arrives("SELECT id, v FROM {ks}.untouched WHERE id < 3 ORDER BY id", [(1, "before"), (2, "meanwhile")])
    assert tombstones(replica, "events") == [(0,)]
    replica.process.wait_caught_up()
    equal(replica)
    status = replica.process.status()["truncations"]
    assert status["applied"] == before + 1
    assert abs(status["truncated_at"] - time.time()) < 600


def test_two_truncations_one_after_the_other(replica: Replica) -> None:
    for number, value in enumerate(("first", "second", "third")):
        replica.cql(f"INSERT INTO {{ks}}.events (p, k, a) VALUES (7, {number}, '{value}') USING TIMESTAMP {9 - number}")
        if number < 2:
            replica.cql("TRUNCATE {ks}.events")
    replica.arrives(EVENTS, [(7, 2, None, "third")])
    equal(replica)


@pytest.mark.requirement("FR-023")
def test_a_truncation_while_the_pipeline_is_down(replica: Replica) -> None:
    replica.process.wait_caught_up()
    assert replica.process.stop().code == 0
    for statement in BEFORE:
        replica.cql(statement)
    replica.cql("TRUNCATE {ks}.events")
    for statement in BEHIND:
        replica.cql(statement)
    replica.process.start()
    replica.process.wait_ready()
    replica.arrives(EVENTS, AFTERWARDS)
    equal(replica)
    assert replica.process.probe("/metrics")
    assert "Traceback" not in replica.process.text()


@pytest.mark.requirement("FR-003")
def test_a_pipeline_that_another_process_sends_back_goes_on(replica: Replica) -> None:
    replica.process.wait_caught_up()
    with replica.connection.transaction():
        replica.connection.execute("UPDATE casscade.truncations SET rewind_due = true")
        replica.connection.execute("UPDATE casscade.positions SET epoch = epoch + 1")
    replica.cql("INSERT INTO {ks}.untouched (id, v) VALUES (3, 'after all')")
    replica.arrives("SELECT v FROM {ks}.untouched WHERE id = 3", [("after all",)])
    assert replica.rows("SELECT count(*) FROM casscade.truncations WHERE rewind_due") == [(0,)]
    replica.process.wait_caught_up()
    equal(replica)
