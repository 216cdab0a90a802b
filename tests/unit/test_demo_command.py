"""The command: what it passes on, and its exit status."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from casscade.cli import demo as command
from casscade.core.errors import ConfigurationError, InvariantError
from casscade.demo.demo import DemoOptions


class Run:
    """Stands in for the demo itself."""

    def __init__(self) -> None:
        self.options: list[DemoOptions] = []
        self.passed = True
        self.error: BaseException | None = None
        self.signal: signal.Signals | None = None

    def __call__(self, options: DemoOptions, console: Console) -> Any:
        self.options.append(options)
        if self.signal is not None:
            signal.raise_signal(self.signal)
        if self.error is not None:
            raise self.error
        return SimpleNamespace(passed=self.passed)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    run = Run()
    monkeypatch.setattr(command, "run_demo", run)
    return run


def call(*arguments: str) -> Result:
    return CliRunner().invoke(command.demo, arguments)


def test_the_defaults(run: Run) -> None:
    assert call().exit_code == 0
    assert call().exit_code == 0
    first, second = run.options
    assert (first.seconds, first.rate, first.rows, first.directory, first.corrupt) == (30, 500, 5000, None, False)
    assert first.seed != second.seed, "each run gets a seed of its own"


def test_the_options(run: Run) -> None:
    assert call("--seconds", "6", "--rate", "50", "--rows", "300", "--seed", "0", "--directory", "d").exit_code == 0
    assert run.options == [DemoOptions(6, 50, 300, 0, Path("d"), False)]
    assert call("--kafka", "--seed", "3").exit_code == 0
    assert run.options[1:] == [DemoOptions(seed=3, kafka=True)]


def test_a_row_that_differs_is_status_1(run: Run) -> None:
    run.passed = False
    assert call().exit_code == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigurationError("java_missing", "no Java here", hint="install one"), 2),
        (InvariantError("pipeline_died", "it ended; no Java here"), 1),
    ],
)
def test_errors_are_told_in_a_block(run: Run, error: Exception, status: int) -> None:
    run.error = error
    result = call()
    assert result.exit_code == status
    assert "no Java here" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def _heard() -> Iterator[None]:
    """Signals as in a terminal: tests that run under nohup, or behind `&`, inherit ignored ones."""
    handlers: dict[signal.Signals, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_heard")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_clean_up_and_end_it(run: Run, number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    run.signal = number
    result = call()
    assert result.exit_code == 130
    assert "everything is stopped" in result.stderr
    assert {each: signal.getsignal(each) for each in before} == before


@pytest.mark.parametrize("arguments", [["--rows", "9"], ["--seconds", "1"], ["--rate", "0"], ["--seed", "-1"]])
def test_what_can_not_be_is_refused(run: Run, arguments: list[str]) -> None:
    assert call(*arguments).exit_code == 2
    assert run.options == []


def test_a_signal_that_is_ignored_stays_ignored(run: Run) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run.signal = signal.SIGHUP
        assert call().exit_code == 0
    finally:
        signal.signal(signal.SIGHUP, before)
