"""Reading ranges again after a gap: tasks that are done, or under way, begin anew.

Invariant: a task that begins anew has a new number, so that what an earlier reading of its range still has in flight
completes nothing of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from psycopg import Connection, sql

from casscade.snapshot.ranges import TokenRange


def read_again(
    connection: Connection[Any], pipeline: str, schema: str, table_id: uuid.UUID, ranges: Sequence[TokenRange]
) -> int:
    """Replace the tasks of a table that overlap any of `ranges` by new ones, in the caller's transaction; how many.

    A table without tasks gets none: `SnapshotStore.create_tasks` makes those of the whole table.
    """
    table = sql.Identifier(schema, "snapshot_tasks")
    connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(table))
    cursor = connection.execute(
        sql.SQL(
            "WITH old AS (DELETE FROM {table} AS t USING unnest(%(starts)s::bigint[], %(ends)s::bigint[]) AS r(s, e) "
            "WHERE t.pipeline = %(pipeline)s AND t.table_id = %(table_id)s AND t.range_start < r.e "
            "AND t.range_end > r.s RETURNING t.source_name, t.range_start, t.range_end) "
            "SELECT DISTINCT source_name, range_start, range_end FROM old ORDER BY range_start"
        ).format(table=table),
        {
            "pipeline": pipeline,
            "table_id": table_id,
            "starts": [token_range.start for token_range in ranges],
            "ends": [token_range.end for token_range in ranges],
        },
    )
    replaced = cursor.fetchall()
    with connection.cursor() as insert:
        insert.executemany(
            sql.SQL(
                "INSERT INTO {} (pipeline, table_id, source_name, range_start, range_end, last_token) "
                "VALUES (%s, %s, %s, %s, %s, %s)"
            ).format(table),
            [(pipeline, table_id, name, start, end, start) for name, start, end in replaced],
        )
    return len(replaced)
