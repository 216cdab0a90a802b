"""One real Kafka broker in KRaft mode, run from the jars of its release.

Invariant: the broker is its own controller and listens on loopback only.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from casscade.devstack import places
from casscade.devstack.artifacts import Progress, fetch, no_progress, read_lock
from casscade.devstack.java import java_for
from casscade.devstack.kafka_files import CLUSTER_ID, LOG4J2, RELOAD4J, jvm_arguments, server_properties
from casscade.devstack.server import STOP_TIMEOUT_S, Server

DEFAULT_VERSION: Final = "4.1.1"
VERSIONS: Final = ("3.9.1", "4.1.1")
JAVA_MAJOR: Final = 17
FORMAT_TIMEOUT_S: Final = 60.0
ANSWER_TIMEOUT_S: Final = 2.0
# Which requests the broker knows (ApiVersions, version 0): length, api key, version, a number that the answer begins
# with behind its own length, and no client id.
_API_VERSIONS: Final = struct.pack(">IHHIh", 10, 18, 0, 0xCA5C, -1)


class KafkaBroker(Server):
    """A broker; see `Server`. `settings` are properties of the broker that go over those of the stack."""

    name = "kafka"
    title = "Kafka"
    _reasons = re.compile(r"ERROR|FATAL|Exception|Error")

    def __init__(
        self,
        directory: Path,
        *,
        version: str = DEFAULT_VERSION,
        address: str = "127.0.0.1",
        port: int = 9092,
        controller_port: int = 9093,
        settings: Mapping[str, str] | None = None,
        cache: Path | None = None,
        progress: Progress = no_progress,
    ) -> None:
        self.controller_port = controller_port
        self._settings = dict(settings or {})
        super().__init__(directory, version=version, address=address, port=port, cache=cache, progress=progress)

    @property
    def bootstrap(self) -> str:
        """`host:port`, as clients name it."""
        return f"{self.address}:{self.port}"

    @property
    def data_directory(self) -> Path:
        """Where the partitions lie, a directory each."""
        return self.directory / "data"

    def start(self, *, owner: int | None = None) -> None:
        """Start the broker if it does not run; with `owner` (a pid) it ends when that process ends.

        Raises ConfigurationError (`port_in_use`, `disk_full`, `java_missing`, or one of the download).
        """
        if self._process.pid() is not None:
            return
        java = java_for(JAVA_MAJOR, self._cache, self._progress)
        jars = fetch(read_lock(f"kafka-{self.version}.txt"), self._cache, f"Kafka {self.version}", self._progress)
        places.make_directory(self.directory)
        places.require_free_space(self.directory)
        places.require_port("Kafka", self.address, self.port)
        places.require_port("Kafka", self.address, self.controller_port)
        conf = self._write_files(jars)
        if not (self.data_directory / "meta.properties").exists():
            self._format(java, conf)
        self._process.start(
            [str(java), f"@{conf / 'jvm.args'}", "kafka.Kafka", str(conf / "server.properties")],
            environment=_environment(),
            user=None,
            owner=owner,
            owner_end_signal=signal.SIGKILL,
        )

    def _write_files(self, jars: list[Path]) -> Path:
        for name in ("conf", "scratch"):
            places.make_directory(self.directory / name)
        conf = self.directory / "conf"
        properties = server_properties(
            self.data_directory, self.address, self.port, self.controller_port, self._settings
        )
        (conf / "server.properties").write_text(properties, encoding="utf-8")
        (conf / "log4j2.xml").write_text(LOG4J2, encoding="utf-8")
        (conf / "log4j.properties").write_text(RELOAD4J, encoding="utf-8")
        arguments = jvm_arguments(self.directory, jars)
        quoted = "\n".join('"' + argument.replace("\\", "\\\\") + '"' for argument in arguments)
        (conf / "jvm.args").write_text(quoted + "\n", encoding="utf-8")
        return conf

    def _format(self, java: Path, conf: Path) -> None:
        """Give the empty data directory its cluster id, as KRaft asks for."""
        tool = [str(java), f"@{conf / 'jvm.args'}", "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID]
        result = subprocess.run(
            [*tool, "-c", str(conf / "server.properties")],
            capture_output=True,
            text=True,
            env=_environment(),
            timeout=FORMAT_TIMEOUT_S,
            check=False,
        )
        if result.returncode != 0:
            raise self._failed("Kafka's storage tool", result.stdout + result.stderr)

    def answers(self) -> bool:
        """Whether the broker answers a request now: it opens its port for clients at the end of its start."""
        try:
            with socket.create_connection((self.address, self.port), ANSWER_TIMEOUT_S) as connection:
                connection.sendall(_API_VERSIONS)
                return connection.recv(8)[4:] == _API_VERSIONS[8:12]
        except OSError:
            return False

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Shut the broker down (SIGTERM), after `timeout_s` seconds by SIGKILL."""
        self._process.stop(signal.SIGTERM, timeout_s)

    def kill(self) -> None:
        """SIGKILL: a crash."""
        self._process.kill()


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "TZ")}
