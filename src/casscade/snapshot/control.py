"""What an operator says about a snapshot, and who works on it, in the control schema.

Invariant: a pause is a row, not a message: every process of the pipeline reads it, whenever it was started, and no task
of a paused table is claimed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from psycopg import Connection, sql

from casscade.snapshot.store import ALL, LEASE_S, SnapshotStore


class Worker(NamedTuple):
    """A process that has claimed `ranges` token ranges of a table and was alive within the lease."""

    source_name: str
    owner: str
    ranges: int


class SnapshotControl:
    """The statements on the pauses of one pipeline; every method runs in the caller's transaction."""

    def __init__(self, pipeline: str, schema: str) -> None:
        self._pipeline = pipeline
        self._store = SnapshotStore(pipeline, schema)
        self._pauses = sql.Identifier(schema, "snapshot_pauses")
        self._tasks = sql.Identifier(schema, "snapshot_tasks")

    def pause(self, connection: Connection[Any], tables: Collection[str]) -> None:
        """Pause `tables`, or all for none; what is paused already stays so."""
        connection.execute(
            sql.SQL(
                "INSERT INTO {} (pipeline, source_name) SELECT %s, unnest(%s::text[]) ON CONFLICT DO NOTHING"
            ).format(self._pauses),
            (self._pipeline, list(tables) or [ALL]),
        )

    def resume(self, connection: Connection[Any], tables: Collection[str]) -> None:
        """End the pause of `tables`, or every pause for none.

        Where all tables were paused, the others that have tasks stay paused, each by itself.
        """
        if not tables:
            connection.execute(sql.SQL("DELETE FROM {} WHERE pipeline = %s").format(self._pauses), (self._pipeline,))
            return
        if ALL in self._store.paused(connection):
            connection.execute(
                sql.SQL(
                    "INSERT INTO {} (pipeline, source_name) SELECT DISTINCT pipeline, source_name FROM {} "
                    "WHERE pipeline = %s ON CONFLICT DO NOTHING"
                ).format(self._pauses, self._tasks),
                (self._pipeline,),
            )
        connection.execute(
            sql.SQL("DELETE FROM {} WHERE pipeline = %s AND source_name = ANY(%s)").format(self._pauses),
            (self._pipeline, [ALL, *tables]),
        )

    def workers(self, connection: Connection[Any]) -> list[Worker]:
        """Who reads what just now."""
        rows = connection.execute(
            sql.SQL(
                "SELECT source_name, owner, count(*) FROM {} WHERE pipeline = %s AND state = 'claimed' "
                "AND updated_at > now() - make_interval(secs => %s) GROUP BY source_name, owner "
                "ORDER BY source_name, owner"
            ).format(self._tasks),
            (self._pipeline, LEASE_S),
        ).fetchall()
        return [Worker(*row) for row in rows]
