"""What goes wrong at a start or later ends in one clear sentence with a remedy, or is waited for; nothing is lost."""

from __future__ import annotations

import os
import random
import shutil
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.places import free_port
from casscade.devstack.postgres import PostgresServer
from casscade.load.control import ControlStore
from tests.support.both_sides import compare_keyspace, describe
from tests.support.mixed_load import create_tables, fill
from tests.support.pipeline_process import PipelineProcess, configuration, running, started
from tests.support.refused import Document, refused
from tests.support.replica import Replica, eventually

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("cdc")]


@pytest.fixture(scope="module")
def schema(cassandra_session: Any) -> Iterator[str]:
    """A keyspace with a table that has CDC and one that has not."""
    name = f"luck_{uuid.uuid4().hex[:8]}"
    cassandra_session.execute(
        f"CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    )
    cassandra_session.execute(f"CREATE TABLE {name}.t (id int PRIMARY KEY, v text) WITH cdc = true")
    cassandra_session.execute(f"CREATE TABLE {name}.plain (id int PRIMARY KEY, v text)")
    yield name
    cassandra_session.execute(f"DROP KEYSPACE {name}", timeout=60)


@pytest.fixture
def document(cassandra_node: CassandraNode, database: str, schema: str, tmp_path: Path) -> Document:
    """A configuration that works."""
    return configuration(cassandra_node, database, tmp_path / "state", [{"source": f"{schema}.t"}])


def _without_cdc(document: Document, schema: str) -> tuple[str, str]:
    document["tables"] = [{"source": f"{schema}.plain"}]
    return "table_without_cdc", f"ALTER TABLE {schema}.plain WITH cdc = true"


def _no_keyspace(document: Document, schema: str) -> tuple[str, str]:
    document["tables"] = [{"source": "nowhere.t"}]
    return "config_tables", "nowhere"


def _no_table(document: Document, schema: str) -> tuple[str, str]:
    document["tables"] = [{"source": f"{schema}.tt"}]
    return "config_tables", f"{schema}.t"


@pytest.mark.requirement("SC-014")
@pytest.mark.parametrize(
    "spoil",
    [_without_cdc, _no_keyspace, _no_table],
)
def test_a_start_that_can_not_work_is_refused(
    document: Document, schema: str, tmp_path: Path, spoil: Callable[[Document, str], tuple[str, str]]
) -> None:
    code, word = spoil(document, schema)
    with started(tmp_path / "pipeline", document) as process:
        refused(process.wait_end(), 2, code, word)


@pytest.mark.requirement("SC-014")
def test_a_port_in_use_is_named(document: Document, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        document["http"]["listen"] = f"127.0.0.1:{port}"
        with started(tmp_path, document) as process:
            refused(process.wait_end(), 2, "http_listen", str(port))


@pytest.mark.requirement("FR-017")
def test_a_table_of_the_same_name_with_other_columns_stays_untouched(
    document: Document, database: str, schema: str, tmp_path: Path
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
        connection.execute(f"CREATE TABLE {schema}.t (id text PRIMARY KEY, w int)".encode())
        connection.execute(f"INSERT INTO {schema}.t VALUES ('mine', 1)".encode())
        with started(tmp_path, document) as process:
            refused(process.wait_end(), 2, "target_mismatch", f"{schema}.t", "target:")
        assert connection.execute(f"SELECT * FROM {schema}.t".encode()).fetchall() == [("mine", 1)]
        assert connection.execute("SELECT FROM pg_namespace WHERE nspname = 'casscade'").fetchall() == []


@pytest.mark.requirement("FR-003")
def test_a_second_pipeline_on_the_directory_ends_and_leaves_the_first_alone(
    document: Document, database: str, schema: str, cassandra_session: Any, tmp_path: Path
) -> None:
    def second(name: str) -> Document:
        return {**document, "name": name, "http": {"listen": f"127.0.0.1:{free_port()}"}}

    with running(tmp_path / "first", document) as first, psycopg.connect(database, autocommit=True) as connection:
        with started(tmp_path / "same", second("test")) as same, started(tmp_path / "other", second("x")) as other:
            refused(same.wait_end(), 2, "capture_locked", "another process")
            refused(other.wait_end(), 2, "capture_locked", "another process")
        replica = Replica(cassandra_session, schema, connection, first)
        replica.cql("INSERT INTO {ks}.t (id, v) VALUES (1, 'still here')")
        replica.arrives("SELECT v FROM {ks}.t WHERE id = 1", [("still here",)])


@pytest.mark.requirement("FR-003")
def test_who_takes_a_source_over_fences_the_other(
    document: Document, schema: str, database: str, cassandra_session: Any, tmp_path: Path
) -> None:
    with running(tmp_path / "first", document) as first, psycopg.connect(database, autocommit=True) as connection:
        ControlStore(document["name"], "casscade").acquire(connection, first.status()["capture"]["source"])
        cassandra_session.execute(f"INSERT INTO {schema}.t (id, v) VALUES (2, 'x')")
        refused(first.wait_end(), 1, "epoch_superseded", "stop one of the two")


@pytest.mark.requirement("FR-021")
@pytest.mark.requirement("FR-022")
def test_a_row_that_postgres_can_not_hold_is_set_aside_and_the_others_go_on(
    document: Document, database: str, keyspace: str, cassandra_session: Any, tmp_path: Path
) -> None:
    cassandra_session.execute(f"CREATE TABLE {keyspace}.t (id text PRIMARY KEY, v int) WITH cdc = true")
    insert = cassandra_session.prepare(f"INSERT INTO {keyspace}.t (id, v) VALUES (?, ?)")
    # Beyond what PostgreSQL's index takes, and random, so that it does not compress.
    too_long = [random.Random(seed).randbytes(5000).hex() for seed in (1, 2)]
    for key in ("before", too_long[0]):
        cassandra_session.execute(insert, [key, 1])
    document["tables"] = [{"source": f"{keyspace}.t"}]
    with running(tmp_path, document) as process, psycopg.connect(database, autocommit=True) as connection:
        replica = Replica(cassandra_session, keyspace, connection, process)
        replica.arrives("SELECT id FROM {ks}.t", [("before",)])
        for key in ("a", too_long[1], "b"):
            cassandra_session.execute(insert, [key, 2])
        replica.arrives("SELECT id FROM {ks}.t ORDER BY id", [("a",), ("b",), ("before",)])
        # The row that was there before comes twice, by the snapshot and by the stream; both say what they know of it.
        letters = (
            "SELECT DISTINCT code, source_name FROM casscade.dead_letters WHERE position('{}'::bytea in mutation) > 0"
        )
        for key in too_long:
            replica.arrives(letters.replace("{}", key), [("key_too_long", f"{keyspace}.t")])
        assert set(process.status()["dead_letters"]) == {"key_too_long"}
        assert process.probe("/readyz")
        assert all(key[:40] not in process.text() for key in too_long)


@pytest.mark.requirement("US-2")
def test_sigterm_during_the_snapshot_ends_it_at_once_and_it_goes_on_later(
    document: Document, database: str, keyspace: str, cassandra_session: Any, tmp_path: Path
) -> None:
    create_tables(cassandra_session, keyspace)
    fill(cassandra_session, keyspace, 600)
    document["tables"] = [{"source": f"{keyspace}.*"}]
    document["snapshot"] = {"ranges_per_table": 100, "page_rows": 1, "workers": 1}
    count = f"SELECT count(*) FROM {keyspace}.orders".encode()
    process = PipelineProcess(tmp_path / "pipeline", document)
    with psycopg.connect(database, autocommit=True) as connection:
        try:
            process.start()
            process.wait(lambda: bool(process.status()["snapshot"]), "the start of the snapshot")
            ended = process.stop(5.0)
            assert ended.code == 0
            assert "Traceback" not in ended.text
            process.document["snapshot"] = {"ranges_per_table": 100}
            process.start()
            eventually(lambda: connection.execute(count).fetchone(), (300,), process)
        finally:
            process.kill()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may stop; not below pytest's directory, which is closed to the user it runs as."""
    directory = Path(tempfile.mkdtemp(prefix="casscade-luck-"))
    directory.chmod(0o755)
    server = PostgresServer(directory / "postgres", port=free_port(), settings={"fsync": "off"})
    try:
        server.start(owner=os.getpid())
        server.wait_ready()
        yield server
    finally:
        server.kill()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.requirement("FR-019")
@pytest.mark.requirement("SC-009")
@pytest.mark.requirement("FR-028")
def test_postgres_may_go_and_come_back_even_during_the_snapshot(
    document: Document, own_server: PostgresServer, keyspace: str, cassandra_session: Any, tmp_path: Path
) -> None:
    create_tables(cassandra_session, keyspace)
    fill(cassandra_session, keyspace, 400)
    document["postgres"]["dsn"] = own_server.dsn()
    document["tables"] = [{"source": f"{keyspace}.*"}]
    document["snapshot"] = {"ranges_per_table": 50, "page_rows": 1, "workers": 1, "rows_per_second": 80}
    with running(tmp_path / "pipeline", document) as process:
        pid = process.status()["pid"]
        process.wait(lambda: any(table["rows"] for table in process.status()["snapshot"]), "rows of the snapshot", 30.0)
        assert any(table["percent"] < 100 for table in process.status()["snapshot"])
        own_server.kill()
        eventually(lambda: process.probe("/readyz"), False, process)
        assert process.probe("/livez")
        cassandra_session.execute(f"INSERT INTO {keyspace}.customers (id, name) VALUES (1, 'meanwhile')")
        cassandra_session.execute(f"DELETE FROM {keyspace}.customers WHERE id = 10000")
        own_server.start(owner=os.getpid())
        own_server.wait_ready()
        process.wait_ready()
        process.wait_caught_up()
        query = f"SELECT id, name FROM {keyspace}.customers WHERE id <= 10001 ORDER BY id".encode()
        with psycopg.connect(own_server.dsn(), autocommit=True) as connection:
            expected = [(1, "meanwhile"), (10001, "customer 1")]
            eventually(lambda: connection.execute(query).fetchall(), expected, process)
        comparisons = compare_keyspace(cassandra_session, own_server.dsn(), keyspace)
        assert sum(one.differences for one in comparisons) == 0, describe(comparisons)
        assert [one.rows_postgres for one in comparisons] == [200, 200]
        assert process.status()["pid"] == pid
        ended = process.stop()
    assert ended.code == 0
    assert "Traceback" not in ended.text
