"""A pipeline as users run it: `casscade run` in a process of its own, which can be watched, killed and stopped.

Invariant: the process never outlives the test: it is ended by its pid, and by the kernel if the test itself is killed.
It is forked from one that has imported the package, or, where a test says `executed`, an interpreter from its start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.places import free_port
from tests.support.nursery import Child, nursery

POLL_S: Final = 0.05
TAIL_LINES: Final = 30
# PR_SET_PDEATHSIG, SIGKILL: set by the child itself, so that no code has to run between fork and exec.
_MAIN: Final = (
    "import ctypes, sys; ctypes.CDLL(None).prctl(1, 9); sys.argv[0] = 'casscade'; "
    "from casscade.cli.main import main; main()"
)


def configuration(
    node: CassandraNode, dsn: str, state_directory: Path, tables: list[dict[str, Any]], *, name: str = "test"
) -> dict[str, Any]:
    """The document of a pipeline from `node` to `dsn`; tests change what they need."""
    capture = {"cdc_directory": str(node.cdc_directory), "state_directory": str(state_directory)}
    if node.release.line < (4, 0):
        capture["commitlog_directory"] = str(node.commitlog_directory)
    return {
        "name": name,
        "cassandra": {
            "contact_points": [node.address],
            "port": node.port,
            "local_datacenter": "datacenter1",
            "consistency": "ONE",
        },
        "capture": capture,
        "postgres": {"dsn": dsn},
        "tables": tables,
        "load": {"batch_ms": 50, "pool": {"min": 1, "max": 4}},
        "snapshot": {"ranges_per_table": 8},
        "http": {"listen": f"127.0.0.1:{free_port()}"},
    }


@dataclass(slots=True)
class Ended:
    """How a command ended: its exit status and all it wrote."""

    code: int
    text: str


@dataclass(slots=True)
class PipelineProcess:
    """`casscade run` (or another `command`) with `document` as its configuration; its files lie in `directory`.

    `environment` is added to that of the test.
    """

    directory: Path
    document: dict[str, Any]
    command: str = "run"
    executed: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | Child | None = field(default=None, init=False)

    @property
    def config_file(self) -> Path:
        return self.directory / "casscade.yaml"

    @property
    def log_file(self) -> Path:
        """Everything that all lives of the process wrote."""
        return self.directory / "casscade.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the life that was started last."""
        assert self._process is not None
        return self._process.pid

    def write_configuration(self) -> Path:
        """Write the document to its file."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(yaml.safe_dump(self.document, sort_keys=False), encoding="utf-8")
        return self.config_file

    def start(self) -> None:
        """Start a new life; returns at once."""
        assert not self.running, "it runs already"
        arguments = [*self.command.split(), "-c", str(self.write_configuration())]
        if not self.executed:
            self._process = nursery().start(arguments, self.directory, self.log_file, self.environment)
            return
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={**os.environ, "PYTHONFAULTHANDLER": "1", **self.environment},
            )

    def wait_ready(self, timeout_s: float = 20.0) -> None:
        """Return when /readyz says so; fail with the log when it ends or takes longer."""
        self.wait(lambda: self.probe("/readyz"), "readiness", timeout_s)

    def wait_caught_up(self, timeout_s: float = 30.0) -> None:
        """Return when the snapshot is complete and nothing read so far waits."""
        self.wait(self._caught_up, "catching up", timeout_s)

    def _caught_up(self) -> bool:
        status = self.status()
        snapshot = all(table["ranges_done"] == table["ranges_total"] for table in status["snapshot"])
        return bool(snapshot and status["snapshot"] and status["capture"].get("caught_up")) and (
            status["lag_seconds"] == 0.0
        )

    def wait(self, condition: Callable[[], bool], what: str, timeout_s: float = 10.0) -> float:
        """Seconds until `condition` held; connection errors count as not yet."""
        begin = time.monotonic()
        while True:
            try:
                if condition():
                    return time.monotonic() - begin
            except OSError:
                pass
            assert self.running, f"it ended with {self.exit_code} before {what}:\n{self.tail()}"
            assert time.monotonic() - begin < timeout_s, f"not in {timeout_s:.0f} s: {what}\n{self.tail()}"
            time.sleep(POLL_S)

    def url(self, path: str) -> str:
        return f"http://{self.document['http']['listen']}{path}"

    def probe(self, path: str) -> bool:
        """Whether it answers with 200."""
        try:
            with urllib.request.urlopen(self.url(path), timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError:
            return False

    def page(self, path: str) -> str:
        """What it answers, whatever its status."""
        try:
            with urllib.request.urlopen(self.url(path), timeout=5) as answer:
                return str(answer.read(), "utf-8")
        except urllib.error.HTTPError as error:
            return str(error.read(), "utf-8")

    def status(self) -> dict[str, Any]:
        """The status document; raises OSError when it does not answer."""
        with urllib.request.urlopen(self.url("/status"), timeout=5) as answer:
            document: dict[str, Any] = json.load(answer)
        return document

    def metric(self, name: str) -> float:
        """The value of a metric without labels of its own; raises OSError when it does not answer."""
        with urllib.request.urlopen(self.url("/metrics"), timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"{name}{{"):
                    return float(line.rpartition(" ")[2])
        raise AssertionError(f"there is no metric {name}")

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def wait_end(self, timeout_s: float = 20.0) -> Ended:
        """Wait for it to end by itself."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end in {timeout_s:.0f} s:\n{self.tail()}") from None
        return Ended(code, self.text())

    def stop(self, timeout_s: float = 20.0) -> Ended:
        """SIGTERM and wait."""
        self.signal(signal.SIGTERM)
        return self.wait_end(timeout_s)

    def signal(self, number: int) -> None:
        """Send it a signal, and do not wait for what it does."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL and wait."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def text(self) -> str:
        """All it wrote so far."""
        return self.log_file.read_text(encoding="utf-8") if self.log_file.exists() else ""

    def tail(self) -> str:
        """The end of the log."""
        return "\n".join(self.text().splitlines()[-TAIL_LINES:])


@contextmanager
def running(directory: Path, document: dict[str, Any], *, executed: bool = False) -> Iterator[PipelineProcess]:
    """A pipeline that was started and is ready; it is killed at the end if it still runs."""
    process = PipelineProcess(directory, document, executed=executed)
    process.start()
    try:
        process.wait_ready()
        yield process
    finally:
        process.kill()


@contextmanager
def started(directory: Path, document: dict[str, Any], *, executed: bool = False) -> Iterator[PipelineProcess]:
    """A pipeline that was started, ready or not; it is killed at the end if it still runs."""
    process = PipelineProcess(directory, document, executed=executed)
    process.start()
    try:
        yield process
    finally:
        process.kill()
