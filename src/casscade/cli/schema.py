"""`casscade schema`: the history of the replicated tables, what two versions differ in, and the way back to one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click
import psycopg
from psycopg import Connection

from casscade.cli.errors import explained
from casscade.cli.run import config_option
from casscade.config import PipelineConfig, TableRule, load_config, resolve_tables
from casscade.core.errors import ConfigurationError, RetryableError
from casscade.load.catalog import lock_ddl
from casscade.load.control import ControlStore
from casscade.load.schema_history import SchemaHistory, Version
from casscade.pipeline.database import Database
from casscade.pipeline.table_plan import Planner
from casscade.schema.model import Table
from casscade.schema.versions import changes

_NOW = "nothing was changed"


@click.group()
def schema() -> None:
    """Versions of the replicated tables: history, differences, the way back."""


@contextmanager
def _history(config: PipelineConfig) -> Iterator[tuple[SchemaHistory, Connection[Any]]]:
    database = Database(config)
    with closing(database):
        database.open()
        with database.transaction() as connection:
            history = SchemaHistory(ControlStore(config.name, config.postgres.control_schema))
            if not history.exists(connection):
                raise ConfigurationError(
                    "history_missing",
                    f"The control schema {config.postgres.control_schema} has no history of schemas yet",
                    where="postgres.control_schema",
                    now=_NOW,
                    hint="start the pipeline once",
                )
            yield history, connection


def _versions(history: SchemaHistory, connection: Connection[Any], table: str) -> list[Version]:
    found = history.of_source(connection, table)
    if not found:
        raise ConfigurationError(
            "table_unknown",
            f"The history has no table {table!r}",
            where="the argument",
            now=_NOW,
            hint="name it as in Cassandra: keyspace.table",
        )
    return found


def _one(versions: Sequence[Version], label: str) -> Version:
    """The version of that label; its number alone means the newest table id."""
    newest = versions[-1].table.id
    for version in versions:
        if version.label == label or (version.table.id == newest and str(version.number) == label):
            return version
    raise ConfigurationError(
        "version_unknown",
        f"{versions[0].table.full_name} has no version {label!r}",
        where="the argument",
        now=_NOW,
        hint="casscade schema history shows them",
    )


@schema.command()
@config_option
@click.argument("table")
@click.option("--ddl", is_flag=True, help="Also the statements that were run in PostgreSQL.")
@explained
def history(config_file: Path, table: str, ddl: bool) -> None:
    """Show every version of TABLE (keyspace.table): when, by whom, what changed.

    A table that was dropped and made again has several ids; each has its versions.

    \b
    Example:
      casscade schema history shop.orders -c casscade.yaml
    """
    with _history(load_config(config_file)) as (store, connection):
        for version in _versions(store, connection, table):
            click.echo(
                f"{version.label}  altered {version.altered_at:%Y-%m-%d %H:%M:%S}  recorded "
                f"{version.recorded_at:%Y-%m-%d %H:%M:%S} by {version.role} on {version.instance} -> {version.target}"
            )
            for change in version.changes:
                click.echo(f"    {change}")
            for statement in version.ddl if ddl else ():
                click.echo(f"    > {statement}")


@schema.command()
@config_option
@click.argument("table")
@click.argument("first")
@click.argument("second")
@explained
def diff(config_file: Path, table: str, first: str, second: str) -> None:
    """Show what became of TABLE between the versions FIRST and SECOND, as `history` labels them.

    \b
    Example:
      casscade schema diff shop.orders 2 5 -c casscade.yaml
    """
    with _history(load_config(config_file)) as (store, connection):
        versions = _versions(store, connection, table)
        before, after = _one(versions, first), _one(versions, second)
    if before.table.id != after.table.id:
        click.echo(f"{before.label} and {after.label} are two tables of one name")
        _tell_columns(before.table, "-")
        _tell_columns(after.table, "+")
        return
    for change in changes(before.table, after.table):
        click.echo(change.what)


def _tell_columns(table: Table, sign: str) -> None:
    for column in table.columns:
        if not column.dropped:
            click.echo(f"{sign} {column.name} {column.type.cql()} {column.kind.value.replace('_', ' ')}")


@schema.command()
@config_option
@click.argument("table")
@click.option("--to", "label", required=True, help="A version as `history` labels it, or `newest`.")
@explained
def rollback(config_file: Path, table: str, label: str) -> None:
    """Go back to the columns that TABLE had in an earlier version; running pipelines follow at their next batch.

    Columns that came later stay in PostgreSQL and take no more values; columns that Cassandra dropped since do not
    come back, and neither names nor types of others change. `--to newest` ends it: these columns begin empty then, and
    casscade snapshot start --again fills them.

    \b
    Example:
      casscade schema rollback shop.orders --to 2 -c casscade.yaml
    """
    config = load_config(config_file)
    with _history(config) as (store, connection), _soon(table):
        lock_ddl(connection)
        versions = _versions(store, connection, table)
        newest = versions[-1]
        chosen = newest if label == "newest" else _one(versions, label)
        _require_same(chosen, newest.table.id)
        told = "all columns are replicated again" if label == "newest" else f"back to the columns of {chosen.label}"
        planner = Planner(config, ControlStore(config.name, config.postgres.control_schema))
        number = None if label == "newest" else chosen.number
        done = planner.go_back(
            connection, _rule(config, newest.table, store.living(connection)), newest, number, [told]
        )
    click.echo(f"{table}: {told}")
    for statement in done:
        click.echo(f"    {statement.purpose}")


@contextmanager
def _soon(table: str) -> Iterator[None]:
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise RetryableError(
            "table_locked",
            f"{table} is written or read just now, so that its columns can't be changed",
            where=table,
            now=_NOW,
            hint="try again; a long reader of the table in PostgreSQL may have to end first",
        ) from error


def _rule(config: PipelineConfig, table: Table, living: Mapping[uuid.UUID, Version]) -> TableRule:
    """What the configuration says of a table. Raises ConfigurationError where it does not select it."""
    for rule in resolve_tables(config, [(each.table.keyspace, each.table.name) for each in living.values()]):
        if (rule.keyspace, rule.table) == (table.keyspace, table.name):
            return rule
    raise ConfigurationError(
        "table_unknown",
        f"The configuration does not select {table.full_name} any more",
        where="tables",
        now=_NOW,
        hint="add the table to the configuration first",
    )


def _require_same(chosen: Version, newest: uuid.UUID) -> None:
    if chosen.table.id != newest:
        raise ConfigurationError(
            "version_unknown",
            f"{chosen.label} is a version of a table that is gone",
            where="--to",
            now=_NOW,
            hint="its rows are kept in PostgreSQL under another name: casscade schema history",
        )
