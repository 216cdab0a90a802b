"""What a database must be before a pipeline works with it."""

from __future__ import annotations

import uuid
from pathlib import Path

import psycopg
import pytest

from casscade.config.load import parse_config
from casscade.core.errors import ConfigurationError
from casscade.core.position import Position
from casscade.load.control import ControlStore
from casscade.load.topics import KnownTopic, TopicStore
from casscade.pipeline.database import Database
from casscade.pipeline.monitor import Monitor
from casscade.pipeline.snapshots import IDLE_S, Snapshots
from casscade.snapshot.ranges import split_ring
from tests.support.databases import create_database, drop_database

pytestmark = pytest.mark.servers

CONFIG = """
name: test
cassandra: {{contact_points: ["127.0.0.1"], local_datacenter: datacenter1}}
capture: {{cdc_directory: cdc, state_directory: state}}
postgres: {{dsn: "{dsn}"}}
load: {{pool: {{min: 1, max: 2}}}}
tables: [{{source: "shop.*"}}]
"""


def database_at(dsn: str) -> Database:
    return Database(parse_config(CONFIG.format(dsn=dsn).encode(), "test.yaml", {}, Path("/nowhere")))


@pytest.mark.requirement("FR-045")
def test_transactions_commit_over_pooled_connections(database: str) -> None:
    pooled = database_at(database)
    pooled.open()
    try:
        with pooled.transaction() as connection:
            connection.execute("CREATE TABLE t (v int)")
        with pooled.transaction() as connection:
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    finally:
        pooled.close()


@pytest.mark.requirement("FR-019")
def test_a_network_that_swallows_everything_is_noticed_within_half_a_minute(database: str) -> None:
    with database_at(database).connect() as connection:
        said = connection.info.get_parameters()
    assert int(said["tcp_user_timeout"]) <= 30_000
    assert int(said["keepalives_idle"]) + int(said["keepalives_count"]) * int(said["keepalives_interval"]) <= 30


@pytest.mark.requirement("SC-009")
def test_the_pool_does_not_sleep_for_minutes_after_an_outage(database: str) -> None:
    """Its pauses double with each failure until it gives up; only what it has given up begins anew at once."""
    pooled = database_at(database)
    assert pooled._pool.reconnect_timeout <= 5.0


def test_what_the_connection_string_says_of_tcp_stays(database: str) -> None:
    with database_at(f"{database}?keepalives_idle=77&tcp_user_timeout=5000").connect() as connection:
        said = connection.info.get_parameters()
    assert (said["keepalives_idle"], said["tcp_user_timeout"]) == ("77", "5000")


@pytest.mark.requirement("FR-019")
def test_whoever_stops_within_a_transaction_loses_it(database: str) -> None:
    """Else a loader that was stopped while it takes a partition over would keep all others from it."""
    pooled = database_at(database)
    pooled.open()
    show = "SHOW idle_in_transaction_session_timeout"
    try:
        with pooled.transaction() as connection:
            assert connection.execute(show).fetchone() == ("1min",)
        with pooled.connect() as connection:
            assert connection.execute(show).fetchone() == ("1min",)
    finally:
        pooled.close()


@pytest.mark.requirement("FR-043")
def test_all_loaders_go_by_the_topic_that_the_first_one_found(database: str) -> None:
    control = ControlStore("test", "casscade")
    store = TopicStore(control)
    with psycopg.connect(database, autocommit=True) as connection:
        control.migrate(connection)
        assert store.known(connection, "t") is None
        first = store.save(connection, "t", KnownTopic("id1", 2, [0, 7]))
        assert first == KnownTopic("id1", 2, (0, 7))
        assert store.save(connection, "t", KnownTopic("id2", 3, [1, 1, 1])) == first
        assert store.known(connection, "other") is None
    assert [first.beginning(number) for number in range(3)] == [Position(0, 0), Position(0, 7), Position(0, 0)]


def test_another_encoding_than_utf8_is_refused(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        name = f"{connection.info.dbname}_ascii"
        create_database(connection, name, encoding="SQL_ASCII")
        other = database.replace(connection.info.dbname, name)
        with pytest.raises(ConfigurationError) as caught:
            database_at(other).open()
        assert caught.value.code == "postgres_encoding"
        assert "SQL_ASCII" in caught.value.what
        drop_database(connection, name)


def test_a_server_that_is_not_there_is_named(database: str) -> None:
    with psycopg.connect(database) as connection:
        port = connection.info.port
    with pytest.raises(ConfigurationError) as caught:
        database_at(database.replace(f":{port}/", ":1/")).open()
    assert caught.value.code == "postgres_unreachable"
    assert "127.0.0.1" in caught.value.what
    assert caught.value.hint


@pytest.mark.requirement("FR-035")
@pytest.mark.requirement("SC-014")
def test_missing_rights_are_named_with_a_remedy(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        role = f"{connection.info.dbname}_reader"
        connection.execute(f"CREATE ROLE {role} LOGIN".encode())
        pooled = database_at(database.replace("//postgres@", f"//{role}@"))
        try:
            pooled.open()
            with pytest.raises(ConfigurationError) as caught, pooled.transaction() as limited:
                limited.execute("CREATE SCHEMA casscade")
            assert caught.value.code == "postgres_refused"
            assert "permission denied for database" in caught.value.what
            assert "right to create schemas" in caught.value.hint
        finally:
            pooled.close()
            connection.execute(f"DROP ROLE {role}".encode())


def test_rows_that_were_copied_are_read_again_even_if_no_more_are_wanted(database: str) -> None:
    text = CONFIG.format(dsn=database) + "snapshot: {mode: never}\n"
    config = parse_config(text.encode(), "test.yaml", {}, Path("/nowhere"))
    pooled = Database(config)
    pooled.open()
    try:
        monitor = Monitor("test")
        snapshots = Snapshots(config, pooled, monitor)
        with pooled.transaction() as connection:
            ControlStore("test", config.postgres.control_schema).migrate(connection)
        assert not snapshots.plan([])
        with pooled.transaction() as connection:
            snapshots.tasks.create_tasks(connection, uuid.uuid4(), "shop.orders", split_ring(1))
        assert snapshots.plan([])
        assert snapshots.tick() == IDLE_S
        # Nor does a table that is gone keep a pipeline busy which does read.
        reading = Snapshots(parse_config(text.replace("never", "initial").encode(), "", {}, Path("/")), pooled, monitor)
        assert reading.plan([])
        assert reading.tick() == IDLE_S
        assert monitor.status()["snapshot"][0]["eta_seconds"] is None
    finally:
        pooled.close()
