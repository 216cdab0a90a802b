"""One real Cassandra node, run from the jars of its release.

Invariant: `wait_ready` returns only after the node answered the native protocol; when the node ends instead, one
error says why in a sentence.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from casscade.core.errors import ConfigurationError
from casscade.devstack import places
from casscade.devstack.artifacts import Progress, fetch, no_progress, read_lock
from casscade.devstack.cassandra_files import LOGBACK, CassandraSettings, cassandra_yaml, jvm_arguments
from casscade.devstack.java import java_for
from casscade.devstack.processes import POLL_S, ServerProcess, ServiceStatus

DEFAULT_VERSION: Final = "5.0.6"
JAVA_MAJOR: Final = 17
# 5 s on an idle machine; a busy one with two cores took 13 s.
READY_TIMEOUT_S: Final = 90.0
STOP_TIMEOUT_S: Final = 20.0
# OPTIONS and SUPPORTED of native protocol version 4 (native_protocol_v4.spec, section 4): answered without login.
_OPTIONS_FRAME: Final = b"\x04\x00\x00\x00\x05\x00\x00\x00\x00"
_SUPPORTED_OPCODE: Final = 0x06


class CassandraNode:
    """A node whose files all live below `directory`; the object can be made again to find a running node."""

    name: Final = "cassandra"

    def __init__(
        self,
        directory: Path,
        settings: CassandraSettings | None = None,
        *,
        version: str = DEFAULT_VERSION,
        cache: Path | None = None,
        progress: Progress = no_progress,
    ) -> None:
        self.directory = directory
        self.settings = settings if settings is not None else CassandraSettings()
        self.version = version
        self._cache = cache if cache is not None else places.cache_directory()
        self._progress = progress
        self._process = ServerProcess(self.name, directory)

    @property
    def address(self) -> str:
        return self.settings.address

    @property
    def port(self) -> int:
        return self.settings.port

    @property
    def cdc_directory(self) -> Path:
        return self.directory / "cdc_raw"

    @property
    def commitlog_directory(self) -> Path:
        return self.directory / "commitlog"

    @property
    def log_file(self) -> Path:
        return self._process.log_file

    @property
    def pid(self) -> int | None:
        return self._process.pid()

    def start(self, *, owner: int | None = None) -> None:
        """Start the node if it does not run; with `owner` (a pid) it ends when that process ends.

        Raises ConfigurationError (`port_in_use`, `disk_full`, `java_missing`, or one of the download).
        """
        if self._process.pid() is not None:
            return
        settings = self.settings
        java = java_for(JAVA_MAJOR, self._cache, self._progress)
        jars = fetch(
            read_lock(f"cassandra-{self.version}.txt"), self._cache, f"Cassandra {self.version}", self._progress
        )
        places.make_directory(self.directory)
        places.require_free_space(self.directory)
        places.require_port("Cassandra", settings.address, settings.port)
        places.require_port("Cassandra", settings.address, settings.storage_port)
        arguments_file = self._write_files(jars)
        environment = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "TZ")}
        self._process.start(
            [str(java), f"@{arguments_file}", "org.apache.cassandra.service.CassandraDaemon"],
            environment=environment,
            user=None,
            owner=owner,
            owner_end_signal=signal.SIGKILL,
        )

    def _write_files(self, jars: list[Path]) -> Path:
        for name in ("conf", "logs", "scratch", "data", "commitlog", "cdc_raw", "hints", "saved_caches"):
            places.make_directory(self.directory / name)
        conf = self.directory / "conf"
        jamm = next(jar for jar in jars if jar.name.startswith("jamm-"))
        arguments = jvm_arguments(self.settings, self.directory, jars, jamm)
        (conf / "cassandra.yaml").write_text(cassandra_yaml(self.settings, self.directory), encoding="utf-8")
        (conf / "logback.xml").write_text(LOGBACK, encoding="utf-8")
        quoted = "\n".join('"' + argument.replace("\\", "\\\\") + '"' for argument in arguments)
        (conf / "jvm.args").write_text(quoted + "\n", encoding="utf-8")
        return conf / "jvm.args"

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return when the node answers CQL; ConfigurationError if it ends or does not answer in time."""
        deadline = time.monotonic() + timeout_s
        while not self.answers():
            if self._process.pid() is None:
                raise self._failed_start()
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    "cassandra_slow",
                    f"Cassandra did not answer within {timeout_s:.0f} s",
                    where=f"{self.address}:{self.port}, log {self.log_file}",
                    now="the node is left running",
                    hint="look at the end of the log, and at the load of the machine",
                )
            time.sleep(POLL_S)

    def answers(self) -> bool:
        """Whether a server on the node's address speaks the native protocol now."""
        try:
            with socket.create_connection((self.address, self.port), timeout=2.0) as connection:
                connection.sendall(_OPTIONS_FRAME)
                head = connection.recv(9)
        except OSError:
            return False
        return len(head) >= 5 and head[4] == _SUPPORTED_OPCODE

    def _failed_start(self) -> ConfigurationError:
        text = self._process.log_text()
        if "No space left on device" in text or places.is_full(self.directory):
            return places.disk_full(self.directory)
        if re.search(r"Address already in use|is in use by another process", text):
            return places.port_in_use("Cassandra", self.address, self.port)
        reasons = [line for line in text.splitlines() if re.match(r"ERROR|Error|Exception|Caused by", line)]
        reason = (reasons or text.splitlines() or ["it wrote no log"])[-1].strip()
        memory = "insufficient memory" in text or "OutOfMemoryError" in text
        return ConfigurationError(
            "cassandra_failed",
            f"Cassandra ended while it started: {reason[:300]}",
            where=str(self.log_file),
            now="the node does not run",
            hint="free at least 700 MB of memory"
            if memory
            else "read the end of the log; casscade dev reset starts afresh",
        )

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Shut the node down (SIGTERM: the segments are closed), after `timeout_s` seconds by SIGKILL."""
        self._process.stop(signal.SIGTERM, timeout_s)

    def kill(self) -> None:
        """SIGKILL: a crash; the next start replays the commit log."""
        self._process.kill()

    def remove(self) -> None:
        """Kill the node and delete its directory."""
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
            protocol_version=5,
            schema_event_refresh_window=-1,
            connect_timeout=15.0,
        )
        try:
            yield cluster.connect(keyspace)
        finally:
            cluster.shutdown()
