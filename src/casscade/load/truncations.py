"""What the control schema knows of truncations, and emptying what a truncated table became.

Invariant: relations are emptied only together with the note that every source of the table has to go back to its
position, and under new epochs of those sources, so that nothing they had in flight can follow.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection, errors, sql

from casscade.core import failpoints
from casscade.core.position import Position, Truncation
from casscade.load.control import ControlStore
from casscade.load.table_lock import TableLock

# Writers finish their batch in well below a second, 5 s when PostgreSQL struggles; then the work is tried again.
WRITERS_LOCK_MS: Final = 5000
# New readers queue behind a TRUNCATE that waits for old ones: for no longer than this.
READERS_LOCK_MS: Final = 500
# Deleting row by row, at some 100,000 rows a second: enough for a third of a billion.
DELETE_TIMEOUT_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class KnownTruncation:
    """What is known of one source and table; `rewind_due`: the source must go back before it goes on."""

    truncation: Truncation
    rewind_due: bool


class TruncationStore:
    """The statements on the truncations of one pipeline; every method runs in the caller's transaction."""

    def __init__(self, control: ControlStore) -> None:
        self._control = control
        self._writers = TableLock(control)
        self._table = control.name("truncations")

    def known(self, connection: Connection[Any]) -> dict[tuple[str, uuid.UUID], KnownTruncation]:
        """What is known, by source and table id."""
        rows = connection.execute(
            sql.SQL(
                "SELECT source, table_id, segment, segment_offset, truncated_at_ms, rewind_due FROM {} "
                "WHERE pipeline = %s"
            ).format(self._table),
            (self._control.pipeline,),
        ).fetchall()
        return {
            (source, table_id): KnownTruncation(Truncation(Position(segment, offset), at_ms), due)
            for source, table_id, segment, offset, at_ms, due in rows
        }

    def save(
        self, connection: Connection[Any], source: str, table_id: uuid.UUID, truncation: Truncation, *, rewind_due: bool
    ) -> None:
        """Note the newest truncation of a table that a source recorded."""
        connection.execute(
            sql.SQL(
                "INSERT INTO {} (pipeline, source, table_id, segment, segment_offset, truncated_at_ms, rewind_due) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (pipeline, source, table_id) DO UPDATE SET "
                "segment = EXCLUDED.segment, segment_offset = EXCLUDED.segment_offset, updated_at = now(), "
                "truncated_at_ms = EXCLUDED.truncated_at_ms, rewind_due = EXCLUDED.rewind_due"
            ).format(self._table),
            (self._control.pipeline, source, table_id, *truncation.position, truncation.at_ms, rewind_due),
        )

    def rewind_due(self, connection: Connection[Any], source: str) -> bool:
        """Whether a table was emptied and `source` has not gone back since."""
        row = connection.execute(
            sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE pipeline = %s AND source = %s AND rewind_due)").format(
                self._table
            ),
            (self._control.pipeline, source),
        ).fetchone()
        assert row is not None
        return bool(row[0])

    def rewound(self, connection: Connection[Any], source: str, position: Position) -> None:
        """`source` goes on at `position`, which may lie before its committed one, and owes nothing more."""
        connection.execute(
            sql.SQL(
                "UPDATE {} SET segment = %s, segment_offset = %s, updated_at = now() "
                "WHERE pipeline = %s AND source = %s"
            ).format(self._control.name("positions")),
            (*position, self._control.pipeline, source),
        )
        connection.execute(
            sql.SQL(
                "UPDATE {} SET rewind_due = false, updated_at = now() "
                "WHERE pipeline = %s AND source = %s AND rewind_due"
            ).format(self._table),
            (self._control.pipeline, source),
        )
        if failpoints.ARMED:
            failpoints.reach("source_sent_back")

    def fence(self, connection: Connection[Any], sources: Sequence[str]) -> None:
        """Raise the epochs of `sources`: what their processes have in flight can't be committed any more."""
        connection.execute(
            sql.SQL("UPDATE {} SET epoch = epoch + 1 WHERE pipeline = %s AND source = ANY(%s)").format(
                self._control.name("positions")
            ),
            (self._control.pipeline, list(sources)),
        )

    def go_back(self, connection: Connection[Any], source: str, position: Position) -> None:
        """Send a source back to `position`, if it is past it, under a new epoch."""
        connection.execute(
            sql.SQL(
                "UPDATE {} SET epoch = epoch + 1, updated_at = now(), "
                "segment = CASE WHEN (segment, segment_offset) > (%s, %s) THEN %s ELSE segment END, "
                "segment_offset = CASE WHEN (segment, segment_offset) > (%s, %s) THEN %s ELSE segment_offset END "
                "WHERE pipeline = %s AND source = %s"
            ).format(self._control.name("positions")),
            (*position, position.segment, *position, position.offset, self._control.pipeline, source),
        )
        if failpoints.ARMED:
            failpoints.reach("source_sent_back")

    def lock(self, connection: Connection[Any], table_ids: Sequence[uuid.UUID]) -> None:
        """Keep the writers of all sources out of tables, so that none commits rows of before behind `empty`.

        Raises psycopg's LockNotAvailable when they don't finish in time.
        """
        _set(connection, "lock_timeout", WRITERS_LOCK_MS)
        numbers = connection.execute(
            sql.SQL("SELECT target_no FROM {} WHERE table_id = ANY(%s) AND NOT static").format(
                self._control.name("targets")
            ),
            (list(table_ids),),
        ).fetchall()
        self._writers.hold(connection, [number for (number,) in numbers])

    def empty(
        self, connection: Connection[Any], table_id: uuid.UUID, full_name: str, relations: Sequence[tuple[str, str]]
    ) -> None:
        """Empty `relations` (schema, name) and forget what is kept of the table's rows beside them; `lock` comes first.

        TRUNCATE is instant but needs a moment without readers; where it does not get one, may not, or a foreign key
        refers to the table, the rows are deleted one by one.
        """
        _set(connection, "statement_timeout", DELETE_TIMEOUT_MS)
        for relation in relations:
            name = sql.Identifier(*relation)
            try:
                with connection.transaction():
                    _set(connection, "lock_timeout", READERS_LOCK_MS)
                    connection.execute(sql.SQL("TRUNCATE {}").format(name))
            except (errors.LockNotAvailable, errors.FeatureNotSupported, errors.InsufficientPrivilege):
                connection.execute(sql.SQL("DELETE FROM {}").format(name))
        for kept in ("row_tombstones", "range_tombstones", "hidden_rows", "waiting_rows"):
            connection.execute(
                sql.SQL("DELETE FROM {} WHERE target_no IN (SELECT target_no FROM {} WHERE table_id = %s)").format(
                    self._control.name(kept), self._control.name("targets")
                ),
                (table_id,),
            )
        connection.execute(
            sql.SQL("DELETE FROM {} WHERE pipeline = %s AND table_id = %s").format(self._control.name("rechecks")),
            (self._control.pipeline, table_id),
        )
        connection.execute(
            sql.SQL("DELETE FROM {} WHERE pipeline = %s AND source_name = %s").format(
                self._control.name("dead_letters")
            ),
            (self._control.pipeline, full_name),
        )
        if failpoints.ARMED:
            failpoints.reach("truncation_applied")


def _set(connection: Connection[Any], name: str, milliseconds: int) -> None:
    """Set a parameter until the end of the transaction (or savepoint, if that is rolled back)."""
    connection.execute("SELECT set_config(%s, %s, true)", (name, str(milliseconds)))
