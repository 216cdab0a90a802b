"""Processes are found again, stopped, and never confused with others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casscade.devstack.guard import birth_of
from casscade.devstack.processes import ServerProcess

SLEEPER = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]
DEAF = [
    sys.executable,
    "-I",
    "-S",
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ServerProcess]:
    made = ServerProcess("sleeper", tmp_path)
    yield made
    made.kill()


def _start(process: ServerProcess, argv: list[str], owner: int | None = None) -> int:
    return process.start(argv, environment=os.environ, user=None, owner=owner, owner_end_signal=signal.SIGKILL)


def _eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_another_object_finds_and_stops_it(process: ServerProcess, tmp_path: Path) -> None:
    pid = _start(process, SLEEPER)
    again = ServerProcess("sleeper", tmp_path)
    assert again.pid() == pid
    assert _eventually(lambda: again.rss_bytes() > 1_000_000)
    assert os.getsid(pid) == pid
    assert again.stop(signal.SIGTERM, 5.0)
    assert again.pid() is None
    assert not process.pid_file.exists()


def test_a_deaf_process_gets_sigkill(process: ServerProcess) -> None:
    _start(process, DEAF)
    assert _eventually(lambda: "deaf" in process.log_text())
    assert not process.stop(signal.SIGTERM, 0.2)
    assert process.pid() is None


def test_a_recycled_pid_is_not_ours_and_gets_no_signal(process: ServerProcess) -> None:
    with subprocess.Popen(SLEEPER) as stranger:
        process.pid_file.write_text(f"{stranger.pid} {birth_of(os.getpid())}\n")
        process.kill()
        assert stranger.poll() is None
        assert process.pid() is None
        assert not process.pid_file.exists()
        stranger.kill()


@pytest.mark.parametrize("content", ["", "x y\n", "4194303 boot:1\n", "12\n"])
def test_a_stale_or_torn_pid_file_means_not_running(process: ServerProcess, content: str) -> None:
    process.pid_file.write_text(content)
    assert process.pid() is None
    pid = _start(process, SLEEPER)
    assert process.pid() == pid


def test_the_log_keeps_what_it_said_before_it_ended(process: ServerProcess) -> None:
    _start(process, [sys.executable, "-I", "-S", "-c", "print('one'); raise SystemExit('two')"])
    assert _eventually(lambda: process.pid() is None)
    assert sorted(process.tail(2).splitlines()) == ["one", "two"]


def test_a_guarded_process_ends_with_its_owner(process: ServerProcess) -> None:
    with subprocess.Popen(SLEEPER) as owner:
        pid = _start(process, SLEEPER, owner=owner.pid)
        time.sleep(0.5)
        assert process.pid() == pid
        owner.kill()
    assert _eventually(lambda: birth_of(pid) is None)


def test_a_guarded_process_ends_with_its_guard(process: ServerProcess) -> None:
    pid = _start(process, SLEEPER, owner=os.getpid())
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert parent != os.getpid()
    os.kill(parent, signal.SIGKILL)
    assert _eventually(lambda: birth_of(pid) is None)


def test_an_owner_that_is_gone_already_ends_it_at_once(process: ServerProcess) -> None:
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", ""]) as owner:
        owner.wait()
    pid = _start(process, SLEEPER, owner=owner.pid)
    assert _eventually(lambda: birth_of(pid) is None)


def test_a_guarded_process_is_stopped_like_any_other(process: ServerProcess) -> None:
    pid = _start(process, SLEEPER, owner=os.getpid())
    assert process.stop(signal.SIGTERM, 5.0)
    assert birth_of(pid) is None
