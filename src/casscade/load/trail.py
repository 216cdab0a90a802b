"""Which row PostgreSQL was at when it refused a statement, so that a batch need not be halved to find it.

Invariant: what is told here is a suspicion and no more. Whoever acts on it writes the suspect alone first
(`casscade.load.isolation`), so that a wrong one costs a moment and never a sound row.

A COPY that fails names its line. A statement that brings staged rows into a table names none, but goes through them one
by one, and with `Trail` it notes the ordinal of each in a sequence, which no rollback takes back. What fails at the end
of a statement (AFTER triggers, constraints that are looked at late) leaves the last row there: a wrong suspect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Protocol

import psycopg
from psycopg import Connection

from casscade.core.mutation import Row
from casscade.load.staged import StagedRows
from casscade.merge.fold import RowKey

SEQUENCE: Final = "pg_temp.casscade_at"
_CREATE: Final = "CREATE TEMPORARY SEQUENCE IF NOT EXISTS casscade_at"
_READ: Final = "SELECT last_value FROM pg_temp.casscade_at"
# "COPY casscade_stage_7, line 12, column a", in the language of the server.
_LINE: Final = re.compile(r"casscade_stage_\d+\D+(\d+)")


class Suspect(NamedTuple):
    """A row of a fold, or with `static` a static one."""

    table_id: bytes
    static: bool
    key: RowKey


class Follower(Protocol):
    """Whoever writes the rows of one relation."""

    def follow(self, trail: Trail | None) -> None:
        """From now on leave a trail, or none."""


class Trail:
    """What writers leave; each of `owners` has its table id, and whether it is the one of static rows."""

    def __init__(self, owners: Mapping[Follower, tuple[bytes, bool]]) -> None:
        self._owners = owners
        self._last: tuple[Follower, Sequence[tuple[bytes, Row]], StagedRows] | None = None

    def staged(self, writer: Follower, items: Sequence[tuple[bytes, Row]], staged: StagedRows) -> None:
        """A writer begins to copy `items`; the rows that it leaves out will be in `staged`."""
        self._last = (writer, items, staged)

    def suspect(self, connection: Connection[Any], error: psycopg.Error) -> Suspect | None:
        """The row that `error` is most likely about; ask after the rollback to the savepoint."""
        if self._last is None:
            return None
        writer, items, staged = self._last
        line = _LINE.search(error.diag.context or "")
        if line is not None:
            copied = [ordinal for ordinal in range(len(items)) if ordinal not in staged.rejected]
            place = int(line[1]) - 1
            ordinal = copied[place] if place < len(copied) else -1
        else:
            row = connection.execute(_READ).fetchone()
            ordinal = -1 if row is None else int(row[0]) - 1
        if not 0 <= ordinal < len(items):
            return None
        table_id, static = self._owners[writer]
        partition_key, found = items[ordinal]
        return Suspect(table_id, static, (partition_key, found.key))


@contextmanager
def followed(connection: Connection[Any], owners: Mapping[Follower, tuple[bytes, bool]]) -> Iterator[Trail]:
    """A trail that these writers leave meanwhile (see `Trail`); begins before the first savepoint."""
    connection.execute(_CREATE)
    trail = Trail(owners)
    try:
        for writer in owners:
            writer.follow(trail)
        yield trail
    finally:
        for writer in owners:
            writer.follow(None)
