"""`casscade verify`: both sides compared row by row.

Invariant: both sides are only said to be equal when all of every table was compared.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import click
from cassandra import ConsistencyLevel

from casscade.cli.check import opened, resolve_targets
from casscade.cli.errors import explained
from casscade.cli.run import config_option
from casscade.config import PipelineConfig, load_config
from casscade.core.errors import RetryableError
from casscade.pipeline.catalog import Catalog
from casscade.pipeline.database import Database
from casscade.pipeline.present import present_part
from casscade.pipeline.table_plan import TablePlan
from casscade.schema.versions import renamed_keys
from casscade.verify.compare import TABLE_ALTERED, TableComparison, compare_table

# A pipeline that runs brings a change to PostgreSQL within a second or two; this is not the place to wait for more.
TRIES_MAX: Final = 3


@click.command()
@config_option
@click.option("--show-values", is_flag=True, help="Print keys and values of rows that differ, not only digests.")
@click.option("--max-examples", type=click.IntRange(0, 1000), default=20, show_default=True, help="Differences shown.")
@explained
def verify(config_file: Path, show_values: bool, max_examples: int) -> None:
    """Compare every row of every replicated table on both sides; exits with 1 if one differs.

    Run it while nothing is written, or read a difference as a row that was on its way: rows that differ are read
    again after a moment before they are reported. Columns that PostgreSQL does not have yet, or can't take, are named
    and left out, and it exits with 1, too.

    \b
    Example:
      casscade verify -c casscade.yaml
    """
    config = load_config(config_file)
    differing = uncompared = 0
    with opened(config) as (database, session):
        run = _Run(config, database, session, show_values=show_values, max_examples=max_examples)
        for table in run.tables():
            result, left_out = run.compare(table)
            uncompared += len(left_out)
            if result is not None:
                differing += result.differences
                _tell(result)
            for what in left_out:
                click.echo(f"    not compared: {what}")
    if differing:
        click.echo(f"{differing} rows differ", err=True)
    if uncompared:
        click.echo(f"{uncompared} tables or columns were not compared", err=True)
    if differing or uncompared:
        sys.exit(1)
    click.echo("both sides are equal")


class _Run:
    """One comparison of all tables, each as it is when its turn comes."""

    def __init__(
        self, config: PipelineConfig, database: Database, session: Any, *, show_values: bool, max_examples: int
    ) -> None:
        self._config, self._database, self._session = config, database, session
        self._show_values, self._max_examples = show_values, max_examples
        self._catalog: Catalog = self._resolved()

    def _resolved(self) -> Catalog:
        return resolve_targets(self._config, self._database, self._session)[0]

    def tables(self) -> list[str]:
        """The names of the tables."""
        return [plan.target.table.full_name for plan in self._catalog.plans]

    def compare(self, table: str) -> tuple[TableComparison | None, list[str]]:
        """What came out for a table (None: there was nothing to compare), and what was not compared.

        Raises RetryableError when the table is altered again and again meanwhile.
        """
        for tries_left in reversed(range(TRIES_MAX)):
            plan = next((each for each in self._catalog.plans if each.target.table.full_name == table), None)
            if plan is None:
                return None, [f"{table}, which was dropped in Cassandra meanwhile"]
            try:
                return self._compared(plan)
            except RetryableError as error:
                if error.code != TABLE_ALTERED or not tries_left:
                    raise
            self._catalog = self._resolved()
        raise AssertionError("the last try returns or raises")

    def _compared(self, plan: TablePlan) -> tuple[TableComparison | None, list[str]]:
        table = plan.target.table
        renamed = {} if plan.recorded is None else renamed_keys(plan.recorded.table, table)
        with closing(self._database.connect()) as connection:
            present = present_part(connection, plan.target, renamed)
            if present.target is None or plan.recreated:
                return None, [f"{table.full_name}: {plan.target.rows.full_name} is not in PostgreSQL yet as it is now"]
            result = compare_table(
                self._session,
                connection,
                present.target,
                consistency=ConsistencyLevel.name_to_value[self._config.cassandra.consistency],
                max_examples=self._max_examples,
                show_values=self._show_values,
                rules=self._catalog.rules.get(table.id.bytes),
            )
        return result, [*_missing(plan, present.missing), *plan.blocked.values()]


def _missing(plan: TablePlan, names: Iterable[str]) -> list[str]:
    name = plan.target.table.full_name
    return [f"{name}: PostgreSQL has no column for {column!r} as it is now (casscade plan)" for column in names]


def _tell(result: TableComparison) -> None:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(result.kinds.items())) or "none"
    click.echo(
        f"{result.table:<40} {result.rows_cassandra} rows in Cassandra, {result.rows_postgres} in PostgreSQL, "
        f"differences: {kinds}"
    )
    for example in result.examples:
        click.echo(f"    {example}")
