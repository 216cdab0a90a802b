"""A pipeline beside a real Cassandra and a real PostgreSQL: what is written on the one side is there on the other."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.util import Duration
from click.testing import CliRunner

from casscade.cli.main import main
from casscade.cql.types import SIMPLE_TYPES
from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.postgres import PostgresServer
from casscade.testing.samples import EVERYTHING, tables_for
from casscade.testing.tables import create_all
from tests.support.both_sides import compare_keyspace, describe
from tests.support.databases import create_database, drop_database
from tests.support.fill import fill
from tests.support.pipeline_process import configuration, running
from tests.support.replica import Replica

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("cdc")]

# A bound for waiting, not a measurement: latency is measured by the demo, on a machine that does nothing else.
ARRIVAL_S_MAX = 20.0
SECRET = "the-excluded-value"
TABLES = (
    "CREATE TABLE {ks}.existing (id int PRIMARY KEY, name text, amount decimal) WITH cdc = true",
    "CREATE TABLE {ks}.events (p int, k int, owner text static, a text, b int, tags set<text>, "
    "attributes map<text, int>, PRIMARY KEY (p, k)) WITH cdc = true",
    "CREATE TABLE {ks}.people (id int PRIMARY KEY, name text, password text, notes set<text>, "
    "phones map<text, text>) WITH cdc = true",
    "CREATE TABLE {ks}.ruled (id int PRIMARY KEY, name text, country text, email text, age text) WITH cdc = true",
    "CREATE TABLE {ks}.hidden (id int PRIMARY KEY, v text) WITH cdc = true",
    "CREATE TABLE {ks}.unwatched (id int PRIMARY KEY, v text)",
    'CREATE TABLE {ks}."MixedCase" ("Id" int PRIMARY KEY, "Some Value" text, "select" int) WITH cdc = true',
    "CREATE TABLE {ks}.evolving (id int PRIMARY KEY, a int) WITH cdc = true",
    "CREATE TABLE {ks}.types (id int PRIMARY KEY, c_ascii ascii, c_bigint bigint, c_blob blob, c_boolean boolean, "
    "c_date date, c_decimal decimal, c_double double, c_duration duration, c_float float, c_inet inet, c_int int, "
    "c_smallint smallint, c_text text, c_time time, c_timestamp timestamp, c_timeuuid timeuuid, c_tinyint tinyint, "
    "c_uuid uuid, c_varint varint) WITH cdc = true",
)
EXISTING = 2000
RULES: dict[str, Any] = {
    "where": "id > 0 and country = 'DE'",
    "transforms": [
        {"mask": {"columns": ["email"], "with": "partial"}},
        {"case": {"columns": ["name"], "to": "upper"}},
        {"cast": {"columns": ["age"], "to": "int"}},
    ],
}


@pytest.fixture(scope="module")
def replica(
    cassandra_node: CassandraNode,
    cassandra_session: Any,
    postgres_server: PostgresServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Replica]:
    """A pipeline over some of the tables above, with rows that were there before it."""
    name = f"shop_{uuid.uuid4().hex[:8]}"
    session = cassandra_session
    session.execute(f"CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}")
    for statement in (*TABLES, *create_all("{ks}", tables_for(cassandra_node.version, (EVERYTHING,)))):
        session.execute(statement.replace("{ks}", name))
    insert = session.prepare(f"INSERT INTO {name}.existing (id, name, amount) VALUES (?, ?, ?)")
    execute_concurrent_with_args(
        session, insert, [(i, f"name {i}", Decimal(i) / 100) for i in range(EXISTING)], concurrency=64
    )
    session.execute(f"INSERT INTO {name}.people (id, name, password) VALUES (1, 'before', '{SECRET}')")
    session.execute(f"INSERT INTO {name}.ruled (id, name, country, email) VALUES (1, 'ada', 'DE', '{SECRET}')")
    session.execute(f"UPDATE {name}.people SET notes = {{'{SECRET}'}} WHERE id = 1")
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as admin:
        create_database(admin, name)
        dsn = postgres_server.dsn(name)
        tables: list[dict[str, Any]] = [
            {"source": f"{name}.{table}"}
            for table in ("existing", "events", "MixedCase", "evolving", "types", "everything")
        ]
        tables.append({"source": f"{name}.ruled", **RULES})
        tables.append({"source": f"{name}.people", "columns": {"exclude": ["password", "notes", "phones"]}})
        directory: Path = tmp_path_factory.mktemp("pipeline")
        document = configuration(cassandra_node, dsn, directory / "state", tables)
        with (
            running(directory, document, executed=True) as process,
            psycopg.connect(dsn, autocommit=True) as connection,
        ):
            yield Replica(session, name, connection, process)
        drop_database(admin, name)
    session.execute(f"DROP KEYSPACE {name}", timeout=60)


@pytest.mark.requirement("US-1")
@pytest.mark.requirement("FR-001")
def test_existing_rows_arrive(replica: Replica) -> None:
    replica.process.wait_caught_up()
    replica.arrives(
        f"SELECT count(*), min(name), max(amount) FROM {{ks}}.existing WHERE id < {EXISTING}",
        [(EXISTING, "name 0", Decimal(EXISTING - 1) / 100)],
    )


def test_a_table_is_read_again_while_the_pipeline_runs(replica: Replica) -> None:
    def snapshot(command: str, *arguments: str) -> tuple[int, str]:
        given = ["snapshot", command, "-c", str(replica.process.config_file), *arguments]
        result = CliRunner().invoke(main, given)
        return result.exit_code, result.output

    table = f"{replica.schema}.existing"
    replica.process.wait_caught_up()
    replica.connection.execute(f"DELETE FROM {table} WHERE id < 10".encode())
    unchanged = f"{table}: it has a snapshot, which stays as it is (--again begins anew)\n"
    assert snapshot("start", "--table", table) == (0, unchanged)
    assert snapshot("pause", "--table", table)[0] == 0
    assert snapshot("start", "--table", table, "--again") == (0, f"{table}: 8 ranges are to be read\n")
    replica.cql(f"INSERT INTO {{ks}}.existing (id, name) VALUES ({EXISTING}, 'the stream goes on')")
    replica.arrives(f"SELECT name FROM {{ks}}.existing WHERE id = {EXISTING}", [("the stream goes on",)])
    replica.arrives("SELECT count(*) FROM {ks}.existing WHERE id < 10", [(0,)])
    assert replica.process.probe("/readyz")
    assert f"{table}: 0.0%, 0 rows, 0 of 8 ranges, paused" in snapshot("status")[1]
    assert snapshot("resume")[0] == 0
    replica.arrives("SELECT count(*) FROM {ks}.existing WHERE id < 10", [(10,)])
    for other in ("hidden", "unwatched", "nothing"):
        code, output = snapshot("start", "--table", f"{replica.schema}.{other}")
        assert code == 2
        assert "the configuration does not replicate it" in output


@pytest.mark.requirement("US-1")
def test_an_insert_arrives_within_two_seconds(replica: Replica) -> None:
    replica.cql("INSERT INTO {ks}.events (p, k, a, b) VALUES (1, 1, 'x', 7)")
    took = replica.arrives("SELECT k, a, b, tags FROM {ks}.events WHERE p = 1", [(1, "x", 7, None)])
    assert took < ARRIVAL_S_MAX


@pytest.mark.requirement("US-1")
@pytest.mark.requirement("FR-002")
def test_updates_change_what_they_name_and_keep_the_rest(replica: Replica) -> None:
    replica.cql("INSERT INTO {ks}.events (p, k, a, b) VALUES (2, 1, 'x', 7)")
    replica.arrives("SELECT a, b FROM {ks}.events WHERE p = 2", [("x", 7)])
    replica.cql("UPDATE {ks}.events SET b = 8 WHERE p = 2 AND k = 1")
    took = replica.arrives("SELECT a, b FROM {ks}.events WHERE p = 2", [("x", 8)])
    assert took < ARRIVAL_S_MAX
    replica.cql("UPDATE {ks}.events SET a = null WHERE p = 2 AND k = 1")
    replica.arrives("SELECT a, b FROM {ks}.events WHERE p = 2", [(None, 8)])
    replica.cql("INSERT INTO {ks}.events (p, k, a, b) VALUES (2, 1, 'whole', 9)")
    replica.arrives("SELECT a, b FROM {ks}.events WHERE p = 2", [("whole", 9)])


@pytest.mark.requirement("US-1")
def test_an_update_makes_a_row_that_goes_with_its_last_value(replica: Replica) -> None:
    replica.cql("UPDATE {ks}.events SET b = 1 WHERE p = 3 AND k = 1")
    replica.arrives("SELECT k, b FROM {ks}.events WHERE p = 3", [(1, 1)])
    replica.cql("DELETE b FROM {ks}.events WHERE p = 3 AND k = 1")
    replica.arrives("SELECT k, b FROM {ks}.events WHERE p = 3", [])


@pytest.mark.requirement("US-1")
@pytest.mark.requirement("FR-007")
def test_a_deleted_row_goes(replica: Replica) -> None:
    for number in (1, 2):
        replica.cql(f"INSERT INTO {{ks}}.events (p, k, a) VALUES (4, {number}, 'x')")
    replica.arrives("SELECT k FROM {ks}.events WHERE p = 4 ORDER BY k", [(1,), (2,)])
    replica.cql("DELETE FROM {ks}.events WHERE p = 4 AND k = 1")
    assert replica.arrives("SELECT k FROM {ks}.events WHERE p = 4", [(2,)]) < ARRIVAL_S_MAX


@pytest.mark.requirement("US-1")
@pytest.mark.requirement("FR-007")
def test_ranges_and_partitions_go(replica: Replica) -> None:
    for number in range(10):
        replica.cql(f"INSERT INTO {{ks}}.events (p, k, a) VALUES (5, {number}, 'x')")
    replica.cql("UPDATE {ks}.events SET owner = 'me' WHERE p = 5")
    replica.arrives("SELECT count(*) FROM {ks}.events WHERE p = 5", [(10,)])
    replica.cql("DELETE FROM {ks}.events WHERE p = 5 AND k > 2 AND k <= 6")
    replica.arrives("SELECT k FROM {ks}.events WHERE p = 5 ORDER BY k", [(k,) for k in (0, 1, 2, 7, 8, 9)])
    replica.cql("DELETE FROM {ks}.events WHERE p = 5 AND k >= 8")
    replica.arrives("SELECT k FROM {ks}.events WHERE p = 5 ORDER BY k", [(k,) for k in (0, 1, 2, 7)])
    assert replica.rows("SELECT owner FROM {ks}.events_static WHERE p = 5") == [("me",)]
    replica.cql("DELETE FROM {ks}.events WHERE p = 5")
    replica.arrives("SELECT k FROM {ks}.events WHERE p = 5", [])
    replica.arrives("SELECT owner FROM {ks}.events_static WHERE p = 5", [])


@pytest.mark.requirement("FR-025")
def test_a_late_write_does_not_come_back(replica: Replica) -> None:
    replica.cql("DELETE FROM {ks}.events USING TIMESTAMP 2000 WHERE p = 6")
    replica.cql("INSERT INTO {ks}.events (p, k, a) VALUES (6, 1, 'old') USING TIMESTAMP 1000")
    replica.cql("INSERT INTO {ks}.events (p, k, a) VALUES (6, 2, 'new') USING TIMESTAMP 3000")
    replica.arrives("SELECT k, a FROM {ks}.events WHERE p = 6", [(2, "new")])
    replica.cql("UPDATE {ks}.events USING TIMESTAMP 2500 SET a = 'older', b = 1 WHERE p = 6 AND k = 2")
    replica.arrives("SELECT k, a, b FROM {ks}.events WHERE p = 6", [(2, "new", 1)])


def test_static_columns_stand_beside_the_rows(replica: Replica) -> None:
    replica.cql("UPDATE {ks}.events SET owner = 'alone' WHERE p = 8")
    replica.arrives("SELECT p, owner, k FROM {ks}.events_with_static WHERE p = 8", [(8, "alone", None)])
    replica.cql("INSERT INTO {ks}.events (p, k, owner, a) VALUES (8, 1, 'both', 'x')")
    replica.arrives("SELECT p, owner, k, a FROM {ks}.events_with_static WHERE p = 8", [(8, "both", 1, "x")])


@pytest.mark.requirement("FR-010")
def test_elements_of_sets_and_maps(replica: Replica) -> None:
    replica.cql("INSERT INTO {ks}.events (p, k, tags, attributes) VALUES (9, 1, {'b', 'a'}, {'x': 1})")
    query = "SELECT tags, attributes FROM {ks}.events WHERE p = 9"
    replica.arrives(query, [(["a", "b"], {"x": 1})])
    replica.cql("UPDATE {ks}.events SET tags = tags + {'c'}, attributes['y'] = 2 WHERE p = 9 AND k = 1")
    replica.arrives(query, [(["a", "b", "c"], {"x": 1, "y": 2})])
    replica.cql("UPDATE {ks}.events SET tags = tags - {'a'}, attributes = attributes - {'x'} WHERE p = 9 AND k = 1")
    replica.arrives(query, [(["b", "c"], {"y": 2})])
    replica.cql("UPDATE {ks}.events SET tags = {'only'}, attributes = null WHERE p = 9 AND k = 1")
    replica.arrives(query, [(["only"], None)])


@pytest.mark.requirement("US-1")
@pytest.mark.requirement("FR-006")
def test_only_configured_tables_are_replicated(replica: Replica) -> None:
    replica.cql(
        "BEGIN BATCH INSERT INTO {ks}.hidden (id, v) VALUES (1, 'not this'); "
        "INSERT INTO {ks}.events (p, k, a) VALUES (10, 1, 'this'); "
        "INSERT INTO {ks}.unwatched (id, v) VALUES (1, 'nor this'); APPLY BATCH"
    )
    replica.arrives("SELECT a FROM {ks}.events WHERE p = 10", [("this",)])
    found = replica.rows(
        f"SELECT table_name::text FROM information_schema.tables WHERE table_schema = '{replica.schema}' ORDER BY 1"
    )
    assert [name for (name,) in found] == sorted(
        [
            "MixedCase",
            "events",
            "events_static",
            "events_with_static",
            "everything",
            "evolving",
            "existing",
            "people",
            "ruled",
            "types",
        ]
    )


@pytest.mark.requirement("FR-006")
def test_a_batch_on_one_partition_keeps_its_replicated_part(replica: Replica) -> None:
    # One mutation with updates of three tables: same keyspace, same partition key.
    replica.cql(
        "BEGIN UNLOGGED BATCH INSERT INTO {ks}.hidden (id, v) VALUES (11, 'not this'); "
        "INSERT INTO {ks}.existing (id, name) VALUES (1000011, 'this'); "
        "INSERT INTO {ks}.unwatched (id, v) VALUES (11, 'nor this'); "
        "INSERT INTO {ks}.people (id, name) VALUES (1000011, 'and this'); APPLY BATCH"
    )
    replica.arrives("SELECT name FROM {ks}.existing WHERE id = 1000011", [("this",)])
    replica.arrives("SELECT name FROM {ks}.people WHERE id = 1000011", [("and this",)])


@pytest.mark.requirement("FR-006")
@pytest.mark.requirement("FR-030")
def test_excluded_columns_never_reach_postgres(replica: Replica) -> None:
    replica.cql(f"INSERT INTO {{ks}}.people (id, name, password) VALUES (2, 'x', '{SECRET}')")
    replica.cql(f"UPDATE {{ks}}.people SET password = '{SECRET}', notes = {{'{SECRET}'}} WHERE id = 3")
    replica.cql(f"UPDATE {{ks}}.people USING TTL 1000 SET password = '{SECRET}' WHERE id = 2")
    replica.cql(f"UPDATE {{ks}}.people SET phones['{SECRET}'] = '{SECRET}' WHERE id = 2")
    replica.arrives("SELECT id, name FROM {ks}.people WHERE id < 10 ORDER BY id", [(1, "before"), (2, "x"), (3, None)])
    replica.process.wait_caught_up()
    _is_nowhere(replica, SECRET)


def _is_nowhere(replica: Replica, secret: str) -> None:
    """Neither in any table, nor in anything that the process wrote or serves."""
    relations = replica.rows(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND schemaname !~ '^pg_temp'"
    )
    assert len(relations) > 9
    for (relation,) in relations:  # a whole row as text shows bytea in hex
        found = replica.rows(
            f"SELECT count(*) FROM {relation} AS t WHERE t::text LIKE '%{secret}%' "
            f"OR t::text LIKE '%{secret.encode().hex()}%'"
        )
        assert found == [(0,)], relation
    assert secret not in replica.process.text()
    for path in ("/metrics", "/healthz", "/status", "/"):
        assert secret not in replica.process.page(path), path


@pytest.mark.requirement("FR-006")
@pytest.mark.requirement("FR-013")
@pytest.mark.requirement("FR-030")
def test_rules_decide_rows_and_values(replica: Replica) -> None:
    query = "SELECT id, name, email, age FROM {ks}.ruled ORDER BY id"
    masked = "*" * (len(SECRET) - 4) + SECRET[-4:]
    first = (1, "ADA", masked, None)
    replica.arrives(query, [first])
    insert = "INSERT INTO {ks}.ruled (id, name, country, email, age) VALUES "
    replica.cql(f"{insert} (2, 'eve', 'FR', '{SECRET}', '7')")
    replica.cql(f"{insert} (-1, 'out', 'DE', '{SECRET}', '7')")
    replica.cql(f"{insert} (3, 'bad', 'DE', '{SECRET}', 'no number')")
    replica.cql(f"{insert} (4, 'zoe', 'DE', '{SECRET}', '8')")
    replica.arrives(query, [first, (4, "ZOE", masked, 8)])
    # One column is written: a row comes whole, another leaves.
    replica.cql("UPDATE {ks}.ruled SET country = 'DE' WHERE id = 2")
    replica.cql("UPDATE {ks}.ruled SET country = 'AT' WHERE id = 4")
    replica.arrives(query, [first, (2, "EVE", masked, 7)])
    letters = "SELECT code, message FROM casscade.dead_letters WHERE source_name = '{ks}.ruled'"
    ((code, message),) = replica.rows(letters.replace("{ks}", replica.schema))
    assert code == "rule_failed"
    assert "cast" in message
    replica.process.wait_caught_up()
    _is_nowhere(replica, SECRET)
    shown = CliRunner().invoke(main, ["run", "-c", str(replica.process.config_file), "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "nothing was written" in shown.output
    assert f"{replica.schema}.ruled: " in shown.output
    assert SECRET not in shown.output


def test_names_keep_their_case(replica: Replica) -> None:
    replica.cql('INSERT INTO {ks}."MixedCase" ("Id", "Some Value", "select") VALUES (1, \'x\', 2)')
    replica.arrives('SELECT "Id", "Some Value", "select" FROM {ks}."MixedCase"', [(1, "x", 2)])


NOW = datetime(2024, 2, 29, 23, 59, 59, 999000, UTC)
TYPES: dict[str, list[tuple[Any, Any]]] = {
    "ascii": [("plain", "plain"), ("", "")],
    "bigint": [(-(2**63), -(2**63)), (2**63 - 1, 2**63 - 1)],
    "blob": [(b"\x00\xff", b"\x00\xff"), (b"", b"")],
    "boolean": [(True, True), (False, False)],
    "date": [(date(1969, 12, 31), date(1969, 12, 31)), (date(9999, 12, 31), date(9999, 12, 31))],
    "decimal": [(Decimal("-0.000001"), Decimal("-0.000001")), (Decimal("12345678901234567890.5"),) * 2],
    "double": [(1.7976931348623157e308, 1.7976931348623157e308), (float("-inf"), float("-inf"))],
    "duration": [(Duration(14, 3, 5_000_000_000), timedelta(days=14 * 30 + 60 + 3 - 55, seconds=5)), (None, None)],
    "float": [(0.5, 0.5), (-1.5, -1.5)],
    "inet": [("10.0.0.1", ip_address("10.0.0.1")), ("2001:db8::1", ip_address("2001:db8::1"))],
    "int": [(-(2**31), -(2**31)), (2**31 - 1, 2**31 - 1)],
    "smallint": [(-(2**15), -(2**15)), (2**15 - 1, 2**15 - 1)],
    "text": [("grüße 😀 'quoted' \\", "grüße 😀 'quoted' \\"), ("", "")],
    "time": [("23:59:59.999999", "23:59:59.999999"), ("00:00:00", "00:00:00")],
    "timestamp": [(NOW, NOW), (datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC))],
    "timeuuid": [(uuid.UUID("e4eaaaf2-d142-11b1-a6a1-0a0a0a0a0a0a"),) * 2, (uuid.UUID(int=1 << 76),) * 2],
    "tinyint": [(-128, -128), (127, 127)],
    "uuid": [(uuid.UUID(int=0),) * 2, (uuid.UUID(int=2**128 - 1),) * 2],
    "varint": [(-(10**40), Decimal(-(10**40))), (0, Decimal(0))],
}


@pytest.mark.requirement("FR-009")
@pytest.mark.requirement("SC-002")
def test_every_simple_type_arrives_equal(replica: Replica) -> None:
    names = [f"c_{name}" for name in TYPES]
    places = ", ".join(["?"] * (len(names) + 1))
    insert = replica.session.prepare(f"INSERT INTO {replica.schema}.types (id, {', '.join(names)}) VALUES ({places})")
    for number in (0, 1):
        replica.session.execute(insert, [number, *(values[number][0] for values in TYPES.values())])
    replica.session.execute(insert, [2, *(None for _ in TYPES)])
    shown = ", ".join(
        {"c_time": "c_time::text", "c_duration": "justify_interval(c_duration) - c_duration + c_duration"}.get(n, n)
        for n in names
    )
    replica.arrives("SELECT count(*) FROM {ks}.types", [(3,)])
    for number in (0, 1, 2):
        (found,) = replica.rows(f"SELECT {shown} FROM {{ks}}.types WHERE id = {number}")
        for name, value, expected in zip(TYPES, found, TYPES.values(), strict=True):
            if name != "duration":
                assert value == (expected[number][1] if number < 2 else None), name
    assert replica.rows("SELECT c_duration::text FROM {ks}.types ORDER BY id") == [
        ("1 year 2 mons 3 days 00:00:05",),
        (None,),
        (None,),
    ]


@pytest.mark.requirement("US-3")
@pytest.mark.requirement("FR-016")
@pytest.mark.requirement("SC-011")
def test_a_new_column_is_carried_over_while_running(replica: Replica) -> None:
    pid = replica.process.status()["pid"]
    replica.cql("INSERT INTO {ks}.evolving (id, a) VALUES (1, 1)")
    replica.cql("ALTER TABLE {ks}.evolving ADD b text")
    replica.cql("INSERT INTO {ks}.evolving (id, a, b) VALUES (2, 2, 'new')")
    replica.arrives("SELECT id, a, b FROM {ks}.evolving ORDER BY id", [(1, 1, None), (2, 2, "new")], 10.0)
    replica.cql("UPDATE {ks}.evolving SET b = 'later' WHERE id = 1")
    replica.arrives("SELECT b FROM {ks}.evolving ORDER BY id", [("later",), ("new",)])
    assert replica.process.status()["pid"] == pid
    assert replica.process.probe("/readyz")


@pytest.mark.requirement("US-2")
@pytest.mark.requirement("FR-005")
@pytest.mark.requirement("FR-023")
def test_a_stopped_pipeline_goes_on_where_it_was(replica: Replica) -> None:
    replica.cql("INSERT INTO {ks}.events (p, k, a) VALUES (12, 1, 'before')")
    replica.arrives("SELECT a FROM {ks}.events WHERE p = 12", [("before",)])
    ended = replica.process.stop()
    assert ended.code == 0
    assert "Traceback" not in ended.text
    replica.cql("INSERT INTO {ks}.events (p, k, a) VALUES (12, 2, 'meanwhile')")
    replica.cql("DELETE FROM {ks}.events WHERE p = 12 AND k = 1")
    before = replica.rows("SELECT segment, segment_offset FROM casscade.positions")
    assert before > [(0, 0)]
    replica.process.start()
    replica.process.wait_ready()
    replica.arrives("SELECT k, a FROM {ks}.events WHERE p = 12", [(2, "meanwhile")])
    assert replica.rows("SELECT segment, segment_offset FROM casscade.positions") >= before


@pytest.mark.requirement("SC-001")
@pytest.mark.requirement("SC-002")
@pytest.mark.requirement("SC-005")
@pytest.mark.requirement("FR-003")
@pytest.mark.requirement("FR-009")
def test_ten_thousand_rows_of_every_type_arrive_once_and_equal(cassandra_node: CassandraNode, replica: Replica) -> None:
    rows = 10_000
    types = {column.type.name for column in EVERYTHING.columns}
    assert len(EVERYTHING.columns) == 30
    assert types == (SIMPLE_TYPES - {"counter", "empty"}) | {"list", "set", "map", "tuple", "udt", "vector"}
    (table,) = tables_for(cassandra_node.version, (EVERYTHING,))
    fill(replica.session, replica.schema, table, rows, seed=1)
    replica.arrives("SELECT count(*) FROM {ks}.everything", [(rows,)], ARRIVAL_S_MAX)
    (found,) = compare_keyspace(replica.session, replica.connection.info.dsn, replica.schema, only={"everything"})
    assert (found.rows_cassandra, found.rows_postgres, found.differences) == (rows, rows, 0), describe([found])


@pytest.mark.requirement("FR-026")
def test_the_status_tells_of_latency_and_both_sides_are_equal(replica: Replica) -> None:
    replica.cql("INSERT INTO {ks}.events (p, k, a) VALUES (13, 1, 'x')")
    replica.arrives("SELECT a FROM {ks}.events WHERE p = 13", [("x",)])
    status = replica.process.status()
    assert 0 < status["latency_seconds"]["p50"] <= status["latency_seconds"]["p99"]
    # The test of rules, which shares the pipeline, makes letters of this one kind on purpose.
    assert status["dead_letters"].keys() <= {"rule_failed"}
    assert status["capture"]["anomalies"] == {}
    comparisons = compare_keyspace(
        replica.session, replica.connection.info.dsn, replica.schema, only={"events", "MixedCase"}
    )
    assert sum(one.differences for one in comparisons) == 0, describe(comparisons)
