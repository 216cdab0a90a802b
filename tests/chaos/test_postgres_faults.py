"""PostgreSQL fails at a chosen moment of a batch: during COPY, during the merge, at COMMIT.

Invariant: the moment is held by the proxy until the fault is there; afterwards both sides are equal, whatever it was.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from casscade.capture.position_file import PositionFile
from casscade.capture.quarantine import Quarantine
from casscade.core.errors import RetryableError
from casscade.core.position import Position
from casscade.devstack.places import free_port
from casscade.devstack.postgres import PostgresServer
from tests.support import crash_life
from tests.support.crash_life import Life, Lived
from tests.support.databases import create_database
from tests.support.proxy import COMMIT, Fault, Proxy

MOMENTS = {"copy": crash_life.COPY, "merge": b"INSERT INTO", "commit": COMMIT}
moments = pytest.mark.parametrize("moment", MOMENTS)
# The stack wants half a GiB before it starts a server.
SMALL = "640m"


@contextmanager
def server(directory: Path) -> Iterator[tuple[PostgresServer, str]]:
    """A server of one test with a database in it."""
    directory.chmod(0o755)
    made = PostgresServer(directory / "postgres", port=free_port())
    made.start(owner=os.getpid())
    try:
        made.wait_ready()
        with psycopg.connect(made.dsn(), autocommit=True) as connection:
            create_database(connection, "faults")
        yield made, made.dsn("faults")
    finally:
        made.kill()


@pytest.fixture
def own_postgres() -> Iterator[tuple[PostgresServer, str]]:
    with tempfile.TemporaryDirectory(prefix="casscade-faults-") as directory, server(Path(directory)) as made:
        yield made


@contextmanager
def held(dsn: str, directory: Path, marker: bytes, options: str = "-c statement_timeout=2000") -> Iterator[Held]:
    """A life whose first batch waits in front of what `marker` is in."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with crash_life.through_proxy(dsn, directory / "life", seed) as (made, between):
        life = replace(made, options=options)
        between.strike(Fault.HOLD, marker=crash_life.COPY)
        lived = crash_life.start(life)
        assert between.wait_struck(20.0)
        if marker != crash_life.COPY:
            between.strike(Fault.HOLD, marker=marker)
            assert between.wait_struck(20.0)
        yield Held(life, lived, between, dsn)


class Held:
    """A life that waits, with the proxy in front of it."""

    def __init__(self, life: Life, lived: Lived, between: Proxy, dsn: str) -> None:
        self.life = life
        self.lived = lived
        self.between = between
        self.dsn = dsn

    def backend(self) -> int:
        """The session that waits in a transaction."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            found = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL "
                "AND pid <> pg_backend_pid()"
            ).fetchall()
        ((pid,),) = found
        return int(pid)

    def wait_retry(self) -> None:
        """Return when a batch has failed once."""
        deadline = time.monotonic() + 20.0
        while not crash_life.retries_of(self.life):
            assert time.monotonic() < deadline, "no batch failed"
            time.sleep(0.02)

    def ends_well(self) -> list[str]:
        """Go on; returns the codes of the failures that it got over."""
        self.between.heal()
        assert self.lived.wait() == 0
        assert crash_life.differences(self.life, self.dsn) == []
        assert int(self.life.told.read_text("ascii")) == crash_life.MUTATIONS
        return crash_life.retries_of(self.life)


@moments
def test_postgres_is_stopped_in_immediate_mode(
    moment: str, own_postgres: tuple[PostgresServer, str], tmp_path: Path
) -> None:
    postgres, dsn = own_postgres
    with held(dsn, tmp_path, MOMENTS[moment]) as life:
        postgres.kill()
        postgres.start(owner=os.getpid())
        postgres.wait_ready()
        assert life.ends_well()


@moments
def test_the_session_is_terminated(moment: str, database: str, tmp_path: Path) -> None:
    with held(database, tmp_path, MOMENTS[moment]) as life:
        pid = life.backend()
        with psycopg.connect(database, autocommit=True) as connection:
            assert connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,)).fetchone() == (True,)
        assert life.ends_well()


@moments
def test_the_session_is_stopped_and_goes_on(moment: str, database: str, tmp_path: Path) -> None:
    with held(database, tmp_path, MOMENTS[moment]) as life:
        pid = life.backend()
        os.kill(pid, signal.SIGSTOP)
        try:
            life.between.heal()
            with psycopg.connect(database, autocommit=True) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert life.ends_well() in ([], ["57014"])


@moments
def test_the_connection_is_reset(moment: str, database: str, tmp_path: Path) -> None:
    with held(database, tmp_path, MOMENTS[moment]) as life:
        life.between.strike(Fault.RESET)
        assert life.ends_well()


def test_the_connection_breaks_after_some_bytes_of_a_copy(database: str, tmp_path: Path) -> None:
    with held(database, tmp_path, crash_life.COPY) as life:
        life.between.strike(Fault.CUT, bytes_left=1)
        assert life.lived.wait() == 0
        assert life.ends_well() == ["connection"]


@contextmanager
def tmpfs(directory: Path) -> Iterator[Path]:
    """A file system that is soon full; needs root."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(path: Path) -> None:
    """Take all the space that is left at `path`."""
    with path.open("wb") as file:
        for size in (1 << 24, 1 << 20, 1 << 12):
            with suppress(OSError):  # that there is no space left is the aim
                while True:
                    os.posix_fallocate(file.fileno(), path.stat().st_size, size)
    assert shutil.disk_usage(path).free < 1 << 12


def test_the_disk_of_postgres_is_full(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="casscade-faults-") as outside:
        Path(outside).chmod(0o755)
        with (
            tmpfs(Path(outside) / "small") as small,
            server(small) as (_, dsn),
            held(dsn, tmp_path, MOMENTS["copy"]) as life,
        ):
            fill(small / "ballast")
            life.between.heal()
            life.wait_retry()
            (small / "ballast").unlink()
            assert "53100" in life.ends_well()


def test_the_disk_of_the_state_directory_is_full(tmp_path: Path) -> None:
    """What the agent keeps there stays as it was, and is kept once there is room again."""
    with tmpfs(tmp_path / "small") as small:
        stored = PositionFile(small, crash_life.SOURCE)
        stored.save(Position(1, 100))
        damaged = tmp_path / "CommitLog-8-1.log"
        damaged.write_bytes(bytes(5000))
        fill(small / "ballast")
        with pytest.raises(RetryableError) as unwritable:
            stored.save(Position(2, 200))
        with pytest.raises(RetryableError) as unkept:
            Quarantine(small).keep(damaged)
        assert (unwritable.value.code, unkept.value.code) == ("position_unwritable", "capture_quarantine")
        assert PositionFile(small, crash_life.SOURCE).load() == Position(1, 100)
        assert damaged.exists()
        (small / "ballast").unlink()
        stored.save(Position(2, 200))
        assert PositionFile(small, crash_life.SOURCE).load() == Position(2, 200)
        assert Quarantine(small).keep(damaged) == 5000
