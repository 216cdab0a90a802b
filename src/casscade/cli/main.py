"""The command `casscade`.

Commands are loaded when they are called, so that `casscade dev` needs no driver and `casscade --help` is quick.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import click

from casscade import __version__

_COMMANDS: Final = {
    "bench": "casscade.cli.bench",
    "capture": "casscade.cli.run",
    "check": "casscade.cli.check",
    "demo": "casscade.cli.demo",
    "dev": "casscade.cli.dev",
    "dlq": "casscade.cli.dlq",
    "load": "casscade.cli.run",
    "plan": "casscade.cli.check",
    "run": "casscade.cli.run",
    "schema": "casscade.cli.schema",
    "snapshot": "casscade.cli.snapshot",
    "status": "casscade.cli.status",
    "tail": "casscade.cli.tail",
    "verify": "casscade.cli.verify",
}


class LazyGroup(click.Group):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 click's signature
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: Any = getattr(importlib.import_module(module), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup)
@click.version_option(__version__, prog_name="casscade")
def main() -> None:
    """Change data capture from Apache Cassandra to PostgreSQL, merged by Cassandra's own rules."""


if __name__ == "__main__":
    main()
