"""What both servers of the stack share: where they are, whether they answer, how they end.

Invariant: `wait_ready` returns only after the server answered; when it ends instead, one error says why in a sentence.
"""

from __future__ import annotations

import re
import shutil
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Final

from casscade.core.errors import ConfigurationError
from casscade.devstack import places
from casscade.devstack.artifacts import Progress
from casscade.devstack.processes import POLL_S, ServerProcess, ServiceStatus

# 5 s on an idle machine; a busy one with two cores took 13 s.
READY_TIMEOUT_S: Final = 90.0
STOP_TIMEOUT_S: Final = 20.0
_TAKEN = re.compile(r"Address already in use|is in use by another process")


class Server(ABC):
    """A server whose files live below `directory`; the object can be made again to find a running one.

    `name` is that of its files and in the status, `title` the one in sentences.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    # What a line of the log looks like that tells why a start failed.
    _reasons: ClassVar[re.Pattern[str]]

    def __init__(
        self, directory: Path, *, version: str, address: str, port: int, cache: Path | None, progress: Progress
    ) -> None:
        self.directory = directory
        self.version = version
        self.address = address
        self.port = port
        self._cache = cache if cache is not None else places.cache_directory()
        self._progress = progress
        self._process = ServerProcess(self.name, directory)

    @property
    def log_file(self) -> Path:
        return self._process.log_file

    @property
    def pid(self) -> int | None:
        return self._process.pid()

    @abstractmethod
    def start(self, *, owner: int | None = None) -> None:
        """Start the server if it does not run; with `owner` (a pid) it ends when that process ends."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server answers now."""

    @abstractmethod
    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Shut it down and wait until it is gone; after `timeout_s` seconds by SIGKILL."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once: a crash; the next start recovers."""

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return when the server answers; ConfigurationError if it ends or does not answer in time."""
        deadline = time.monotonic() + timeout_s
        while not self.answers():
            if self._process.pid() is None:
                raise self._failed(self.title, self._process.log_text())
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"{self.name}_slow",
                    f"{self.title} did not answer within {timeout_s:.0f} s",
                    where=f"{self.address}:{self.port}, log {self.log_file}",
                    now="the server is left running",
                    hint="look at the end of the log, and at the load of the machine",
                )
            time.sleep(POLL_S)

    def _failed(self, program: str, text: str) -> ConfigurationError:
        """Why `program` ended while it started, from what it wrote."""
        if "No space left on device" in text or places.is_full(self.directory):
            return places.disk_full(self.directory)
        if _TAKEN.search(text):
            return places.port_in_use(self.title, self.address, self.port)
        reasons = [line for line in text.splitlines() if self._reasons.search(line)]
        reason = (reasons or text.splitlines() or ["it wrote no log"])[-1].strip()
        memory = "insufficient memory" in text or "OutOfMemoryError" in text
        return ConfigurationError(
            f"{self.name}_failed",
            f"{program} ended while it started: {reason[:300]}",
            where=str(self.log_file),
            now="the server does not run",
            hint="free at least 700 MB of memory"
            if memory
            else "read the end of the log; casscade dev reset starts afresh",
        )

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
