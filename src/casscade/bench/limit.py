"""PostgreSQL's own limit: the same rows, encoded beforehand, by the statements a plain loader would use.

Invariant: nothing is measured here that the pipeline is spared: one transaction a batch, made durable, with the
position in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from psycopg import Connection, sql

from casscade.bench.workload import KEYSPACE, VALUE_TYPES, Workload, pg_type
from casscade.schema.ddl import FILLFACTOR

_TARGET: Final = sql.Identifier(KEYSPACE, "limit_rows")
_POSITION: Final = sql.Identifier(KEYSPACE, "limit_position")
_KEYS: Final = ("id", "line")


class Limit:
    """The target without Casscade's columns, filled by COPY to a temporary table and one statement a batch."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self._batches = 0

    def create(self) -> None:
        """Create the tables; they must not exist."""
        values = sql.SQL(", ").join(_columns(list(VALUE_TYPES)))
        self._connection.execute(
            sql.SQL(
                "CREATE TABLE {} (id bigint NOT NULL, line integer NOT NULL, {}, PRIMARY KEY (id, line)) "
                "WITH (fillfactor = {})"
            ).format(_TARGET, values, FILLFACTOR)
        )
        self._connection.execute(sql.SQL("CREATE TABLE {} (source text PRIMARY KEY, place bigint)").format(_POSITION))
        self._connection.execute(sql.SQL("INSERT INTO {} VALUES ('bench', 0)").format(_POSITION))

    def prepare(self, workload: Workload) -> None:
        """Create the staging table of a workload."""
        stage = _stage(workload)
        columns: list[sql.Composable] = [sql.SQL("id bigint"), sql.SQL("line integer")]
        columns += _columns(list(workload.sets))
        self._connection.execute(
            sql.SQL("CREATE TEMPORARY TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS").format(
                stage, sql.SQL(", ").join(columns)
            )
        )

    def write(self, workload: Workload, buffers: Iterable[bytes]) -> None:
        """Write one batch for each buffer."""
        connection = self._connection
        copy = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(_stage(workload))
        merge = _merge(workload)
        advance = sql.SQL("UPDATE {} SET place = %s WHERE source = 'bench'").format(_POSITION)
        for buffer in buffers:
            self._batches += 1
            with connection.transaction(), connection.cursor() as cursor:
                with cursor.copy(copy) as stream:
                    stream.write(buffer)
                cursor.execute(merge)
                cursor.execute(advance, (self._batches,))


def _columns(names: list[str]) -> list[sql.Composed]:
    return [sql.Identifier(name) + sql.SQL(" " + pg_type(name)) for name in names]


def _stage(workload: Workload) -> sql.Identifier:
    return sql.Identifier(f"limit_stage_{workload.round_no}")


def _merge(workload: Workload) -> sql.Composed:
    stage = _stage(workload)
    if not workload.sets:
        return sql.SQL("DELETE FROM {} AS t USING {} AS s WHERE t.id = s.id AND t.line = s.line").format(_TARGET, stage)
    names = sql.SQL(", ").join(sql.Identifier(name) for name in (*_KEYS, *workload.sets))
    settings = sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(n)) for n in workload.sets)
    return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT (id, line) DO UPDATE SET {}").format(
        _TARGET, names, names, stage, settings
    )
