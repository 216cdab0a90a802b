"""Snapshot tasks in the control schema: one token range of one table each.

Invariant: a task is done only when the loader has committed the rows of its whole range; claiming and releasing
never touch `last_token`, so a task that changes hands goes on behind what is durable.

Several processes (one for each Cassandra node) share the tasks of a pipeline. The owner of a claim is one life of one
of them: `<source>#<epoch>`. It renews its claims while it lives; those of a dead one fall to the others when the lease
is over, or to its own next life at once. The loader calls `commit_progress` in the transaction of the rows. Two workers
on one task do no harm: the rows are the same, and merging is idempotent.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection, sql

from casscade.core import failpoints
from casscade.snapshot.ranges import TokenRange
from casscade.transport.chunk import SnapshotProgress

LEASE_S: Final = 30.0
"""A claim that was not renewed for so long belongs to a dead owner: the living renew theirs every second or so."""

ALL: Final = ""
"""Stands for every table, those to come included, where a table is paused by its name."""


def owner_of(source: str, epoch: int) -> str:
    """The owner of the claims that a process makes while it has `source` under `epoch`."""
    return f"{source}#{epoch}"


@dataclass(frozen=True, slots=True)
class SnapshotTask:
    """A claimed task: rows with tokens in (`last_token`, `range_end`] are still to be read."""

    task_id: int
    table_id: uuid.UUID
    range_start: int
    range_end: int
    last_token: int


@dataclass(frozen=True, slots=True)
class TableProgress:
    """How far the snapshot of a table is: `fraction` (0 to 1) is the share of its tokens that are durable.

    `eta_seconds` assumes that rows are spread evenly and that work goes on as since the first claim; None before
    there is anything to go by. `paused`: nobody is to go on with it for now.
    """

    table_id: uuid.UUID
    source_name: str
    rows: int
    ranges_done: int
    ranges_total: int
    fraction: float
    eta_seconds: float | None
    paused: bool = False


class SnapshotStore:
    """The statements on the tasks of one pipeline; every method runs in the caller's transaction."""

    def __init__(self, pipeline: str, schema: str) -> None:
        self.pipeline = pipeline
        self._table = sql.Identifier(schema, "snapshot_tasks")
        self._pauses = sql.Identifier(schema, "snapshot_pauses")

    def create_tasks(
        self, connection: Connection[Any], table_id: uuid.UUID, source_name: str, ranges: Sequence[TokenRange]
    ) -> int:
        """Plan the snapshot of a table that has none yet; returns the number of tasks made (0 when it has one)."""
        # Two instances may start at once: the lock makes one of them wait and see the other's tasks.
        connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(self._table))
        cursor = connection.execute(
            sql.SQL(
                "INSERT INTO {table} (pipeline, table_id, source_name, range_start, range_end, last_token) "
                "SELECT %(pipeline)s, %(table_id)s, %(name)s, r.s, r.e, r.s "
                "FROM unnest(%(starts)s::bigint[], %(ends)s::bigint[]) AS r(s, e) "
                "WHERE NOT EXISTS (SELECT FROM {table} WHERE pipeline = %(pipeline)s AND table_id = %(table_id)s)"
            ).format(table=self._table),
            {
                "pipeline": self.pipeline,
                "table_id": table_id,
                "name": source_name,
                "starts": [token_range.start for token_range in ranges],
                "ends": [token_range.end for token_range in ranges],
            },
        )
        if failpoints.ARMED:
            failpoints.reach("snapshot_planned")
        return cursor.rowcount

    def claim(self, connection: Connection[Any], owner: str, tables: Collection[uuid.UUID]) -> SnapshotTask | None:
        """Take the next task of `tables` that is pending or whose lease is over; None when nothing is left to claim.

        Tasks of paused tables are not claimed.
        """
        row = connection.execute(
            sql.SQL(
                "UPDATE {table} SET state = 'claimed', owner = %s, updated_at = now(), "
                "claimed_at = coalesce(claimed_at, now()) WHERE task_id = (SELECT task_id FROM {table} AS t "
                "WHERE pipeline = %s AND table_id = ANY(%s) AND state <> 'done' AND (state = 'pending' "
                "OR (state = 'claimed' AND owner <> %s AND updated_at < now() - make_interval(secs => %s))) "
                "AND NOT EXISTS (SELECT FROM {pauses} AS p WHERE p.pipeline = t.pipeline "
                "AND p.source_name IN ('', t.source_name)) "
                "ORDER BY task_id LIMIT 1 FOR UPDATE OF t SKIP LOCKED) "
                "RETURNING task_id, table_id, range_start, range_end, last_token"
            ).format(table=self._table, pauses=self._pauses),
            (owner, self.pipeline, list(tables), owner, LEASE_S),
        ).fetchone()
        return None if row is None else SnapshotTask(*row)

    def commit_progress(self, connection: Connection[Any], progress: SnapshotProgress) -> None:
        """Note what the rows of the caller's transaction complete; the loader calls it for each chunk of a snapshot.

        A task that was removed meanwhile is left alone. `rows` counts rows that were read again after a kill twice.
        """
        connection.execute(
            sql.SQL(
                "UPDATE {} SET last_token = greatest(last_token, %(token)s), rows = rows + %(rows)s, "
                "state = CASE WHEN %(done)s THEN 'done' ELSE state END, "
                "owner = CASE WHEN %(done)s THEN NULL ELSE owner END, updated_at = now() WHERE task_id = %(task)s"
            ).format(self._table),
            {"token": progress.token, "rows": progress.rows, "done": progress.done, "task": progress.task_id},
        )
        if failpoints.ARMED:
            failpoints.reach("snapshot_progressed")

    def release(self, connection: Connection[Any], task_id: int, owner: str) -> None:
        """Give a claimed task back; nothing happens when it is done or another owner has it."""
        connection.execute(
            sql.SQL(
                "UPDATE {} SET state = 'pending', owner = NULL, updated_at = now() "
                "WHERE task_id = %s AND state = 'claimed' AND owner = %s"
            ).format(self._table),
            (task_id, owner),
        )

    def renew(self, connection: Connection[Any], owner: str) -> int:
        """Say that `owner` is alive; rows that a batch holds just now are renewed by that batch."""
        cursor = connection.execute(
            sql.SQL(
                "UPDATE {table} SET updated_at = now() WHERE task_id IN (SELECT task_id FROM {table} "
                "WHERE pipeline = %s AND state = 'claimed' AND owner = %s FOR UPDATE SKIP LOCKED)"
            ).format(table=self._table),
            (self.pipeline, owner),
        )
        return cursor.rowcount

    def reset_claims(self, connection: Connection[Any], owner: str) -> int:
        """At start: free what earlier lives of the source of `owner` left claimed."""
        cursor = connection.execute(
            sql.SQL(
                "UPDATE {} SET state = 'pending', owner = NULL, updated_at = now() WHERE pipeline = %s "
                "AND state = 'claimed' AND split_part(owner, '#', 1) = split_part(%s, '#', 1)"
            ).format(self._table),
            (self.pipeline, owner),
        )
        return cursor.rowcount

    def cancel(self, connection: Connection[Any], table_id: uuid.UUID) -> None:
        """Nothing of the table is to be read any more: it was truncated, and what follows is in the stream."""
        connection.execute(
            sql.SQL(
                "UPDATE {} SET state = 'done', last_token = range_end, owner = NULL, updated_at = now() "
                "WHERE pipeline = %s AND table_id = %s AND state <> 'done'"
            ).format(self._table),
            (self.pipeline, table_id),
        )

    def restart(self, connection: Connection[Any], table_id: uuid.UUID, *, done_only: bool = False) -> int:
        """Read the table again, from the beginning of each range, or of each that is done; returns how many ranges.

        The tasks get new numbers: what is still under way of the former ones moves nothing.
        """
        cursor = connection.execute(
            sql.SQL(
                "UPDATE {} SET task_id = DEFAULT, state = 'pending', last_token = range_start, rows = 0, owner = NULL, "
                "claimed_at = NULL, updated_at = now() WHERE pipeline = %s AND table_id = %s "
                "AND (state = 'done' OR NOT %s)"
            ).format(self._table),
            (self.pipeline, table_id, done_only),
        )
        return cursor.rowcount

    def finished(self, connection: Connection[Any], tables: Collection[uuid.UUID] | None = None) -> bool:
        """Whether every task is done, of `tables` where given: tasks of dropped tables stay open for ever."""
        row = connection.execute(
            sql.SQL(
                "SELECT NOT EXISTS (SELECT FROM {} WHERE pipeline = %(pipeline)s AND state <> 'done' "
                "AND (%(tables)s::uuid[] IS NULL OR table_id = ANY(%(tables)s)))"
            ).format(self._table),
            {"pipeline": self.pipeline, "tables": None if tables is None else list(tables)},
        ).fetchone()
        assert row is not None
        return bool(row[0])

    def paused(self, connection: Connection[Any]) -> frozenset[str]:
        """The names of the paused tables, `ALL` among them where all are."""
        rows = connection.execute(
            sql.SQL("SELECT source_name FROM {} WHERE pipeline = %s").format(self._pauses), (self.pipeline,)
        ).fetchall()
        return frozenset(str(name) for (name,) in rows)

    def progress(self, connection: Connection[Any]) -> list[TableProgress]:
        """The progress of each table, by name."""
        rows = connection.execute(
            sql.SQL(
                "SELECT table_id, source_name, rows::bigint, ranges_done, ranges_total, fraction, "
                "CASE WHEN fraction = 1 THEN 0 WHEN fraction > 0 THEN elapsed * (1 - fraction) / fraction END, "
                "EXISTS (SELECT FROM {} AS p WHERE p.pipeline = %s AND p.source_name IN ('', tables.source_name)) "
                "FROM (SELECT table_id, source_name, sum(rows) AS rows, "
                "count(*) FILTER (WHERE state = 'done') AS ranges_done, count(*) AS ranges_total, "
                "(sum(CASE WHEN state = 'done' THEN range_end ELSE last_token END::numeric - range_start) "
                "/ sum(range_end::numeric - range_start))::float8 AS fraction, "
                "extract(epoch FROM now() - min(claimed_at))::float8 AS elapsed "
                "FROM {} WHERE pipeline = %s GROUP BY table_id, source_name) AS tables ORDER BY source_name"
            ).format(self._pauses, self._table),
            (self.pipeline, self.pipeline),
        ).fetchall()
        return [TableProgress(*row) for row in rows]
