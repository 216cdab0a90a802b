"""`casscade demo`: everything on this machine, with a proof at the end."""

from __future__ import annotations

import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from casscade.cli.errors import explained
from casscade.demo.demo import DemoOptions, run_demo

INTERRUPTED = 130


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(2, 3600), default=30, show_default=True, help="Length of the workload."
)
@click.option("--rate", type=click.IntRange(1, 20_000), default=500, show_default=True, help="Writes a second.")
@click.option("--rows", type=click.IntRange(10, 1_000_000), default=5000, show_default=True, help="Existing rows.")
@click.option("--seed", type=click.IntRange(0), help="Repeat the workload of an earlier run (default: a new one).")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the data lies while it runs: new or empty, removed at the end (default: a temporary one).",
)
@click.option("--kafka", is_flag=True, help="Through a real Kafka: an agent and two loaders; one of each is killed.")
@click.option("--corrupt", is_flag=True, hidden=True, help="Change a row in PostgreSQL: the demo then has to fail.")
@explained
def demo(
    seconds: float, rate: int, rows: int, seed: int | None, directory: Path | None, kafka: bool, corrupt: bool
) -> None:
    """Show Casscade at work: a real Cassandra, a real PostgreSQL, a kill in the middle, both sides compared.

    Starts both servers on free ports, replicates sample tables under a mixed workload, kills the pipeline with
    SIGKILL half-way and starts it again, and compares every row at the end. Needs neither Java nor a database; what
    it downloads is cached. Leaves nothing running, and exits with 1 if a single row differs.

    \b
    Example:
      casscade demo
      casscade demo --seconds 60 --rate 1000 --rows 20000
      casscade demo --kafka
    """
    options = DemoOptions(
        seconds=seconds,
        rate=rate,
        rows=rows,
        seed=secrets.randbelow(1_000_000) if seed is None else seed,
        directory=directory,
        corrupt=corrupt,
        kafka=kafka,
    )
    try:
        with _interrupted_by_signals():
            proof = run_demo(options, Console())
    except KeyboardInterrupt:
        click.echo("interrupted; everything is stopped and removed", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(0 if proof.passed else 1)


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Clean up after a request to end, or a closed terminal, as after Ctrl-C; a signal ignored (nohup) stays so."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
