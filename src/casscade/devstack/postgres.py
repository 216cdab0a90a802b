"""One real PostgreSQL server with a data directory of its own.

Invariant: it listens on loopback only, and whoever can reach that address is trusted; it never runs as root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from casscade.core.errors import ConfigurationError
from casscade.devstack import places
from casscade.devstack.artifacts import Progress, no_progress
from casscade.devstack.postgres_files import postgres_home
from casscade.devstack.processes import POLL_S, ServerProcess, ServiceStatus

DEFAULT_VERSION: Final = "18"
SUPERUSER: Final = "postgres"
READY_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 20.0
INITDB_TIMEOUT_S: Final = 120.0

_SETTINGS: Final = {
    "wal_level": "replica",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "password_encryption": "scram-sha-256",
    "log_line_prefix": "%m [%p] ",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # TCP alone: the path of a socket may have 107 bytes at most, and a state directory may be deeper.
    "unix_socket_directories": "",
}


class PostgresServer:
    """A server whose files live below `directory`; the object can be made again to find a running server."""

    name: Final = "postgres"

    def __init__(
        self,
        directory: Path,
        *,
        version: str = DEFAULT_VERSION,
        address: str = "127.0.0.1",
        port: int = 5432,
        settings: Mapping[str, str] | None = None,
        cache: Path | None = None,
        progress: Progress = no_progress,
    ) -> None:
        self.directory = directory
        self.version = version
        self.address = address
        self.port = port
        self._settings = {**_SETTINGS, **(settings or {})}
        self._cache = cache if cache is not None else places.cache_directory()
        self._progress = progress
        self._process = ServerProcess(self.name, directory)

    @property
    def data_directory(self) -> Path:
        return self.directory / "data"

    @property
    def log_file(self) -> Path:
        return self._process.log_file

    @property
    def pid(self) -> int | None:
        return self._process.pid()

    def dsn(self, database: str = "postgres") -> str:
        """The connection URL of the superuser for `database` (a plain name)."""
        return f"postgresql://{SUPERUSER}@{self.address}:{self.port}/{database}"

    def start(self, *, owner: int | None = None) -> None:
        """Start the server if it does not run, after `initdb` the first time; with `owner` it ends with that process.

        Raises ConfigurationError (`port_in_use`, `disk_full`, `directory_unreachable`, or one of the download).
        """
        if self._process.pid() is not None:
            return
        user = places.unprivileged_user()
        home = postgres_home(self.version, self._cache, self._progress)
        places.make_directory(self.directory)
        places.require_reachable(home, user)
        places.require_reachable(self.directory, user)
        places.require_free_space(self.directory)
        places.require_port("PostgreSQL", self.address, self.port)
        if not (self.data_directory / "postgresql.auto.conf").exists():
            self._initdb(home, user)
        (self.data_directory / "pg_hba.conf").write_text(
            f"host all all {self.address}/32 trust\nhost replication all {self.address}/32 trust\n", encoding="ascii"
        )
        settings = {**self._settings, "listen_addresses": self.address, "port": str(self.port)}
        options = [f"--{key.replace('_', '-')}={value}" for key, value in settings.items()]
        self._process.start(
            [str(home / "bin" / "postgres"), "-D", str(self.data_directory), *options],
            environment=_environment(),
            user=user,
            owner=owner,
            owner_end_signal=signal.SIGQUIT,
        )

    def _initdb(self, home: Path, user: pwd.struct_passwd | None) -> None:
        """Make the data directory beside its final place and rename it, so that a half-made one is never used."""
        scratch = self.directory / "data.new"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700)
        if user is not None:
            os.chown(scratch, user.pw_uid, user.pw_gid)
        command = [str(home / "bin" / "initdb"), "-D", str(scratch), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8"]
        command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-sync"]
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd="/",
            env=_environment(),
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
            timeout=INITDB_TIMEOUT_S,
            check=False,
        )
        if result.returncode != 0:
            raise self._failed("initdb", result.stderr)
        shutil.rmtree(self.data_directory, ignore_errors=True)
        scratch.rename(self.data_directory)

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return when the server answers a query; ConfigurationError if it ends or does not answer in time."""
        deadline = time.monotonic() + timeout_s
        while not self.answers():
            if self._process.pid() is None:
                raise self._failed("PostgreSQL", self._process.log_text())
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    "postgres_slow",
                    f"PostgreSQL did not answer within {timeout_s:.0f} s",
                    where=f"{self.address}:{self.port}, log {self.log_file}",
                    now="the server is left running",
                    hint="look at the end of the log, and at the load of the machine",
                )
            time.sleep(POLL_S)

    def answers(self) -> bool:
        """Whether the server answers a query now."""
        import psycopg

        try:
            with psycopg.connect(self.dsn(), connect_timeout=2, autocommit=True) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _failed(self, program: str, text: str) -> ConfigurationError:
        if "No space left on device" in text or places.is_full(self.directory):
            return places.disk_full(self.directory)
        if "Address already in use" in text:
            return places.port_in_use("PostgreSQL", self.address, self.port)
        reasons = [line for line in text.splitlines() if "FATAL" in line or "error" in line or "ERROR" in line]
        reason = (reasons or text.splitlines() or ["it wrote no log"])[-1].strip()
        return ConfigurationError(
            "postgres_failed",
            f"{program} ended while it started: {reason[:300]}",
            where=str(self.log_file),
            now="the server does not run",
            hint="read the end of the log; casscade dev reset starts afresh",
        )

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Fast shutdown (SIGINT: sessions are ended, a checkpoint is written), then SIGKILL."""
        self._process.stop(signal.SIGINT, timeout_s)

    def kill(self) -> None:
        """Immediate shutdown (SIGQUIT): a crash of all its processes; the next start replays the WAL."""
        self._process.stop(signal.SIGQUIT, STOP_TIMEOUT_S)

    def remove(self) -> None:
        """Kill the server and delete its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def status(self) -> ServiceStatus:
        """Whether it runs and answers, and what it takes."""
        pid = self._process.pid()
        return ServiceStatus(
            name=self.name,
            version=self.version,
            address=self.address,
            port=self.port,
            pid=pid,
            ready=pid is not None and self.answers(),
            rss_bytes=self._process.rss_bytes(),
            directory=self.directory,
        )


def _environment() -> dict[str, str]:
    """Nothing of ours that would change the server (PGDATA, PGOPTIONS, LD_PRELOAD, a language)."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
