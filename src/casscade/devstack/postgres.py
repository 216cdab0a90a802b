"""One real PostgreSQL server with a data directory of its own.

Invariant: it listens on loopback only, and whoever can reach that address is trusted; it never runs as root.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from casscade.devstack import places
from casscade.devstack.artifacts import Progress, no_progress
from casscade.devstack.postgres_files import postgres_home
from casscade.devstack.server import STOP_TIMEOUT_S, Server

VERSIONS: Final = ("12", "18")
DEFAULT_VERSION: Final = "18"
# The provider of PostgreSQL itself, since 17: the same order and the same cases on every machine.
_BUILTIN_LOCALE_SINCE: Final = 17
SUPERUSER: Final = "postgres"
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


class PostgresServer(Server):
    """A server of the major version `version`; see `Server`."""

    name = "postgres"
    title = "PostgreSQL"
    _reasons = re.compile("FATAL|error|ERROR")

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
        super().__init__(directory, version=version, address=address, port=port, cache=cache, progress=progress)
        self._settings = {**_SETTINGS, **(settings or {})}

    @property
    def data_directory(self) -> Path:
        return self.directory / "data"

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
        command += ["--locale=C", "--no-sync"]
        if int(self.version) >= _BUILTIN_LOCALE_SINCE:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
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

    def answers(self) -> bool:
        """Whether the server answers a query now."""
        import psycopg

        try:
            with psycopg.connect(self.dsn(), connect_timeout=2, autocommit=True) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Fast shutdown (SIGINT: sessions are ended, a checkpoint is written), then SIGKILL."""
        self._process.stop(signal.SIGINT, timeout_s)

    def kill(self) -> None:
        """Immediate shutdown (SIGQUIT): a crash of all its processes; the next start replays the WAL."""
        self._process.stop(signal.SIGQUIT, STOP_TIMEOUT_S)


def _environment() -> dict[str, str]:
    """Nothing of ours that would change the server (PGDATA, PGOPTIONS, LD_PRELOAD, a language)."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
