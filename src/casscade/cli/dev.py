"""`casscade dev`: the native local stack for work by hand.

Invariant: a ConfigurationError ends the command with one block of text on the standard error and status 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from casscade.core.errors import CasscadeError, ConfigurationError
from casscade.devstack import kafka, postgres, releases
from casscade.devstack.cluster import NODES_MAX
from casscade.devstack.processes import ServiceStatus
from casscade.devstack.stack import Stack

_directory = click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="CASSCADE_DEV_HOME",
    help="Where the stack keeps its data (default: the user's state directory).",
)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except CasscadeError as error:
        click.echo(error.explain(), err=True)
        raise SystemExit(2 if isinstance(error, ConfigurationError) else 1) from error


def _stack(directory: Path | None, **wanted: Any) -> Stack:
    return Stack(directory.absolute() if directory is not None else None, **wanted, progress=click.echo)


@click.group()
def dev() -> None:
    """Run a local Cassandra and PostgreSQL, and Kafka if wanted, without containers.

    They are downloaded once (pinned by SHA-256) into the cache directory. They listen on the
    loopback interface only.

    \b
    Example:
      casscade dev up
      casscade dev status
      casscade dev down
    """


@dev.command()
@_directory
@click.option("--cassandra-port", type=click.IntRange(1, 65535), help="Default: 9042, or a free one.")
@click.option("--postgres-port", type=click.IntRange(1, 65535), help="Default: 5432, or a free one.")
@click.option("--kafka-port", type=click.IntRange(1, 65535), help="Default: 9092, or a free one.")
@click.option(
    "--cassandra-version",
    metavar="VERSION",
    help=f"{', '.join(releases.VERSIONS)}, or a line such as 4.1 (default: that of the data, else "
    f"{releases.DEFAULT_VERSION}).",
)
@click.option(
    "--postgres-version",
    type=click.Choice(postgres.VERSIONS),
    help=f"Default: that of the data, else {postgres.DEFAULT_VERSION}.",
)
@click.option(
    "--kafka-version",
    type=click.Choice(kafka.VERSIONS),
    help=f"Default: that of the data, else {kafka.DEFAULT_VERSION}.",
)
@click.option(
    "--nodes",
    type=click.IntRange(1, NODES_MAX),
    help="Cassandra nodes in one ring, on 127.0.0.1, 127.0.0.2 … (default: as many as the data has, else 1).",
)
@click.option("--kafka", is_flag=True, help="One broker too; once a stack has it, it stays until casscade dev reset.")
def up(directory: Path | None, **wanted: Any) -> None:
    """Start the stack and wait until it answers; what runs already stays as it is.

    \b
    Example:
      casscade dev up --postgres-port 15432
      casscade dev up --cassandra-version 4.1 --postgres-version 12
      casscade dev up --nodes 3 --kafka
    """
    with _told():
        stack = _stack(directory, **wanted)
        stack.up()
        for node in stack.cluster.nodes:
            click.echo(f"CQL:           {node.address}:{node.port}")
            click.echo(f"CDC directory: {node.cdc_directory}")
        click.echo(f"PostgreSQL:    {stack.postgres.dsn()}")
        if stack.kafka is not None:
            servers = f'bootstrap_servers: ["{stack.kafka.bootstrap}"], replication_factor: 1'
            click.echo(f"Kafka:         {stack.kafka.bootstrap}")
            click.echo(f"               transport: {{kind: kafka, {servers}}}")


@dev.command()
@_directory
def down(directory: Path | None) -> None:
    """Stop the stack; its data stays for the next start.

    \b
    Example:
      casscade dev down
    """
    with _told():
        _stack(directory).down()


@dev.command()
@_directory
def status(directory: Path | None) -> None:
    """Show what runs; the exit status is 0 if all of it answers, 1 otherwise.

    \b
    Example:
      casscade dev status
    """
    with _told():
        stack = _stack(directory)
        services = stack.status()
    for service in services:
        click.echo(_line(service))
    click.echo(f"memory:    {sum(service.rss_bytes for service in services) / 1e6:.0f} MB in all")
    click.echo(f"data:      {stack.directory}")
    if not all(service.ready for service in services):
        raise SystemExit(1)


def _line(service: ServiceStatus) -> str:
    head = f"{service.directory.name:<11} {service.version:<6}"
    if service.pid is None:
        return f"{head} down"
    state = "up" if service.ready else "starting"
    return f"{head} {state} on {service.address}:{service.port}, pid {service.pid}, {service.rss_bytes / 1e6:.0f} MB"


@dev.command()
@_directory
@click.confirmation_option("--yes", prompt="Delete all data of the local stack?")
def reset(directory: Path | None) -> None:
    """Stop the stack and delete all its data; the downloads stay.

    \b
    Example:
      casscade dev reset --yes
    """
    with _told():
        _stack(directory).reset()
