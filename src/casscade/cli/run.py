"""`casscade run`: capture, snapshot and load in one process."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TypeVar

import click

from casscade.cli.errors import explained
from casscade.config import PipelineConfig, load_config
from casscade.observability.http import StatusServer
from casscade.observability.logs import configure_logging, get_logger
from casscade.pipeline.monitor import Monitor
from casscade.pipeline.pipeline import Pipeline
from casscade.pipeline.process import settle_collector

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
@explained
def run(config_file: Path) -> None:
    """Replicate until stopped (SIGTERM or Ctrl-C): first the existing rows, beside them every change.

    \b
    Example:
      casscade run -c casscade.yaml
    """
    run_pipeline(load_config(config_file))


def run_pipeline(config: PipelineConfig) -> None:
    """Run one pipeline in this process with its status server; raises the CasscadeError that ended it."""
    configure_logging(config.log.level, config.log.format)
    log = get_logger("casscade.cli")
    monitor = Monitor(config.name)
    pipeline = Pipeline(config, monitor)
    server = StatusServer(config.http.address, config.name, monitor.health, monitor.metrics, monitor.status)

    def stop(number: int, _frame: FrameType | None) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        pipeline.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    settle_collector()
    server.start()
    log.info("status server", address="{}:{}".format(*server.address))
    try:
        pipeline.run()
    finally:
        server.close()
    log.info("stopped")
