"""PostgreSQL away from a running pipeline, and dead letters that come back through it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from casscade.cli.main import main
from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.postgres import PostgresServer
from tests.support.pipeline_process import configuration, running
from tests.support.replica import Replica, eventually

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("cdc")]


def _door(server: PostgresServer, database: str) -> Callable[[bool], None]:
    """Closes the database to everybody and ends their sessions, or opens it: the outage of one pipeline."""
    name = database.rpartition("/")[2]

    def move(opened: bool) -> None:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
            connection.execute(statement.format(sql.Identifier(name), sql.SQL("true" if opened else "false")))
            if not opened:
                connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))

    return move


@pytest.mark.requirement("SC-009")
@pytest.mark.requirement("SC-007")
@pytest.mark.requirement("FR-020")
@pytest.mark.requirement("FR-021")
def test_an_outage_with_a_crash_in_it_and_a_replay_afterwards(
    cassandra_node: CassandraNode,
    cassandra_session: Any,
    postgres_server: PostgresServer,
    keyspace: str,
    database: str,
    tmp_path: Path,
) -> None:
    cassandra_session.execute(f"CREATE TABLE {keyspace}.t (id int PRIMARY KEY, v int) WITH cdc = true")
    document = configuration(cassandra_node, database, tmp_path / "state", [{"source": f"{keyspace}.t"}])
    document["load"] |= {"retry": {"first_ms": 100, "for_seconds": 1}, "circuit": {"failures": 2, "open_seconds": 60}}
    door = _door(postgres_server, database)
    with running(tmp_path, document) as process:
        with psycopg.connect(database, autocommit=True) as connection:
            replica = Replica(cassandra_session, keyspace, connection, process)
            replica.cql("INSERT INTO {ks}.t (id, v) VALUES (1, 1)")
            replica.arrives("SELECT v FROM {ks}.t", [(1,)])
            (checkpoint,) = process.status()["checkpoints"].values()
            assert "committed" in checkpoint
            connection.execute(f"ALTER TABLE {keyspace}.t ADD CONSTRAINT small CHECK (v < 100)".encode())
        door(False)
        for number in range(2, 6):
            replica.cql("INSERT INTO {ks}.t (id, v) VALUES (%s, %s)", number, 100 * (number == 5))
        process.wait(lambda: process.status()["outage"]["chunks"] > 0, "chunks in the journal", 20.0)
        status = process.status()
        assert (status["postgres"]["circuit"], status["outage"]["journal"]) == ("open", "filling")
        assert not process.probe("/readyz")
        # What is in the journal survives the process, whose next life can't begin before PostgreSQL is back.
        process.kill()
        door(True)
        process.start()
        process.wait_ready()
        with psycopg.connect(database, autocommit=True) as connection:
            replica = Replica(cassandra_session, keyspace, connection, process)
            replica.arrives("SELECT id FROM {ks}.t ORDER BY id", [(1,), (2,), (3,), (4,)])
            assert eventually(lambda: process.status()["outage"]["journal"], "idle", process) < 8
            # The one that PostgreSQL refused comes back when the reason is gone.
            connection.execute(f"ALTER TABLE {keyspace}.t DROP CONSTRAINT small".encode())
            replay = CliRunner().invoke(main, ["dlq", "replay", "-c", str(process.config_file), "--all"])
            assert "1 of 1 dead letters will be replayed" in replay.output
            assert "the running pipeline takes them" in replay.output
            replica.arrives("SELECT v FROM {ks}.t WHERE id = 5", [(100,)])
            assert replica.rows("SELECT count(*) FROM casscade.dead_letters") == [(0,)]


MARKER = "Xq7Marker"
RULES = {
    "transforms": [
        {"hash": {"columns": ["id"]}},
        {"mask": {"columns": ["email"], "with": "redact"}},
        {"drop": {"columns": ["pin"]}},
    ]
}


@pytest.mark.requirement("FR-013")
@pytest.mark.requirement("FR-030")
def test_no_hidden_value_is_in_any_output_while_the_journal_fills_and_afterwards(
    cassandra_node: CassandraNode,
    cassandra_session: Any,
    postgres_server: PostgresServer,
    keyspace: str,
    database: str,
    tmp_path: Path,
) -> None:
    columns = "id text PRIMARY KEY, email text, pin text, note text"
    cassandra_session.execute(f"CREATE TABLE {keyspace}.people ({columns}) WITH cdc = true")
    tables = [{"source": f"{keyspace}.people", **RULES}]
    document = configuration(cassandra_node, database, tmp_path / "state", tables)
    document |= {"rules": {"key": "0123456789abcdef"}}
    document["load"] |= {"retry": {"first_ms": 100, "for_seconds": 1}, "circuit": {"failures": 2, "open_seconds": 60}}
    door = _door(postgres_server, database)
    insert = f"INSERT INTO {keyspace}.people (id, email, pin, note) VALUES (%s, %s, %s, %s)"
    with running(tmp_path, document) as process:
        cassandra_session.execute(insert, (f"{MARKER} 1", MARKER, MARKER, "before"))
        with psycopg.connect(database, autocommit=True) as connection:
            replica = Replica(cassandra_session, keyspace, connection, process)
            replica.arrives("SELECT email, note FROM {ks}.people", [("***", "before")])
        door(False)
        cassandra_session.execute(insert, (f"{MARKER} 2", MARKER, MARKER, "waiting"))
        process.wait(lambda: process.status()["outage"]["chunks"] > 0, "chunks in the journal", 20.0)
        outputs = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        outputs += [process.page("/status").encode(), process.page("/metrics").encode()]
        assert b"waiting" in b"".join(outputs), "the search finds what waits"
        assert MARKER.encode() not in b"".join(outputs)
        assert MARKER not in process.text()
        process.kill()
        door(True)
        process.start()
        with psycopg.connect(database, autocommit=True) as connection:
            replica = Replica(cassandra_session, keyspace, connection, process)
            shown = [("***", "before"), ("***", "waiting")]
            replica.arrives("SELECT email, note FROM {ks}.people ORDER BY note", shown)
            assert replica.rows("SELECT count(*) FROM casscade.dead_letters") == [(0,)]
        assert MARKER not in process.text()
