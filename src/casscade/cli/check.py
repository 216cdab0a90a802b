"""`casscade check` and `casscade plan`: what a start would find and do, without doing it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
from psycopg import Connection

from casscade.capture.directory import check_directories
from casscade.capture.visibility import visibility
from casscade.cli.errors import explained
from casscade.cli.run import config_option
from casscade.config import PipelineConfig, load_config
from casscade.core.errors import ConfigurationError
from casscade.debezium.limits import limits
from casscade.load.control import ControlStore
from casscade.load.gaps import GapStore
from casscade.pipeline.cassandra import cassandra_settings
from casscade.pipeline.catalog import Catalog
from casscade.pipeline.database import Database
from casscade.pipeline.gap_status import gap_status
from casscade.pipeline.local_node import require_local
from casscade.rules.describe import describe
from casscade.schema.connect import connect, read_node, read_settings, require_cdc_enabled
from casscade.schema.mapping import Target, TargetColumn

_FREE_BYTES_MIN: Final = 64 << 20
POSTGRES_VERSION_MIN: Final = 12


@contextmanager
def opened(config: PipelineConfig) -> Iterator[tuple[Database, Any]]:
    """Both sides connected, for commands that only look."""
    database = Database(config)
    database.open()
    try:
        cluster, session = connect(cassandra_settings(config))
        try:
            yield database, session
        finally:
            cluster.shutdown()
    finally:
        database.close()


def resolve_targets(config: PipelineConfig, database: Database, session: Any) -> tuple[Catalog, list[Target]]:
    """The tables of the configuration as they would be replicated."""
    catalog = Catalog(config, session, ControlStore(config.name, config.postgres.control_schema))
    with database.transaction() as connection:
        return catalog, catalog.resolve(connection)


@click.command()
@config_option
@explained
def check(config_file: Path) -> None:
    """Look whether a pipeline could start: configuration, both databases, CDC, directories, tables.

    Stops at the first thing that stands in the way, with what to do about it and exit status 2. Also tells how soon a
    write can be captured, by the node's commitlog_sync settings, and warns about what delays or endangers it. Where
    Debezium captures, it says instead what the events of each table do not carry.

    \b
    Example:
      casscade check -c casscade.yaml
    """
    config = load_config(config_file)
    _passed("configuration", f"{config_file} is sound")
    if config.transport.format == "casscade":
        _check_directories(config)
    with opened(config) as (database, session):
        with database.transaction() as connection:
            version = connection.info.server_version
        if version // 10000 < POSTGRES_VERSION_MIN:
            raise ConfigurationError(
                "postgres_too_old",
                f"PostgreSQL {version // 10000} is too old: version {POSTGRES_VERSION_MIN} or newer is needed",
                where="postgres.dsn",
                now="nothing was started",
                hint="upgrade the server",
            )
        _passed("postgres", f"version {version // 10000}.{version % 10000} answers")
        _check_node(config, session)
        catalog, targets = resolve_targets(config, database, session)
        with database.transaction() as connection:
            statements = catalog.plan(connection)
            _tell_gaps(config, connection)
        for target in targets:
            _passed("table", f"{target.table.full_name} -> {target.rows.full_name}")
            if config.transport.format == "debezium":
                for limit in limits(target.table):
                    click.echo(f"warn  {'debezium':<14} {target.table.full_name}: {limit}")
        _passed("plan", f"{len(statements)} statements to run (casscade plan shows them)")


def _check_directories(config: PipelineConfig) -> None:
    check_directories(config.capture.cdc_directory, config.capture.state_directory, config.capture.commitlog_directory)
    _check_space(config.capture.state_directory)
    _passed("directories", f"{config.capture.cdc_directory} can be read and cleaned up")


def _check_node(config: PipelineConfig, session: Any) -> None:
    address = str(config.cassandra.contact_points[0])
    node = read_node(session, address)
    if config.transport.format == "debezium":
        _passed("cassandra", f"version {node.release_version} answers; Debezium captures")
        return
    require_cdc_enabled(node)
    require_local(node, config.capture.cdc_directory)
    _passed("cassandra", f"version {node.release_version} answers, CDC is on; source {node.host_id}")
    _tell_latency(config, node.release_version, read_settings(session, node, address))


def _tell_gaps(config: PipelineConfig, connection: Connection[Any]) -> None:
    """Input that was lost and is not repaired; it does not stand in the way of a start, unless `on_gap` says so."""
    store = GapStore(ControlStore(config.name, config.postgres.control_schema))
    due = store.due(connection) if store.exists(connection) else []
    for gap in due:
        advice = gap_status(gap)["advice"]
        click.echo(f"warn  {'gaps':<14} {gap.reason} at {gap.position} of {gap.source}: {gap.detail}; {advice}")
    if not due:
        _passed("gaps", "no input is known to be lost")


def _passed(name: str, text: str) -> None:
    click.echo(f"ok    {name:<14} {text}")


def _tell_latency(config: PipelineConfig, release: str, settings: Mapping[str, str | None]) -> None:
    """What bounds the latency; nothing of it stands in the way of a start."""
    section = config.capture
    bound, warnings = visibility(
        release, settings, eager=section.mode == "eager", commitlog=section.commitlog_directory is not None
    )
    _passed("latency", bound)
    for warning in warnings:
        click.echo(f"warn  {'latency':<14} {warning}")


def _check_space(directory: Path) -> None:
    place = directory
    while not place.exists():
        place = place.parent
    if shutil.disk_usage(place).free < _FREE_BYTES_MIN or not os.access(place, os.W_OK):
        raise ConfigurationError(
            "state_directory_unusable",
            f"{directory} can't be written, or its disk has less than {_FREE_BYTES_MIN >> 20} MiB left",
            where="capture.state_directory",
            now="nothing was started",
            hint="free space, or name a directory that this user may write",
        )


def _policy(column: TargetColumn) -> str:
    return "" if column.inexact == "keep" else f"  inexact: {column.inexact}"


@click.command()
@config_option
@click.option("--apply", "apply_", is_flag=True, help="Run the statements, whatever postgres.ddl says.")
@explained
def plan(config_file: Path, apply_: bool) -> None:
    """Show how each table is mapped and the DDL that a start would run. Changes nothing without --apply.

    \b
    Example:
      casscade plan -c casscade.yaml
      casscade plan --apply -c casscade.yaml
    """
    config = load_config(config_file)
    with opened(config) as (database, session):
        catalog, targets = resolve_targets(config, database, session)
        for target in targets:
            click.echo(f"{target.table.full_name} -> {target.rows.full_name}")
            for relation in target.relations:
                if relation.exact:
                    click.echo(f"    exact key in {relation.full_name}: {', '.join(relation.primary_key)}")
                for column in relation.columns:
                    key = "" if not column.key else "  shows the key" if column.shown else "  key"
                    static = "  static" if relation.static and not column.key else ""
                    name = f"{column.column.name} {column.column.type.cql()}"
                    click.echo(f"    {name:<40} {column.name} {column.pg_type.name}{key}{static}{_policy(column)}")
            if (rules := catalog.rules.get(target.table.id.bytes)) is not None:
                for line in describe(rules):
                    click.echo(f"    rule: {line}")
            for excluded in target.excluded:
                click.echo(f"    {excluded.name} {excluded.type.cql()} is left out")
        for blocked in (reason for table in catalog.blocked.values() for reason in table.values()):
            click.echo(f"    blocked: {blocked}")
        with database.transaction() as connection:
            statements = catalog.plan(connection)
            if apply_:
                ControlStore(config.name, config.postgres.control_schema).migrate(connection)
                statements = catalog.apply(connection, allowed=True)
    click.echo(f"\n-- {len(statements)} statements {'were run' if apply_ else 'to run at the next start'}")
    for statement in statements:
        click.echo(f"-- {statement.purpose}\n{statement.sql};")
