"""`casscade bench`: measure this machine, the pipeline beside PostgreSQL's own limit."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import psycopg
from psycopg import Connection
from rich.console import Console

from casscade.bench import kafka_report
from casscade.bench import rules as rules_bench
from casscade.bench.kafka_path import Servers
from casscade.bench.kafka_run import run_kafka
from casscade.bench.report import show, to_json
from casscade.bench.run import BATCH_ROWS, ROWS_DEFAULT, ROWS_QUICK, run
from casscade.cli.errors import explained
from casscade.core.errors import ConfigurationError
from casscade.devstack import places
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.postgres import PostgresServer
from casscade.load.raw import register
from casscade.pipeline.process import settle_collector

# As the pipeline's own connections are: see casscade.pipeline.database.
_OPTIONS = "-c enable_hashjoin=off -c enable_mergejoin=off"
_CONNECT_TIMEOUT_S = 10


@click.command()
@click.option("--rows", type=click.IntRange(min=1000), default=ROWS_DEFAULT, show_default=True, help="Rows a line.")
@click.option("--quick", is_flag=True, help=f"{ROWS_QUICK:,} rows a line: a look, not a measurement.")
@click.option(
    "--kafka",
    is_flag=True,
    help="Measure the path over Kafka: an agent and loaders as processes, a broker between them.",
)
@click.option("--rules", is_flag=True, help="Measure what each rule costs (docs/rules.md).")
@click.option("--dsn", help="Measure this PostgreSQL instead of one started for the purpose.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here.")
@explained
def bench(rows: int, quick: bool, kafka: bool, rules: bool, dsn: str | None, json_file: Path | None) -> None:
    """Measure the pipeline and PostgreSQL's own limit with the same rows, in one run.

    Starts a PostgreSQL of its own with durable commits, and removes it. With --dsn it uses two schemas there,
    casscade_bench and casscade_bench_control, and drops them before and after.

    \b
    Example:
      casscade bench --json bench.json
      casscade bench --quick
      casscade bench --kafka
      casscade bench --rules --quick
    """
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="casscade-bench-") as name:
        directory = Path(name)
        settle_collector()
        with _server(directory, dsn, console) as server:
            measured = _measure_kafka if kafka else _measure_rules if rules else _measure_direct
            document = measured(server, directory, ROWS_QUICK if quick else rows, console)
    if json_file is not None:
        json_file.write_text(document, encoding="utf-8")


def _measure_direct(server: _Measured, directory: Path, rows: int, console: Console) -> str:
    """Measure capture and load in one process, and show it; returns the figures as JSON."""
    report = run(lambda: _connect(server.dsn), directory / "segments", rows, _teller(console))
    show(report, Console())
    return to_json(report)


def _measure_rules(server: _Measured, _directory: Path, rows: int, console: Console) -> str:
    """The loader alone, with each rule and without."""
    with _connect(server.dsn) as connection:
        prices = rules_bench.measure(connection, rows, _teller(console))
        rules_bench.show(prices, Console())
        return rules_bench.to_json(prices, connection)


def _measure_kafka(server: _Measured, directory: Path, rows: int, console: Console) -> str:
    """The same over a broker of its own."""
    broker = KafkaBroker(
        directory / "kafka", port=places.free_port(), controller_port=places.free_port(), progress=_teller(console)
    )
    try:
        broker.start(owner=os.getpid())
        broker.wait_ready()
        servers = Servers(server.dsn, broker.bootstrap, server.pid, broker.pid, broker.data_directory)
        connect = partial(_connect, server.dsn)
        report = run_kafka(connect, servers, directory / "segments", rows, _teller(console), BATCH_ROWS)
    finally:
        broker.remove()
    kafka_report.show(report, Console())
    return kafka_report.to_json(report)


def _teller(console: Console) -> Callable[[str], None]:
    return partial(console.print, highlight=False)


class _Measured(NamedTuple):
    """A PostgreSQL to measure; the pid of its postmaster where it is ours."""

    dsn: str
    pid: int | None


@contextmanager
def _server(directory: Path, dsn: str | None, console: Console) -> Iterator[_Measured]:
    """What to measure; a server of our own ends with the block, or with this process."""
    if dsn is not None:
        yield _Measured(dsn, None)
        return
    directory.chmod(0o755)
    server = PostgresServer(
        directory / "postgres",
        port=places.free_port(),
        settings={"fsync": "on", "synchronous_commit": "on"},
        progress=_teller(console),
    )
    try:
        server.start(owner=os.getpid())
        server.wait_ready()
        yield _Measured(server.dsn(), server.pid)
    finally:
        server.remove()


def _connect(dsn: str) -> Connection[Any]:
    try:
        connection = psycopg.connect(dsn, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S, options=_OPTIONS)
    except psycopg.Error as error:
        raise ConfigurationError(
            "postgres_unreachable",
            f"PostgreSQL does not accept the connection: {' '.join(str(error).split())}",
            where="--dsn",
            now="nothing was measured",
            hint="check the address, the role and its password",
        ) from None
    register(connection)
    return connection
