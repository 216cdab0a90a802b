"""`casscade run`: capture, snapshot and load in one process. `casscade capture`: the agent beside a node.

Each service is imported by its command, so that the agent holds nothing in memory but what it needs.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Protocol, TypeVar

import click

from casscade.cli.errors import explained
from casscade.config import PipelineConfig, load_config
from casscade.core.errors import ConfigurationError
from casscade.observability.http import StatusServer
from casscade.observability.logs import configure_logging, get_logger
from casscade.pipeline.monitor import Monitor
from casscade.pipeline.process import settle_collector, spare_memory

F = TypeVar("F", bound=Callable[..., object])

config_option: Callable[[F], F] = click.option(
    "-c",
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    default=Path("casscade.yaml"),
    show_default=True,
    help="The pipeline's configuration file.",
)


@click.command()
@config_option
@click.option("--dry-run", is_flag=True, help="Show what the segments at hand would write, and write nothing.")
@click.option("--samples", type=click.IntRange(0, 100), default=3, show_default=True, help="Rows shown by --dry-run.")
@explained
def run(config_file: Path, dry_run: bool, samples: int) -> None:
    """Replicate until stopped (SIGTERM or Ctrl-C): first the existing rows, beside them every change.

    With --dry-run it reads the segments that are in the CDC directory, prints how many rows of each table would be
    written and some of them, masks applied, and ends. No position moves and no segment is deleted.

    \b
    Example:
      casscade run -c casscade.yaml
      casscade run -c casscade.yaml --dry-run
    """
    config = load_config(config_file)
    if dry_run:
        _try_dry(config, samples)
    else:
        run_pipeline(config)


def _try_dry(config: PipelineConfig, samples: int) -> None:
    from casscade.cli.check import opened, resolve_targets
    from casscade.pipeline import dry_run

    with opened(config) as (database, session):
        catalog, _ = resolve_targets(config, database, session)
        effect = dry_run.dry_run(config, catalog, int(time.time()), samples=samples, told=partial(click.echo, err=True))
    dry_run.tell(effect, click.echo)


def run_pipeline(config: PipelineConfig) -> None:
    """Run one pipeline in this process with its status server; raises the CasscadeError that ended it."""
    if config.transport.kind != "direct":
        raise ConfigurationError(
            "transport_kafka",
            "casscade run is capture and load in one process, and the pipeline's transport is Kafka",
            where=config.location("transport", "kind"),
            now="nothing was started",
            hint="start casscade capture beside each node, and casscade load",
        )
    from casscade.pipeline.pipeline import Pipeline

    run_service(config, Pipeline)


@click.command()
@config_option
@explained
def capture(config_file: Path) -> None:
    """Send the commit log of the node on this host to Kafka until stopped (SIGTERM or Ctrl-C).

    \b
    Example:
      casscade capture -c casscade.yaml
    """
    from casscade.pipeline.agent import Agent

    spare_memory()
    run_service(load_config(config_file), Agent)


@click.command()
@config_option
@explained
def load(config_file: Path) -> None:
    """Load from Kafka into PostgreSQL until stopped (SIGTERM or Ctrl-C); start as many as you need.

    \b
    Example:
      casscade load -c casscade.yaml
    """
    from casscade.pipeline.load_service import LoadService

    run_service(load_config(config_file), LoadService)


class Service(Protocol):
    """What runs until it is stopped."""

    def run(self) -> None: ...

    def stop(self) -> None: ...


def run_service(config: PipelineConfig, make: Callable[[PipelineConfig, Monitor], Service]) -> None:
    """Run a service in this process with its status server; raises the CasscadeError that ended it."""
    configure_logging(config.log.level, config.log.format)
    log = get_logger("casscade.cli")
    monitor = Monitor(config.name)
    service = make(config, monitor)
    server = StatusServer(config.http.address, config.name, monitor.health, monitor.metrics, monitor.status)

    def stop(number: int, _frame: FrameType | None) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        service.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    settle_collector()
    server.start()
    log.info("status server", address="{}:{}".format(*server.address))
    try:
        service.run()
    finally:
        server.close()
    log.info("stopped")
