"""Rows that wait for the row that their foreign key names.

Invariant: a row waits in the transaction that moves the position behind it, so that it can't be lost; merging it later
gives what merging it then would have given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from psycopg import Connection, sql

from casscade.core import failpoints
from casscade.load.control import ControlStore
from casscade.load.letters import DeadLetter

# One retry reads so many: some milliseconds of the writer's time, twice a second.
ROWS_MAX: Final = 500
# All rows of a table without parents would otherwise pile up: those beyond it become dead letters at once.
WAITING_MAX: Final = 100_000


class WaitingRow(NamedTuple):
    """A row as a mutation; `overdue`: it waited as long as it may."""

    event_id: str
    encoding: int
    mutation: bytes
    overdue: bool


class WaitingRows:
    """The waiting rows of one relation, which wait `wait_ms` at most.

    `count` is how many there were when one last came or went.
    """

    def __init__(self, control: ControlStore, target_no: int, wait_ms: int) -> None:
        self._target_no = target_no
        self._wait_ms = wait_ms
        self._table = control.name("waiting_rows")
        self.some = wait_ms > 0
        self.count = 0

    def put(self, connection: Connection[Any], letters: Sequence[tuple[DeadLetter, str]]) -> list[DeadLetter]:
        """Let rows wait, each given as the dead letter that it would be, with its constraint.

        Returns those that may not wait; one that waits already goes on doing so.
        """
        if not self._wait_ms:
            return [letter for letter, _ in letters]
        room = max(0, WAITING_MAX - self._counted(connection))
        with connection.cursor() as cursor:
            cursor.executemany(
                sql.SQL(
                    "INSERT INTO {} (target_no, event_id, constraint_name, encoding, mutation) "
                    "VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
                ).format(self._table),
                [
                    (self._target_no, letter.event_id, constraint, letter.encoding, letter.mutation)
                    for letter, constraint in letters[:room]
                ],
            )
        self.some = True
        self._counted(connection)
        if failpoints.ARMED:
            failpoints.reach("rows_waiting")
        return [letter for letter, _ in letters[room:]]

    def oldest(self, connection: Connection[Any]) -> list[WaitingRow]:
        """The rows that wait longest, `ROWS_MAX` at most."""
        if not self.some:
            return []
        found = connection.execute(
            sql.SQL(
                "SELECT event_id, encoding, mutation, since + make_interval(secs => %s) <= now() FROM {} "
                "WHERE target_no = %s ORDER BY since LIMIT %s"
            ).format(self._table),
            (self._wait_ms / 1000, self._target_no, ROWS_MAX),
            binary=True,
        ).fetchall()
        self.some = bool(found)
        self.count = len(found)
        return [WaitingRow(*row) for row in found]

    def drop(self, connection: Connection[Any], event_ids: Sequence[str]) -> None:
        """Forget rows that wait no more."""
        connection.execute(
            sql.SQL("DELETE FROM {} WHERE target_no = %s AND event_id = ANY(%s)").format(self._table),
            (self._target_no, list(event_ids)),
        )
        self._counted(connection)
        if failpoints.ARMED and event_ids:
            failpoints.reach("waiting_settled")

    def _counted(self, connection: Connection[Any]) -> int:
        count = connection.execute(
            sql.SQL("SELECT count(*) FROM {} WHERE target_no = %s").format(self._table), (self._target_no,)
        ).fetchone()
        assert count is not None
        self.count = int(count[0])
        return self.count
