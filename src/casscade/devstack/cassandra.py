"""One real Cassandra node, run from the jars of its release.

Invariant: the node runs on the Java, the yaml and the jars of its own release, all of them pinned.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from casscade.devstack import places
from casscade.devstack.artifacts import Progress, fetch, no_progress, read_lock
from casscade.devstack.cassandra_files import (
    LOGBACK,
    CassandraSettings,
    cassandra_yaml,
    jvm_arguments,
)
from casscade.devstack.java import java_for
from casscade.devstack.releases import DEFAULT_VERSION, find_release
from casscade.devstack.server import STOP_TIMEOUT_S, Server

# OPTIONS and SUPPORTED of native protocol version 4 (native_protocol_v4.spec, section 4): answered without login.
_OPTIONS_FRAME: Final = b"\x04\x00\x00\x00\x05\x00\x00\x00\x00"
_SUPPORTED_OPCODE: Final = 0x06


class CassandraNode(Server):
    """A node of the release `version` (`4.1.10`, or `4.1` for the one of that line); see `Server`."""

    name = "cassandra"
    title = "Cassandra"
    _reasons = re.compile(r"^(ERROR|Error|Exception|Caused by)")

    def __init__(
        self,
        directory: Path,
        settings: CassandraSettings | None = None,
        *,
        version: str = DEFAULT_VERSION,
        cache: Path | None = None,
        progress: Progress = no_progress,
    ) -> None:
        self.settings = settings if settings is not None else CassandraSettings()
        self.release = find_release(version)
        super().__init__(
            directory,
            version=self.release.version,
            address=self.settings.address,
            port=self.settings.port,
            cache=cache,
            progress=progress,
        )

    @property
    def cdc_directory(self) -> Path:
        return self.directory / "cdc_raw"

    @property
    def commitlog_directory(self) -> Path:
        return self.directory / "commitlog"

    def start(self, *, owner: int | None = None) -> None:
        """Start the node if it does not run; with `owner` (a pid) it ends when that process ends.

        Raises ConfigurationError (`port_in_use`, `disk_full`, `java_missing`, or one of the download).
        """
        if self._process.pid() is not None:
            return
        settings = self.settings
        java, jars = self.runtime()
        places.make_directory(self.directory)
        places.require_free_space(self.directory)
        places.require_port("Cassandra", settings.address, settings.port)
        places.require_port("Cassandra", settings.address, settings.storage_port)
        arguments_file = self._write_files(jars)
        self._process.start(
            [str(java), f"@{arguments_file}", "org.apache.cassandra.service.CassandraDaemon"],
            environment=_environment(),
            user=None,
            owner=owner,
            owner_end_signal=signal.SIGKILL,
        )

    def runtime(self) -> tuple[Path, list[Path]]:
        """The `java` and the jars of the release, fetched if they are not there."""
        java = java_for(self.release.java, self._cache, self._progress)
        lock = read_lock(f"cassandra-{self.version}.txt")
        return java, fetch(lock, self._cache, f"Cassandra {self.version}", self._progress)

    @property
    def jmx_port(self) -> int:
        """The port on the loopback interface on which the node, started last, takes the commands of `nodetool`."""
        return int((self.directory / "conf" / "jmx.port").read_text(encoding="ascii"))

    def _write_files(self, jars: list[Path]) -> Path:
        for name in ("conf", "logs", "scratch", "data", "commitlog", "cdc_raw", "hints", "saved_caches"):
            places.make_directory(self.directory / name)
        conf = self.directory / "conf"
        jamm = next(jar for jar in jars if jar.name.startswith("jamm-"))
        jmx_port = places.free_port()
        (conf / "jmx.port").write_text(f"{jmx_port}\n", encoding="ascii")
        arguments = jvm_arguments(self.settings, self.directory, jars, jamm, jmx_port)
        text = cassandra_yaml(self.settings, self.directory, self.release)
        (conf / "cassandra.yaml").write_text(text, encoding="utf-8")
        (conf / "logback.xml").write_text(LOGBACK, encoding="utf-8")
        quoted = "\n".join('"' + argument.replace("\\", "\\\\") + '"' for argument in arguments)
        (conf / "jvm.args").write_text(quoted + "\n", encoding="utf-8")
        return conf / "jvm.args"

    def answers(self) -> bool:
        """Whether a server on the node's address speaks the native protocol now."""
        try:
            with socket.create_connection((self.address, self.port), timeout=2.0) as connection:
                connection.sendall(_OPTIONS_FRAME)
                head = connection.recv(9)
        except OSError:
            return False
        return len(head) >= 5 and head[4] == _SUPPORTED_OPCODE

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Shut the node down (SIGTERM: the segments are closed), after `timeout_s` seconds by SIGKILL."""
        self._process.stop(signal.SIGTERM, timeout_s)

    def kill(self) -> None:
        """SIGKILL: a crash; the next start replays the commit log."""
        self._process.kill()

    @contextmanager
    def session(self, keyspace: str | None = None) -> Iterator[Any]:
        """A session of the Cassandra driver on this node alone, closed at the end."""
        from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
        from cassandra.policies import WhiteListRoundRobinPolicy

        profile = ExecutionProfile(
            load_balancing_policy=WhiteListRoundRobinPolicy([self.address]), request_timeout=30.0
        )
        cluster = Cluster(
            [self.address],
            port=self.port,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            protocol_version=self.release.protocol,
            # Nobody here asks the driver for the schema, and it would read it again after each change.
            schema_metadata_enabled=False,
            schema_event_refresh_window=-1,
            connect_timeout=15.0,
        )
        try:
            yield cluster.connect(keyspace)
        finally:
            cluster.shutdown()


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "TZ")}
