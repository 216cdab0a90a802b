"""`casscade snapshot`: the copy of the rows that existed before capture began.

Invariant: only `start` and `run` need Cassandra; what the others say and do is in PostgreSQL.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click

from casscade.cli.check import opened, resolve_targets
from casscade.cli.errors import explained
from casscade.cli.run import config_option
from casscade.config import load_config
from casscade.observability.logs import configure_logging
from casscade.pipeline.database import Database
from casscade.pipeline.process import settle_collector
from casscade.pipeline.snapshot_control import SnapshotCommands, choose
from casscade.pipeline.snapshot_job import SnapshotJob

_TELL_S: Final = 5.0

tables_option = click.option(
    "--table", "tables", multiple=True, metavar="KEYSPACE.TABLE", help="This table alone; may be given again."
)


@contextmanager
def _commands(config_file: Path) -> Iterator[SnapshotCommands]:
    config = load_config(config_file)
    database = Database(config)
    database.open()
    try:
        yield SnapshotCommands(config, database)
    finally:
        database.close()


@click.group()
def snapshot() -> None:
    """Copy the rows that existed before capture began: start, watch, pause and resume it.

    A running pipeline reads every new table by itself; these commands are for reading one again, for large tables and
    for sparing Cassandra. All processes of the pipeline obey within a few seconds; none has to be restarted.
    """


@snapshot.command()
@config_option
@tables_option
@click.option("--again", is_flag=True, help="Begin anew with what was read already.")
@explained
def start(config_file: Path, tables: tuple[str, ...], again: bool) -> None:
    """Have the processes of the pipeline read tables, all by default. Safe at any time beside the stream.

    \b
    Example:
      casscade snapshot start -c casscade.yaml --table shop.orders --again
    """
    config = load_config(config_file)
    with opened(config) as (database, session):
        commands = SnapshotCommands(config, database)
        _, targets = resolve_targets(config, database, session)
        started = commands.start(choose(config, targets, tables), again=again)
    for name, ranges in started.items():
        if ranges:
            click.echo(f"{name}: {ranges} ranges are to be read")
        else:
            hint = "nothing of it is complete yet" if again else "--again begins anew"
            click.echo(f"{name}: it has a snapshot, which stays as it is ({hint})")


@snapshot.command()
@config_option
@tables_option
@explained
def run(config_file: Path, tables: tuple[str, ...]) -> None:
    """Read tables (all by default) in this process until they are complete, beside the others of the pipeline.

    For pipelines with Kafka: start as many as you like, on any host, and end them at any time. Exits with 0 when the
    tables are complete, with 3 when it was stopped before.

    \b
    Example:
      casscade snapshot run -c casscade.yaml --table shop.orders
    """
    config = load_config(config_file)
    configure_logging("warning" if config.log.level in ("debug", "info") else config.log.level, config.log.format)
    printer = _Printer()
    job = SnapshotJob(config, tables, printer.tell)

    def stop(_number: int, _frame: FrameType | None) -> None:
        job.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    settle_collector()
    job.run()
    printer.flush()
    if not job.complete:
        click.echo("stopped; the next worker goes on behind what is durable")
        sys.exit(3)
    click.echo("complete")


@snapshot.command()
@config_option
@tables_option
@explained
def pause(config_file: Path, tables: tuple[str, ...]) -> None:
    """Leave tables alone (all by default, those to come included) until they are resumed; the stream goes on.

    \b
    Example:
      casscade snapshot pause -c casscade.yaml
    """
    with _commands(config_file) as commands:
        commands.pause(tables)
    click.echo("paused: workers end their page and wait; casscade snapshot resume goes on")


@snapshot.command()
@config_option
@tables_option
@explained
def resume(config_file: Path, tables: tuple[str, ...]) -> None:
    """Go on with tables (all by default) behind what is durable.

    \b
    Example:
      casscade snapshot resume -c casscade.yaml --table shop.orders
    """
    with _commands(config_file) as commands:
        commands.resume(tables)
    click.echo("resumed")


@snapshot.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document for each table, in a list.")
@explained
def status(config_file: Path, as_json: bool) -> None:
    """Show how far each table is, how fast it goes on by all who read, and who reads it.

    \b
    Example:
      casscade snapshot status -c casscade.yaml
    """
    with _commands(config_file) as commands:
        documents = commands.status()
    if as_json:
        json.dump(documents, sys.stdout, indent=2)
        click.echo()
        return
    for document in documents:
        click.echo(line_of(document))
        for owner, ranges in document["workers"].items():
            click.echo(f"    {owner} reads {ranges} ranges")
    if not documents:
        click.echo("no table has a snapshot")


class _Printer:
    """Prints progress every few seconds, and the last word on each table."""

    def __init__(self) -> None:
        self._due = 0.0
        self._last: list[dict[str, Any]] = []

    def tell(self, documents: list[dict[str, Any]]) -> None:
        self._last = documents
        if time.monotonic() >= self._due:
            self.flush()
            self._due = time.monotonic() + _TELL_S

    def flush(self) -> None:
        for document in self._last:
            click.echo(line_of(document))


def line_of(document: dict[str, Any]) -> str:
    """One table in one line."""
    line = (
        f"{document['table']}: {document['percent']:.1f}%, {document['rows']} rows, "
        f"{document['ranges_done']} of {document['ranges_total']} ranges"
    )
    if document["ranges_done"] == document["ranges_total"]:
        return f"{line}, complete"
    if document["rows_per_second"] is not None:
        line += f", {document['rows_per_second']:.0f} rows/s"
    if document["eta_seconds"] is not None:
        line += f", {_duration(document['eta_seconds'])} left"
    return f"{line}, paused" if document["paused"] else line


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
