"""The pipeline as a process of its own, which the demo watches over HTTP, kills and starts again.

Invariant: no life outlives the process that runs the demo, however that one ends (see `casscade.devstack.guard`).
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

from casscade.core.errors import InvariantError
from casscade.demo.ledger import Document, Ledger
from casscade.devstack.processes import ServerProcess

POLL_INTERVAL_S: Final = 0.5
_REQUEST_TIMEOUT_S: Final = 2.0
_STOP_TIMEOUT_S: Final = 20.0
_TAIL_LINES: Final = 20


class PipelineChild:
    """`casscade <command> -c config_file`, one process after the other; `name` is that of its log files."""

    def __init__(
        self,
        config_file: Path,
        directory: Path,
        http_port: int,
        *,
        command: str = "run",
        name: str = "pipeline",
        ledger: Ledger | None = None,
    ) -> None:
        self._config_file = config_file
        self._directory = directory
        self._http_port = http_port
        self._command = command
        self._name = name
        self._process: ServerProcess | None = None
        self._next_poll = 0.0
        self.ledger = Ledger() if ledger is None else ledger
        self.pids: list[int] = []
        self.kills = 0
        self.peak_rss_bytes = 0

    @property
    def lives(self) -> int:
        """How often it was started."""
        return len(self.pids)

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid()

    @property
    def status(self) -> Document | None:
        """The newest document of the life that runs; None before its first."""
        return self.ledger.current(self.pid)

    def start(self) -> None:
        """Begin the next life."""
        self._process = ServerProcess(f"{self._name}-{self.lives + 1}", self._directory)
        pid = self._process.start(
            [sys.executable, "-m", "casscade.cli.main", self._command, "-c", str(self._config_file)],
            environment=os.environ,
            user=None,
            owner=os.getpid(),
            owner_end_signal=signal.SIGKILL,
        )
        self.pids.append(pid)

    def watch(self, *, now: bool = False) -> None:
        """Ask for a status document when one is due, or at once. Raises InvariantError if the process has ended."""
        pid = self.pid
        if pid is None:
            raise self._died()
        if now or time.monotonic() >= self._next_poll:
            self._next_poll = time.monotonic() + POLL_INTERVAL_S
            self.peak_rss_bytes = max(self.peak_rss_bytes, peak_rss_bytes(pid))
            document = fetch_status(self._http_port)
            if document is not None and document["pid"] == pid:
                self.ledger.observe(document)

    def kill(self) -> None:
        """SIGKILL: no goodbye, nothing is flushed."""
        assert self._process is not None
        self.watch(now=True)
        self._process.kill()
        self.kills += 1

    def stop(self) -> bool:
        """SIGTERM, and SIGKILL if that does not help. Whether it ended in time; true when nothing ran."""
        return self._process is None or self._process.stop(signal.SIGTERM, _STOP_TIMEOUT_S)

    def end(self) -> None:
        """SIGKILL without a word; nothing when nothing runs."""
        if self._process is not None:
            self._process.kill()

    def log_tail(self) -> str:
        """The end of the log of the newest life."""
        return "" if self._process is None else self._process.tail(_TAIL_LINES)

    def _died(self) -> InvariantError:
        return InvariantError(
            "pipeline_died",
            f"the {self._name} ended by itself",
            where=f"the end of its log:\n{self.log_tail()}",
            now="the demo is over, and everything it started is stopped",
            hint="run it again with the same --seed; if it ends again, report it with these lines",
        )


def fetch_status(port: int) -> dict[str, Any] | None:
    """The status document of the pipeline on this port of 127.0.0.1; None while none answers. Uses no proxy."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_REQUEST_TIMEOUT_S)
    try:
        connection.request("GET", "/status")
        answer = connection.getresponse()
        document: dict[str, Any] | None = json.load(answer) if answer.status == http.client.OK else None
        return document
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def peak_rss_bytes(pid: int) -> int:
    """The most memory that a process had resident so far (`VmHWM` of proc(5)); 0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM:")), 0)
