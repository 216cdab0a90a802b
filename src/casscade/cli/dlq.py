"""`casscade dlq`: look at dead letters, have them applied again, or discard them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

import click
import psycopg

from casscade.cli.errors import explained
from casscade.cli.run import config_option
from casscade.cli.status import fetch_status
from casscade.config import PipelineConfig, load_config
from casscade.core.errors import CasscadeError, ConfigurationError
from casscade.deadletter.show import Describer
from casscade.deadletter.store import DeadLetterStore, Filter, Group
from casscade.pipeline.cassandra import cassandra_settings
from casscade.pipeline.database import Database
from casscade.schema.connect import connect
from casscade.schema.model import Table
from casscade.schema.reader import read_schema

F = TypeVar("F", bound=Callable[..., object])

SHOWN_MAX: Final = 10
EACH_MAX: Final = 1000
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Age(click.ParamType[float]):
    """A number and s, m, h or d; seconds afterwards."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """`2h` is 7200.0."""
        match = re.fullmatch(r"(\d{1,6})([smhd])", str(value))
        if match is None:
            self.fail(f"{value!r} is no age; write 30s, 15m, 2h or 7d", param, ctx)
        return float(int(match[1]) * _UNITS[match[2]])


def filtered(command: F) -> F:
    """The options that choose letters."""
    for option in reversed(
        (
            click.option("--table", help="Only letters of this table (keyspace.table, as list shows it)."),
            click.option("--code", help="Only letters of this cause."),
            click.option("--older-than", type=Age(), help="Only letters that first failed longer ago: 30m, 2h, 7d."),
            click.option("--newer-than", type=Age(), help="Only letters that first failed within this time."),
            click.option("--id", "ids", type=int, multiple=True, help="Only this letter; may be given several times."),
        )
    ):
        command = option(command)
    return command


def _filter(options: Mapping[str, Any]) -> Filter:
    # Letters of no known table are shown as those of table `unknown`.
    table = "" if options["table"] == "unknown" else options["table"]
    return Filter(table, options["code"], options["older_than"], options["newer_than"], tuple(options["ids"]))


@click.group()
def dlq() -> None:
    """Dead letters: what could not be applied, with its bytes and the reason."""


@dlq.command("list")
@config_option
@filtered
@click.option("--each", is_flag=True, help="Also list the letters one by one, the oldest 1000 at most.")
@explained
def list_letters(config_file: Path, each: bool, **options: Any) -> None:
    """Show how many letters there are, by table and cause.

    \b
    Example:
      casscade dlq list -c casscade.yaml --newer-than 1d
    """
    with _letters(load_config(config_file)) as (connection, store):
        groups = store.groups(connection, _filter(options))
        _print_groups(groups)
        if each:
            for letter in store.letters(connection, _filter(options), EACH_MAX, content=False):
                click.echo(
                    f"{letter.id:>8}  {letter.code:<24} {letter.table or 'unknown':<30} {letter.state:<9} "
                    f"{letter.retries} retries  {letter.last_failed_at:%Y-%m-%d %H:%M:%S}  {letter.event_id}"
                )
        total = store.count(connection)
    click.echo(f"{sum(group.letters for group in groups)} of {total} dead letters")


@dlq.command()
@config_option
@filtered
@click.option("--values", is_flag=True, help="Print keys and values, not only their sizes.")
@click.option("--limit", type=click.IntRange(1, 1000), default=SHOWN_MAX, show_default=True, help="Letters shown.")
@explained
def show(config_file: Path, values: bool, limit: int, **options: Any) -> None:
    """Show letters with their error and what can be decoded of them with the schema that Cassandra has now.

    \b
    Example:
      casscade dlq show -c casscade.yaml --id 7 --values
    """
    config = load_config(config_file)
    with _letters(config) as (connection, store):
        found = store.letters(connection, _filter(options), limit)
        total = store.count(connection, _filter(options))
    describer = Describer(_tables(config) if found else {}, values=values)
    for letter in found:
        click.echo("\n".join(describer.lines(letter)))
    click.echo(f"{len(found)} of {total} dead letters")


@dlq.command()
@config_option
@filtered
@click.option("--all", "everything", is_flag=True, help="All letters; needed when no other option chooses.")
@click.option("--dry-run", is_flag=True, help="Only show what would be replayed.")
@explained
def replay(config_file: Path, everything: bool, dry_run: bool, **options: Any) -> None:
    """Have letters applied again, by the running pipeline; what fails again stays, with one more retry.

    \b
    Example:
      casscade dlq replay -c casscade.yaml --table shop.orders --code postgres_23514
    """
    which = _chosen(options, everything, "replay")
    config = load_config(config_file)
    with _letters(config) as (connection, store):
        before = store.count(connection)
        groups = store.groups(connection, which)
        _print_groups(groups)
        if dry_run:
            waiting = sum(group.letters for group in groups if group.state == "waiting")
            click.echo(f"{waiting} of {before} dead letters would be replayed; nothing was changed")
            return
        requested = store.request(connection, which)
    click.echo(f"{requested} of {before} dead letters will be replayed")
    host, port = config.http.address
    try:
        fetch_status(host, port)
    except OSError:
        click.echo(f"no pipeline answers at {host}:{port}: they are replayed as soon as one runs")
    else:
        click.echo("the running pipeline takes them within seconds; casscade dlq list shows what is left")


@dlq.command()
@config_option
@filtered
@click.option("--all", "everything", is_flag=True, help="All letters; needed when no other option chooses.")
@click.option("--dry-run", is_flag=True, help="Only show what would be discarded.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@explained
def discard(config_file: Path, everything: bool, dry_run: bool, yes: bool, **options: Any) -> None:
    """Delete letters for good: what they hold will be missing in PostgreSQL.

    \b
    Example:
      casscade dlq discard -c casscade.yaml --id 7 --id 8
    """
    which = _chosen(options, everything, "discard")
    with _letters(load_config(config_file)) as (connection, store):
        before = store.count(connection)
        groups = store.groups(connection, which)
        _print_groups(groups)
        chosen = sum(group.letters for group in groups)
        if dry_run:
            click.echo(f"{chosen} of {before} dead letters would be discarded; nothing was changed")
            return
        if chosen and not yes:
            click.confirm(f"Delete {chosen} dead letters for good?", abort=True)
        discarded = store.discard(connection, which)
        after = store.count(connection)
    click.echo(f"{discarded} discarded: {before} dead letters before, {after} after")


def _chosen(options: Mapping[str, Any], everything: bool, verb: str) -> Filter:
    which = _filter(options)
    if which.empty and not everything:
        raise ConfigurationError(
            "letters_unchosen",
            f"No letters are chosen to {verb}",
            now="nothing was changed",
            hint="choose with --table, --code, --older-than, --newer-than or --id, or give --all",
        )
    return which


@contextmanager
def _letters(config: PipelineConfig) -> Iterator[tuple[psycopg.Connection[Any], DeadLetterStore]]:
    """The store of dead letters in one transaction."""
    database = Database(config)
    try:
        with database.connect() as connection:
            yield connection, DeadLetterStore(config.name, config.postgres.control_schema)
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        raise ConfigurationError(
            "control_schema_older",
            f"The control schema {config.postgres.control_schema} has no dead letters of this version",
            where="postgres.control_schema",
            now="nothing was changed",
            hint="start the pipeline with this version once: it brings the control schema up to date",
        ) from None
    except psycopg.OperationalError as error:
        raise ConfigurationError(
            "postgres_unreachable",
            f"PostgreSQL does not answer ({type(error).__name__}), and that is where dead letters lie",
            where="postgres.dsn",
            now="nothing was changed",
            hint="what waits while it is away (journal, topic) comes back by itself: see docs/dead-letters.md",
        ) from None


def _tables(config: PipelineConfig) -> Mapping[UUID, Table]:
    """The tables as Cassandra knows them now; none when it does not answer."""
    try:
        cluster, session = connect(cassandra_settings(config))
    except CasscadeError as error:
        click.echo(f"the content is not decoded: {error.what}", err=True)
        return {}
    try:
        return read_schema(session).tables
    finally:
        cluster.shutdown()


def _print_groups(groups: list[Group]) -> None:
    for group in groups:
        click.echo(
            f"{group.letters:>8}  {group.code:<24} {group.table or 'unknown':<30} {group.state:<9} "
            f"{group.bytes} bytes, up to {group.retries} retries, "
            f"{group.first_failed_at:%Y-%m-%d %H:%M:%S} to {group.last_failed_at:%Y-%m-%d %H:%M:%S}"
        )
