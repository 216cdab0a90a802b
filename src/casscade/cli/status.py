"""`casscade status`: what a running pipeline says of itself."""

from __future__ import annotations

import http.client
import json
import sys
from pathlib import Path
from typing import Any

import click

from casscade.cli.errors import explained
from casscade.cli.run import config_option
from casscade.config import load_config
from casscade.core.errors import ConfigurationError

_TIMEOUT_S = 5.0


def fetch_status(host: str, port: int) -> dict[str, Any]:
    """The status document of the pipeline that listens there, asked without a proxy; OSError when none answers."""
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/status")
        document: dict[str, Any] = json.load(connection.getresponse())
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"the answer is not that of a pipeline: {type(error).__name__}") from error
    finally:
        connection.close()
    return document


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the whole document.")
@explained
def status(config_file: Path, as_json: bool) -> None:
    """Show position, throughput, latency, lag and snapshot of a running pipeline.

    \b
    Example:
      casscade status -c casscade.yaml
    """
    host, port = load_config(config_file).http.address
    try:
        document = fetch_status(host, port)
    except OSError as error:
        raise ConfigurationError(
            "pipeline_unreachable",
            f"No pipeline answers at {host}:{port} ({error})",
            where="http.listen",
            now="nothing was changed",
            hint="start it with casscade run, or look at the log of the one that ended",
        ) from None
    document.pop("latency_histogram", None)
    if as_json:
        json.dump(document, sys.stdout, indent=2)
        click.echo()
        return
    for key, value in document.items():
        click.echo(f"{key:<20} {_line(value)}")


def _line(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list):
        return "; ".join(" ".join(f"{name} {_short(part)}" for name, part in each.items()) for each in value) or "none"
    return _short(value)


def _short(value: object) -> object:
    return f"{value:.3f}" if isinstance(value, float) else value
