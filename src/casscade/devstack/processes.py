"""Start, find again and stop one server process, also from another process and after a crash.

Invariant: a signal is only ever sent to the very process that was started: the pid file holds the pid together with
the start time of the process, and a pid that was recycled counts as "not running".
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casscade.core.errors import ConfigurationError, InvariantError
from casscade.devstack import guard
from casscade.devstack.guard import birth_of

POLL_S: Final = 0.05
# A process that got SIGKILL and stays longer hangs in the kernel; waiting more does not help.
KILL_WAIT_S: Final = 10.0
LOG_TAIL_BYTES: Final = 64 * 1024

# Children of this process that still have to be reaped: servers, or their guards. One for each start, until it ends.
_started: list[subprocess.Popen[bytes]] = []
_started_lock = threading.Lock()


def _remember(popen: subprocess.Popen[bytes]) -> None:
    with _started_lock:
        _started.append(popen)


def _reap() -> None:
    with _started_lock:
        _started[:] = [popen for popen in _started if popen.poll() is None]


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What `status` tells of one service; `pid` is None when it does not run, `rss_bytes` then is 0."""

    name: str
    version: str
    address: str
    port: int
    pid: int | None
    ready: bool
    rss_bytes: int
    directory: Path


class ServerProcess:
    """The process of one service; `directory` holds `<name>.pid` and `<name>.log`."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.pid_file = directory / f"{name}.pid"
        self.log_file = directory / f"{name}.log"

    def start(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        user: pwd.struct_passwd | None,
        owner: int | None,
        owner_end_signal: signal.Signals,
    ) -> int:
        """Start `argv` in a session of its own and return its pid.

        With `owner` (a pid) a guard ends the server by `owner_end_signal` as soon as that process is gone. With
        `user` the server drops to that user.
        """
        self.log_file.write_bytes(b"")
        if owner is None:
            with self.log_file.open("ab") as log:
                popen = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd="/",
                    env=dict(environment),
                    user=None if user is None else user.pw_uid,
                    group=None if user is None else user.pw_gid,
                    extra_groups=None if user is None else [],
                    start_new_session=True,
                )
            _remember(popen)
            pid = popen.pid
        else:
            pid = self._start_guarded(argv, environment, user, owner, owner_end_signal)
        birth = birth_of(pid)
        self.pid_file.write_text(f"{pid} {birth}\n", encoding="ascii")
        return pid

    def _start_guarded(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        user: pwd.struct_passwd | None,
        owner: int,
        owner_end_signal: signal.Signals,
    ) -> int:
        uid, gid = (-1, -1) if user is None else (user.pw_uid, user.pw_gid)
        head = [sys.executable, "-I", "-S", str(Path(guard.__file__).resolve())]
        numbers = [str(number) for number in (owner, int(owner_end_signal), uid, gid)]
        with self.log_file.open("ab") as log:
            popen = subprocess.Popen(
                [*head, *numbers, str(self.log_file), *argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=dict(environment),
                start_new_session=True,
            )
        _remember(popen)
        assert popen.stdout is not None
        with popen.stdout as pipe:
            line = pipe.readline()
        if not line.strip().isdigit():
            popen.wait()
            raise InvariantError("guard_failed", f"{self.name} was not started by its guard", where=self.tail(3))
        return int(line)

    def pid(self) -> int | None:
        """The pid of the running server; a pid file whose process is gone (or is another one) is removed."""
        try:
            number, _, birth = self.pid_file.read_text(encoding="ascii").strip().partition(" ")
        except FileNotFoundError:
            return None
        _reap()
        if number.isdigit() and birth and birth_of(int(number)) == birth:
            return int(number)
        self.pid_file.unlink(missing_ok=True)
        return None

    def stop(self, stop_signal: signal.Signals, timeout_s: float) -> bool:
        """Send `stop_signal`, wait, then SIGKILL. True if the server ended by itself within the time (or was gone)."""
        if self._signal_and_wait(stop_signal, timeout_s):
            return True
        if not self._signal_and_wait(signal.SIGKILL, KILL_WAIT_S):
            raise ConfigurationError(
                "process_stuck",
                f"{self.name} did not end within {KILL_WAIT_S:.0f} s of SIGKILL",
                where=f"pid {self.pid()}",
                now="it is left running",
                hint="look for a hanging disk (dmesg), then run casscade dev down again",
            )
        return False

    def kill(self) -> None:
        """SIGKILL and wait: a crash, not a shutdown."""
        self.stop(signal.SIGKILL, KILL_WAIT_S)

    def _signal_and_wait(self, signal_number: signal.Signals, timeout_s: float) -> bool:
        pid = self.pid()
        if pid is None:
            return True
        try:
            os.kill(pid, signal_number)
        except ProcessLookupError:
            return True
        except PermissionError as error:
            raise ConfigurationError(
                "process_foreign",
                f"{self.name} runs as another user and can't be stopped",
                where=f"pid {pid}",
                now="it is left running",
                hint="run the command as the user who started the stack",
            ) from error
        deadline = time.monotonic() + timeout_s
        while self.pid() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def tail(self, lines: int) -> str:
        """The last `lines` lines of the log."""
        return "\n".join(self.log_text().splitlines()[-lines:])

    def log_text(self) -> str:
        """The end of the log (64 KiB at most)."""
        try:
            with self.log_file.open("rb") as log:
                log.seek(max(0, self.log_file.stat().st_size - LOG_TAIL_BYTES))
                return log.read(LOG_TAIL_BYTES).decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def rss_bytes(self) -> int:
        """Resident memory of the server and its children (PostgreSQL's shared pages are counted once); 0 if gone."""
        pid = self.pid()
        if pid is None:
            return 0
        total = 0
        for one in (pid, *_children(pid)):
            total += _memory(one)
        return total


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(word) for word in text.split()]


def _memory(pid: int) -> int:
    """Proportional set size in bytes where the kernel shows it to us, else the resident set size."""
    for name, key in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            text = Path(f"/proc/{pid}/{name}").read_text(encoding="ascii", errors="replace")
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return 0
