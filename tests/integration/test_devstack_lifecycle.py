"""A server dies with its owner, comes back with its data, and says clearly why it can't start."""

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
from casscade.devstack.places import free_port
from casscade.devstack.postgres import PostgresServer

pytestmark = pytest.mark.servers

OWNER = """
import os, pathlib, sys
from casscade.devstack.postgres import PostgresServer
directory, port = sys.argv[1:]
server = PostgresServer(pathlib.Path(directory), port=int(port))
server.start(owner=os.getpid())
server.wait_ready()
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
def test_a_killed_owner_takes_its_server_along_and_the_data_comes_back(directory: Path) -> None:
    port = free_port()
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(directory / "own"), str(port)],
        stdin=subprocess.PIPE,  # ends with the test process
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        server = PostgresServer(directory / "own", port=port)
        try:
            before = server.pid
            assert before is not None
            with psycopg.connect(server.dsn(), autocommit=True) as connection:
                connection.execute("CREATE TABLE t AS SELECT 'kept' AS v")
            owner.kill()
            owner.wait()
            deadline = time.monotonic() + 10
            while server.pid is not None:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            server.start(owner=os.getpid())
            server.wait_ready()
            assert server.pid != before
            with psycopg.connect(server.dsn()) as connection:
                assert connection.execute("SELECT v FROM t").fetchone() == ("kept",)
        finally:
            owner.kill()
            server.remove()


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
