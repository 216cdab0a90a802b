"""Applies what expired, and lets waiting rows try again, beside the batches and in their thread.

Invariant: a table that somebody else holds is left for the next time, so that no table keeps a process from its batches
for longer than `PATIENCE_MS_MAX`; what is left is counted, and is done as soon as the table is free.

It goes over all keys of a table, so that it needs the table for itself. A request for that stands in PostgreSQL's
queue before the batches of other writers, which go side by side: whoever waits there keeps them waiting too. Where one
of them was stopped within a batch, that would be until it is ended (`casscade.load.stuck`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from psycopg import Connection, errors

from casscade.load.counters import BatchCounts
from casscade.load.letters import DeadLetter
from casscade.load.target_writer import REAP_ROWS_MAX, TargetWriter

# The batch that has the table just now is over by then, most often.
PATIENCE_MS: Final = 250
# Where batches take longer it waits longer each time, or it would never have its turn.
PATIENCE_MS_MAX: Final = 4000


class Reaper:
    """Goes through `targets`; `close` does the rest of a transaction: letters, rechecks, the proof of the epoch."""

    def __init__(
        self,
        targets: Mapping[bytes, TargetWriter],
        transaction: Callable[[Connection[Any], Sequence[bytes]], AbstractContextManager[None]],
        close: Callable[[Connection[Any], BatchCounts, Sequence[DeadLetter]], None],
        now: Callable[[], int],
    ) -> None:
        self._targets = targets
        self._transaction = transaction
        self._close = close
        self._now = now
        # By table, only of those that were not free the last time.
        self._patience_ms: dict[bytes, int] = {}

    def reap(self, connection: Connection[Any]) -> BatchCounts:
        """Apply what expired by now in all tables that are free, each in transactions of its own.

        Until it returns the session gives up sooner when it waits for a lock; whoever gets an error must close it.
        """
        counts = BatchCounts()
        set_to = 0
        for table_id in list(self._targets):
            patience_ms = self._patience_ms.get(table_id, PATIENCE_MS)
            if patience_ms != set_to:
                connection.execute(f"SET lock_timeout = {patience_ms}".encode())
                set_to = patience_ms
            try:
                self._expire(connection, table_id, counts)
                self._retry(connection, table_id, counts)
            except errors.LockNotAvailable:
                counts.postponed += 1
                self._patience_ms[table_id] = min(2 * patience_ms, PATIENCE_MS_MAX)
            else:
                self._patience_ms.pop(table_id, None)
        if set_to:
            connection.execute("RESET lock_timeout")
        return counts

    def _expire(self, connection: Connection[Any], table_id: bytes, counts: BatchCounts) -> None:
        looked_at = REAP_ROWS_MAX * self._targets[table_id].has_expired(connection, self._now())
        while looked_at >= REAP_ROWS_MAX:
            counted = BatchCounts()
            with self._transaction(connection, (table_id,)):
                target = self._targets[table_id]
                looked_at = target.reap(connection, self._now(), counted)
                if looked_at:
                    letters = target.rejected_letters(connection, target.shape, counted)
                    looked_at -= len(letters)
                    self._close(connection, counted, letters)
            counts.add(counted)

    def _retry(self, connection: Connection[Any], table_id: bytes, counts: BatchCounts) -> None:
        target = self._targets[table_id]
        if target.waiting is None or not target.waiting.some:
            return
        counted = BatchCounts()
        with self._transaction(connection, (table_id,)):
            target = self._targets[table_id]
            self._close(connection, counted, target.retry(connection, self._now(), counted))
        counts.add(counted)
