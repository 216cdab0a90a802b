"""What a run of the demo needs around it: a directory and servers of its own.

Invariant: what is made here is gone when the block is left, also by an error or Ctrl-C; servers end even when the
demo is killed. An existing file is never removed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from casscade.core.errors import ConfigurationError
from casscade.demo.screen import Screen
from casscade.demo.site import Site
from casscade.devstack.places import free_port, make_directory
from casscade.devstack.stack import Stack


@contextmanager
def own_directory(wanted: Path | None) -> Iterator[Path]:
    """A directory for one run: temporary, or `wanted`, which has to be new or empty.

    Raises ConfigurationError (`directory_not_empty`, `directory_unwritable`, `disk_full`).
    """
    if wanted is None:
        directory = Path(tempfile.mkdtemp(prefix="casscade-demo-"))
        # PostgreSQL runs as another user when we are root, and has to get in.
        directory.chmod(0o755)
    else:
        directory = wanted.absolute()
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise ConfigurationError(
                "directory_not_empty",
                "the demo needs a directory of its own, because it removes it at the end",
                where=str(directory),
                now="nothing was started",
                hint="name a directory that does not exist yet, or leave --directory out",
            )
        make_directory(directory)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def own_servers(directory: Path, screen: Screen, *, kafka: bool = False) -> Iterator[Site]:
    """Cassandra with CDC on, PostgreSQL, and `kafka` if wanted, on free ports.

    Raises the ConfigurationErrors of `Stack.up`.
    """
    begin = time.monotonic()
    stack = Stack(
        directory,
        cassandra_port=free_port(),
        postgres_port=free_port(),
        kafka_port=free_port() if kafka else None,
        kafka=kafka,
        owner=os.getpid(),
        progress=screen.note,
    )
    try:
        stack.up()
        node, postgres = stack.cassandra, stack.postgres
        broker = stack.kafka
        between = "and" if broker is None else f"Kafka {broker.version}, and"
        screen.step(
            f"Cassandra {node.version} with CDC on, {between} PostgreSQL {postgres.version}: "
            f"up after {time.monotonic() - begin:.1f} s"
        )
        bootstrap = "" if broker is None else broker.bootstrap
        yield Site(node.address, node.port, node.cdc_directory, postgres.dsn(), bootstrap=bootstrap)
    finally:
        for service in stack.services:
            service.kill()
