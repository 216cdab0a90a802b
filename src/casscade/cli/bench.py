"""`casscade bench`: measure this machine, the pipeline beside PostgreSQL's own limit."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import psycopg
from psycopg import Connection
from rich.console import Console

from casscade.bench.report import show, to_json
from casscade.bench.run import ROWS_DEFAULT, ROWS_QUICK
from casscade.bench.run import run as measure
from casscade.cli.errors import explained
from casscade.core.errors import ConfigurationError
from casscade.devstack import places
from casscade.devstack.postgres import PostgresServer
from casscade.load.raw import register
from casscade.pipeline.process import settle_collector

# As the pipeline's own connections are: see casscade.pipeline.database.
_OPTIONS = "-c enable_hashjoin=off -c enable_mergejoin=off"
_CONNECT_TIMEOUT_S = 10


@click.command()
@click.option("--rows", type=click.IntRange(min=1000), default=ROWS_DEFAULT, show_default=True, help="Rows a line.")
@click.option("--quick", is_flag=True, help=f"{ROWS_QUICK:,} rows a line: a look, not a measurement.")
@click.option("--dsn", help="Measure this PostgreSQL instead of one started for the purpose.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here.")
@explained
def bench(rows: int, quick: bool, dsn: str | None, json_file: Path | None) -> None:
    """Measure the pipeline and PostgreSQL's own limit with the same rows, in one run.

    Starts a PostgreSQL of its own with durable commits, and removes it. With --dsn it uses two schemas there,
    casscade_bench and casscade_bench_control, and drops them before and after.

    \b
    Example:
      casscade bench --json bench.json
      casscade bench --quick
    """
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="casscade-bench-") as name:
        directory = Path(name)
        settle_collector()
        with _server(directory, dsn, console) as server:
            report = measure(
                lambda: _connect(server),
                directory / "segments",
                ROWS_QUICK if quick else rows,
                lambda line: console.print(line, highlight=False),
            )
    show(report, Console())
    if json_file is not None:
        json_file.write_text(to_json(report), encoding="utf-8")


@contextmanager
def _server(directory: Path, dsn: str | None, console: Console) -> Iterator[str]:
    """The connection URL to measure; a server of our own ends with the block, or with this process."""
    if dsn is not None:
        yield dsn
        return
    directory.chmod(0o755)
    server = PostgresServer(
        directory / "postgres",
        port=places.free_port(),
        settings={"fsync": "on", "synchronous_commit": "on"},
        progress=lambda line: console.print(line, highlight=False),
    )
    try:
        server.start(owner=os.getpid())
        server.wait_ready()
        yield server.dsn()
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
