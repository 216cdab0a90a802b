"""A stack of its own: it dies with its owner, comes back with its data, and leaves nothing running."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from casscade.core.errors import ConfigurationError
from casscade.devstack.cassandra_files import CassandraSettings
from casscade.devstack.places import free_port
from casscade.devstack.postgres import PostgresServer
from casscade.devstack.stack import Stack

pytestmark = pytest.mark.servers

QUICK = "-XX:TieredStopAtLevel=1"
OWNER = """
import os, pathlib, sys
from casscade.devstack.cassandra_files import CassandraSettings
from casscade.devstack.stack import Stack
directory, cql, sql, jvm = sys.argv[1:]
Stack(
    pathlib.Path(directory),
    cassandra_port=int(cql),
    postgres_port=int(sql),
    cassandra_settings=CassandraSettings(jvm=(jvm,)),
    owner=os.getpid(),
).up()
print("up", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """Enterable by the user PostgreSQL drops to, which pytest's own directory is not."""
    path = Path(tempfile.mkdtemp(prefix="casscade-stack-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.requirement("US-2")
@pytest.mark.requirement("FR-037")
def test_a_killed_owner_takes_the_stack_along_and_the_data_comes_back(directory: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(directory), str(free_port()), str(free_port()), QUICK],
        stdin=subprocess.PIPE,  # ends with the test process
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        stack = Stack(directory)
        try:
            before = [status.pid for status in stack.status()]
            assert all(status.ready for status in stack.status())
            # A laptop has 8 GB, and the pipeline and its tests run beside the stack.
            assert sum(status.rss_bytes for status in stack.status()) < 1 << 30
            with stack.cassandra.session() as session:
                session.execute(
                    "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
                )
                session.execute("CREATE TABLE k.t (id int PRIMARY KEY, v text) WITH cdc = true")
                session.execute("INSERT INTO k.t (id, v) VALUES (1, 'kept')")
            with psycopg.connect(stack.postgres.dsn(), autocommit=True) as connection:
                connection.execute("CREATE TABLE t AS SELECT 'kept' AS v")
            time.sleep(1.2)  # one sync of the commit log
            owner.kill()
            owner.wait()
            deadline = time.monotonic() + 10
            while any(status.pid is not None for status in stack.status()):
                assert time.monotonic() < deadline
                time.sleep(0.05)

            lines: list[str] = []
            again = Stack(
                directory,
                owner=os.getpid(),
                cassandra_settings=CassandraSettings(jvm=(QUICK,)),
                progress=lines.append,
            )
            again.up()
            assert again.ports == stack.ports
            assert [status.pid for status in again.status()] != before
            with again.cassandra.session() as session:
                assert [row.v for row in session.execute("SELECT v FROM k.t")] == ["kept"]
            with psycopg.connect(again.postgres.dsn()) as connection:
                assert connection.execute("SELECT v FROM t").fetchone() == ("kept",)
            again.down()
            assert [status.pid for status in again.status()] == [None, None]
            assert "cassandra: stopped" in lines
        finally:
            owner.kill()
            stack.reset()


def test_postgres_says_so_when_its_port_is_taken(postgres_server: PostgresServer, directory: Path) -> None:
    second = PostgresServer(directory / "second", port=postgres_server.port)
    with pytest.raises(ConfigurationError) as caught:
        second.start()
    assert caught.value.code == "port_in_use"


def test_postgres_says_which_setting_it_refused(directory: Path) -> None:
    server = PostgresServer(directory / "refused", port=free_port(), settings={"shared_buffers": "nonsense"})
    server.start(owner=os.getpid())
    with pytest.raises(ConfigurationError) as caught:
        server.wait_ready()
    assert caught.value.code == "postgres_failed"
    assert "shared_buffers" in caught.value.what


def test_postgres_never_runs_as_root(postgres_server: PostgresServer) -> None:
    pid = postgres_server.pid
    assert pid is not None
    assert Path(f"/proc/{pid}").stat().st_uid != 0
