"""How errors of the commands reach the terminal.

Invariant: an error that Casscade raises on purpose is printed as its own few lines, without a stack trace, and sets
the exit status: 2 when the configuration or the environment has to change, else 1.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

from casscade.core.errors import CasscadeError, ConfigurationError

P = ParamSpec("P")
R = TypeVar("R")


def exit_code(error: CasscadeError) -> int:
    """The exit status for an error."""
    return 2 if isinstance(error, ConfigurationError) else 1


def explained(command: Callable[P, R]) -> Callable[P, R]:
    """Print a CasscadeError of `command` as one block and exit with its status."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except CasscadeError as error:
            click.echo(error.explain(), err=True)
            sys.exit(exit_code(error))

    return wrapper
