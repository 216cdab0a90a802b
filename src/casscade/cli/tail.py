"""`casscade tail`: the messages of a topic as readable JSON.

Invariant: it only looks: no group is joined, no offset committed, nothing changed on either side.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

from casscade.cli.errors import explained
from casscade.cli.run import config_option
from casscade.config import PipelineConfig, load_config
from casscade.core.errors import CasscadeError
from casscade.pipeline.cassandra import cassandra_settings
from casscade.pipeline.kafka import kafka_settings
from casscade.schema.connect import connect
from casscade.schema.reader import read_schema
from casscade.transport.kafka.reader import BEGINNING, END, TopicReader
from casscade.transport.rendering.message import MessageRenderer, to_line
from casscade.transport.rendering.tables import KnownTables

INTERRUPTED: Final = 130


class Start(click.ParamType):  # type: ignore[type-arg] # generic since click 8.2 only
    """`beginning`, `end`, or a time in ISO 8601, which is in UTC unless it says otherwise."""

    name = "start"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        """The word, or Unix time in milliseconds."""
        if value in (BEGINNING, END) or isinstance(value, int):
            found: str | int = value
            return found
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither beginning, end nor a time such as 2026-01-31T12:00:00Z", param, ctx)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


@click.command()
@config_option
@click.option("--topic", metavar="NAME", help="Another topic than the pipeline's own, such as one of Debezium's.")
@click.option(
    "--from",
    "start",
    type=Start(),
    metavar="beginning|end|TIME",
    help="Where to begin; TIME is ISO 8601, in UTC unless it says otherwise. Default: end, with --no-follow beginning.",
)
@click.option("--partition", type=click.IntRange(0), metavar="N", help="Only this partition.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Stop after so many messages.")
@click.option("--follow/--no-follow", default=True, help="Wait for more, or end at what is there now. Default: wait.")
@click.option("--values", is_flag=True, help="Show keys and values, which are masked otherwise.")
@click.option("--no-decode", is_flag=True, help="Show envelopes only; Cassandra is not asked for the schema.")
@explained
def tail(
    config_file: Path,
    topic: str | None,
    start: str | int | None,
    partition: int | None,
    limit: int | None,
    follow: bool,
    values: bool,
    no_decode: bool,
) -> None:
    """Print the messages of a topic, one JSON object a line; joins no group and commits no offset.

    Keys are shown as digests and values by their size, unless --values is given. Mutations are decoded by Cassandra's
    schema; while Cassandra can't be reached, only their envelopes are shown.

    \b
    Example:
      casscade tail -c casscade.yaml
      casscade tail -c casscade.yaml --no-follow --partition 3 --limit 10
      casscade tail -c casscade.yaml --from 2026-01-31T12:00:00Z --values
    """
    config = load_config(config_file)
    settings = kafka_settings(config)
    name = topic or settings.topic
    prefix = config.transport.topic_prefix
    debezium = prefix is not None and name != settings.topic and name.startswith(f"{prefix}.")
    where = start if start is not None else END if follow else BEGINNING
    with (
        closing(TopicReader(settings, name, where, partition=partition, follow=follow)) as reader,
        _tables(config, wanted=not (debezium or no_decode), values=values) as tables,
    ):
        renderer = MessageRenderer(tables, values=values)
        try:
            for message in islice(reader.read(threading.Event()), limit):
                click.echo(to_line(renderer.render(message, debezium=debezium)))
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


@contextmanager
def _tables(config: PipelineConfig, *, wanted: bool, values: bool) -> Iterator[KnownTables | None]:
    """The tables that Cassandra has; None where they are not wanted, or with a note when it can't be asked."""
    if not wanted:
        yield None
        return
    try:
        cluster, session = connect(cassandra_settings(config))
    except CasscadeError as error:
        _note(error)
        yield None
        return
    try:
        yield _read_tables(session, values)
    finally:
        cluster.shutdown()


def _read_tables(session: Any, values: bool) -> KnownTables | None:
    try:
        return KnownTables(lambda: read_schema(session), time.monotonic, values=values)
    except CasscadeError as error:
        _note(error)
        return None


def _note(error: CasscadeError) -> None:
    click.echo(f"note: mutations are not decoded, only envelopes are shown: {error.what} [{error.code}]", err=True)
