"""The runner of the version matrix: no part of it outlives it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from casscade.devstack.guard import birth_of
from tests.matrix.run import EACH_RELEASE, ROOT, VARIATIONS, Result, commands_of, main, wait_for

# Something that does not end by itself.
ENDLESS = ["http.server", "--bind", "127.0.0.1", "0"]
RUNNER = (
    "import sys; from pathlib import Path; from tests.matrix.run import wait_for; "
    f"wait_for({ENDLESS!r}, Path(sys.argv[1]).open('wb'), 60)"
)
WAIT_S = 20.0


def child_of(pid: int) -> int:
    """The child of a process, once it has one."""
    deadline = time.monotonic() + WAIT_S
    while not (children := Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int(children[0])


def test_a_part_ends_with_a_runner_that_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, str(log)])
    child = child_of(runner.pid)
    deadline = time.monotonic() + WAIT_S
    while not log.exists() or b"Serving" not in log.read_bytes():
        assert runner.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    runner.kill()
    runner.wait()
    while birth_of(child) is not None:
        assert time.monotonic() < deadline, "the part goes on without its runner"
        time.sleep(0.01)


def test_a_part_that_hangs_is_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        assert wait_for(ENDLESS, output, 0.3) == -1


def test_every_release_is_there_plain_and_compressed_and_with_both_postgres_versions() -> None:
    releases = {variation.cassandra for variation in VARIATIONS}
    assert releases == {"3.11.19", "4.0.19", "4.1.10", "5.0.6"}
    for release in releases:
        those = [variation for variation in VARIATIONS if variation.cassandra == release]
        assert {variation.postgres for variation in those} == {"12", "18"}
        assert {"none"} < {variation.compression for variation in those}
    assert {variation.mode for variation in VARIATIONS if variation.cassandra == "5.0.6"} == {
        "CASSANDRA_4",
        "UPGRADING",
        "NONE",
    }
    assert [variation.cassandra for variation in EACH_RELEASE] == sorted(releases)
    assert {variation.postgres for variation in EACH_RELEASE} == {"12", "18"}


def test_tests_of_several_parts_run_side_by_side() -> None:
    commands = commands_of(VARIATIONS[0], ["pipeline", "servers", "differential"], 2.0)
    assert list(commands) == ["pipeline+servers", "differential"]
    for command in commands.values():
        assert command[-len(VARIATIONS[0].options) :] == VARIATIONS[0].options
        assert [word for word in command if word.endswith(".py") and not (ROOT / word).exists()] == []


def test_an_hour_ends_at_the_first_difference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds: list[float] = []

    def run(servers: str, part: str, command: list[str], timeout_s: float) -> Result:
        assert command[:3] == ["tests.e2e.differential_run", "--minutes", "15.0"]
        seconds.append(timeout_s)
        told = f"{40 + len(seconds)} seeds, {len(seconds) - 1} differences"
        return Result(servers, part, len(seconds) == 1, 900.0, told)

    monkeypatch.setattr("tests.matrix.run.run", run)
    arguments = ["run", "--parts", "differential", "--minutes", "15", "--each-release", "--stop"]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert main() == 1
    assert len(seconds) == 2
    assert min(seconds) > 900
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown[-3:-1]] == ["3.11.19", "4.0.19"]
    assert shown[-2].endswith("42 seeds, 1 differences")
