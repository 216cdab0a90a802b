"""`casscade verify`: both sides compared row by row."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import click
from cassandra import ConsistencyLevel

from casscade.cli.check import opened, resolve_targets
from casscade.cli.errors import explained
from casscade.cli.run import config_option
from casscade.config import load_config
from casscade.verify.compare import compare_table


@click.command()
@config_option
@click.option("--show-values", is_flag=True, help="Print keys and values of rows that differ, not only digests.")
@click.option("--max-examples", type=click.IntRange(0, 1000), default=20, show_default=True, help="Differences shown.")
@explained
def verify(config_file: Path, show_values: bool, max_examples: int) -> None:
    """Compare every row of every replicated table on both sides; exits with 1 if one differs.

    Run it while nothing is written, or read a difference as a row that was on its way: rows that differ are read
    again after a moment before they are reported.

    \b
    Example:
      casscade verify -c casscade.yaml
    """
    config = load_config(config_file)
    total = 0
    with opened(config) as (database, session):
        catalog, targets = resolve_targets(config, database, session)
        for target in targets:
            with closing(database.connect()) as connection:
                result = compare_table(
                    session,
                    connection,
                    target,
                    consistency=ConsistencyLevel.name_to_value[config.cassandra.consistency],
                    max_examples=max_examples,
                    show_values=show_values,
                    rules=catalog.rules.get(target.table.id.bytes),
                )
            total += result.differences
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(result.kinds.items())) or "none"
            click.echo(
                f"{result.table:<40} {result.rows_cassandra} rows in Cassandra, {result.rows_postgres} in PostgreSQL, "
                f"differences: {kinds}"
            )
            for example in result.examples:
                click.echo(f"    {example}")
    if total:
        click.echo(f"{total} rows differ", err=True)
        sys.exit(1)
    click.echo("both sides are equal")
