"""Tables that have another version: their writers are made anew between two transactions.

Invariant: a change that was put is carried out before the next transaction, or stays; one writer has a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from psycopg import Connection

from casscade.load.target_writer import TargetWriter


class TargetChanges:
    """`add` makes the writer of a table from the arguments that were `put`; `put` may be called by any thread."""

    def __init__(self, targets: Mapping[bytes, TargetWriter], add: Callable[..., None]) -> None:
        self._targets = targets
        self._add = add
        self._waiting: dict[bytes, tuple[Any, ...]] = {}

    def put(self, table_id: bytes, arguments: tuple[Any, ...]) -> None:
        """Change a table; of several changes the last one counts."""
        self._waiting[table_id] = arguments

    def carry_out(self, connection: Connection[Any]) -> None:
        """Make the writers of changed tables anew; a failure leaves them to the next time. Raises psycopg errors."""
        for table_id, arguments in list(self._waiting.items()):
            with connection.transaction():
                for old in self._targets[table_id].writers if table_id in self._targets else []:
                    connection.execute(old.sql.drop_stage)
                self._add(connection, *arguments)
                for writer in self._targets[table_id].writers:
                    writer.prepare(connection)
            if self._waiting[table_id] is arguments:
                del self._waiting[table_id]
