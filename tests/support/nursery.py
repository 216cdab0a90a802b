"""Commands of `casscade` in processes of their own, forked from one that has imported them: no second for each start.

Invariant: what is forked ends as an interpreter that ran the command alone: same arguments, finalization and status;
it never outlives the nursery, which never outlives the process that started it.
"""

from __future__ import annotations

import atexit
import ctypes
import faulthandler
import functools
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from casscade.core import failpoints

PR_SET_PDEATHSIG: Final = 1
NOTHING: Final[Mapping[str, str]] = {}


class Child:
    """A command that was started, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery = nursery
        self.pid = pid

    def poll(self) -> int | None:
        """Its exit status, or the negative number of the signal that ended it; None while it runs."""
        return self._nursery.status(self.pid, 0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired."""
        code = self._nursery.status(self.pid, timeout)
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired("casscade", timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that forks; used by one thread."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._buffer = b""
        self._codes: dict[int, int] = {}
        self._started = 0
        atexit.register(self.close)

    def start(
        self, arguments: Sequence[str], directory: Path, log_file: Path, environment: Mapping[str, str] = NOTHING
    ) -> Child:
        """Run `casscade` with these arguments in `directory`; what it writes is appended to `log_file`.

        `environment` is added to that of this process.
        """
        request = {
            "arguments": list(arguments),
            "directory": str(directory),
            "log": str(log_file),
            "environment": {**os.environ, "PYTHONFAULTHANDLER": "1", **environment},
        }
        self._requests.write(json.dumps(request).encode() + b"\n")
        self._started = 0
        while not self._started:
            assert self._receive(None), "the nursery ended"
        return Child(self, self._started)

    def status(self, pid: int, timeout_s: float | None) -> int | None:
        """The status of a child that ended within the time; None of one that has not."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while pid not in self._codes:
            if not self._receive(None if end is None else max(0.0, end - time.monotonic())):
                assert self._process.poll() is None, "the nursery ended"
                return None
        return self._codes[pid]

    def close(self) -> None:
        """End it, and with it whatever still runs."""
        self._requests.close()
        self._process.wait()
        self._answers.close()

    def _receive(self, timeout_s: float | None) -> bool:
        """Take what it says; False when it says nothing in time, or has ended."""
        if not select.select([self._answers], [], [], timeout_s)[0]:
            return False
        data = os.read(self._answers.fileno(), 1 << 16)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            pid, code = json.loads(line)
            if code is None:
                self._started = pid
            else:
                self._codes[pid] = code
        return bool(data)


@functools.cache
def nursery() -> Nursery:
    """The one of this process."""
    return Nursery()


def _serve() -> dict[str, Any] | None:
    """Fork for each request and tell how the forked ended: the request in a forked process, None at the end."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(wake)
    while True:
        readable = select.select([0, woken], [], [])[0]
        if woken in readable:
            os.read(woken, 1 << 12)
            _tell_ended()
        if 0 in readable:
            line = sys.stdin.buffer.readline()
            if not line:
                return None
            if (pid := os.fork()) == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.close(woken)
                os.close(wake)
                request: dict[str, Any] = json.loads(line)
                return request
            _tell(pid, None)


def _tell_ended() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _tell(pid, os.waitstatus_to_exitcode(status))


def _tell(pid: int, code: int | None) -> None:
    os.write(1, json.dumps([pid, code]).encode() + b"\n")


def _become(request: dict[str, Any]) -> None:
    """Take the place that a process of its own would have."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.chdir(request["directory"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for found, place in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(found, place)
    os.close(nothing)
    os.close(log)
    os.environ.clear()
    os.environ.update(request["environment"])
    failpoints.arm(os.environ)
    faulthandler.enable()
    sys.argv = ["casscade", *request["arguments"]]


def main() -> None:
    """The nursery's own process, and what is forked from it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    import casscade.cli.main
    import casscade.cli.run

    request = _serve()
    if request is not None:
        _become(request)
        casscade.cli.main.main()


if __name__ == "__main__":
    main()
