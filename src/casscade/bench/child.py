"""Processes that are measured: started by their module's name, spoken to in lines of JSON.

Invariant: a child ends when its standard input is closed, at the latest with the process that started it; what it
says is kept in its order, and a child that ends too early is an error that quotes its last words.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TextIO

from casscade.core.errors import InvariantError

# A round of a hundred thousand rows takes some seconds; a child that says nothing for so long hangs.
ANSWER_TIMEOUT_S: Final = 120.0
_END_TIMEOUT_S: Final = 20.0
_LAST_WORDS: Final = 2000
# What a child said and nobody read yet: a line for each batch of a round.
_LINES_MAX: Final = 100_000

Message = dict[str, Any]


class Child:
    """`python -m <module> <document>`; one thread of the parent calls its methods."""

    def __init__(self, module: str, document: Message, log: Path) -> None:
        self._log = log
        self._lines: queue.Queue[Message | None] = queue.Queue(_LINES_MAX)
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, json.dumps(document)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._thread = threading.Thread(target=self._listen, name=f"listen-{module}", daemon=True)
        self._thread.start()

    def tell(self, message: Message) -> None:
        """Send a message."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def hear(self, timeout_s: float = ANSWER_TIMEOUT_S) -> Message:
        """The next message; raises InvariantError when the child ended, or says nothing in time."""
        try:
            message = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise self._failed(f"said nothing for {timeout_s:.0f} s") from None
        if message is None:
            raise self._failed(f"ended with {self._process.wait()}")
        return message

    def heard(self) -> Iterator[Message]:
        """What was said and not read yet."""
        while not self._lines.empty():
            yield self.hear()

    def close(self) -> None:
        """Ask it to end, and see to it that it does."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(json.loads(line))
        self._lines.put(None)

    def _failed(self, how: str) -> InvariantError:
        words = self._log.read_text(encoding="utf-8", errors="replace").strip()[-_LAST_WORDS:]
        return InvariantError("bench_child", f"a measured process {how}: {words or 'it wrote nothing'}")


def say(message: Message, out: TextIO) -> None:
    """What a child does to send a message; any thread may."""
    os.write(out.fileno(), json.dumps(message).encode() + b"\n")  # in one piece, being shorter than a pipe's buffer


def costs() -> Message:
    """What the calling process has cost so far: seconds of CPU, bytes of memory (private, in all), the clock."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    fields = dict(line.split(":", 1) for line in status.splitlines() if line.startswith(("RssAnon", "VmRSS")))
    private, resident = (int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "VmRSS"))
    return {
        "at": time.monotonic(),
        "cpu": time.process_time(),
        "private_bytes": private,
        "resident_bytes": resident,
    }
