"""The control schema: migrations, the numbers of targets and columns, epochs and positions.

Invariant: a position moves only in the transaction that makes its effect durable, and only under the newest epoch of
its source.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from importlib import resources
from typing import Any

from psycopg import Connection, sql

from casscade.core import failpoints
from casscade.core.errors import ConfigurationError, FencedError
from casscade.core.position import Position
from casscade.load.letters import LetterStore
from casscade.schema.model import Table

# Serialises migrations and DDL of all instances that share a control schema; any constant will do.
_MIGRATION_LOCK = 0x63617373636164
# A purge runs in the writer's thread; ten thousand short rows take some milliseconds.
PURGE_ROWS_MAX = 10_000


class ControlStore:
    """The statements on the control schema of one pipeline; every method runs in the caller's transaction."""

    def __init__(self, pipeline: str, schema: str) -> None:
        self.pipeline = pipeline
        self.schema = schema
        self.letters = LetterStore(pipeline, schema)
        # What every batch executes is put together once.
        advance = sql.SQL(
            "UPDATE {} SET segment = CASE WHEN (segment, segment_offset) < (%s, %s) THEN %s ELSE segment END, "
            "segment_offset = CASE WHEN (segment, segment_offset) < (%s, %s) THEN %s ELSE segment_offset END, "
            "updated_at = now() WHERE pipeline = %s AND source = %s AND epoch = %s"
        )
        self._advance = advance.format(self.name("positions")).as_bytes()

    def name(self, table: str) -> sql.Identifier:
        """A table of the control schema, quoted."""
        return sql.Identifier(self.schema, table)

    def migrate(self, connection: Connection[Any]) -> list[int]:
        """Bring the control schema to the newest version, in one transaction; returns the versions applied now.

        Raises ConfigurationError when the schema was made by a newer Casscade.
        """
        applied_now: list[int] = []
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(self.schema)))
            connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(self.schema)))
            connection.execute(
                "CREATE TABLE IF NOT EXISTS migrations (version integer PRIMARY KEY, name text NOT NULL, "
                "applied_at timestamptz NOT NULL DEFAULT now())"
            )
            done = {row[0] for row in connection.execute("SELECT version FROM migrations").fetchall()}
            available = migrations()
            newer = [version for version in done if version not in available]
            if newer:
                raise ConfigurationError(
                    "control_schema_newer",
                    f"The control schema {self.schema} was made by a newer Casscade (migration {max(newer)})",
                    now="nothing was changed",
                    hint="install that version, or name another postgres.control_schema",
                )
            for version in sorted(available.keys() - done):
                name, text = available[version]
                connection.execute(text.encode())
                connection.execute("INSERT INTO migrations (version, name) VALUES (%s, %s)", (version, name))
                if failpoints.ARMED:
                    failpoints.reach("migration_applied")
                applied_now.append(version)
        return applied_now

    def target_number(self, connection: Connection[Any], table: Table, target: tuple[str, str], *, static: bool) -> int:
        """The number of a target relation, given on first sight of its table id."""
        row = connection.execute(
            sql.SQL(
                "INSERT INTO {} (table_id, static, source_name, target_schema, target_name) "
                "VALUES (%s, %s, %s, %s, %s) "
                "ON CONFLICT (table_id, static) DO UPDATE SET target_schema = EXCLUDED.target_schema, "
                "target_name = EXCLUDED.target_name RETURNING target_no"
            ).format(self.name("targets")),
            (table.id, static, table.full_name, *target),
        ).fetchone()
        assert row is not None
        return int(row[0])

    def column_indexes(self, connection: Connection[Any], table_id: uuid.UUID) -> dict[str, int]:
        """The numbers given to the columns of a table id so far; none before the control schema exists."""
        if connection.execute("SELECT to_regclass(%s)", (self.name("column_indexes").as_string(),)).fetchone() == (
            None,
        ):
            return {}
        rows = connection.execute(
            sql.SQL("SELECT column_name, column_index FROM {} WHERE table_id = %s").format(self.name("column_indexes")),
            (table_id,),
        ).fetchall()
        return dict(rows)

    def save_column_indexes(self, connection: Connection[Any], table_id: uuid.UUID, indexes: Mapping[str, int]) -> None:
        """Keep the numbers of a table's columns; known ones stay."""
        connection.execute(
            sql.SQL(
                "INSERT INTO {} (table_id, column_name, column_index) SELECT %s, * FROM unnest(%s::text[], %s::int[]) "
                "ON CONFLICT (table_id, column_name) DO NOTHING"
            ).format(self.name("column_indexes")),
            (table_id, list(indexes), list(indexes.values())),
        )

    def acquire(self, connection: Connection[Any], source: str) -> tuple[int, Position]:
        """Take `source` over: the new epoch and the position up to which everything is applied."""
        row = connection.execute(
            sql.SQL(
                "INSERT INTO {} AS p (pipeline, source, epoch) VALUES (%s, %s, 1) ON CONFLICT (pipeline, source) "
                "DO UPDATE SET epoch = p.epoch + 1 RETURNING epoch, segment, segment_offset"
            ).format(self.name("positions")),
            (self.pipeline, source),
        ).fetchone()
        assert row is not None
        if failpoints.ARMED:
            failpoints.reach("source_acquired")
        return int(row[0]), Position(int(row[1]), int(row[2]))

    def advance(self, connection: Connection[Any], source: str, epoch: int, position: Position) -> None:
        """Move the position as part of the caller's transaction; never backwards.

        Raises FencedError when the source has a newer epoch: nothing of the transaction may be committed then.
        """
        cursor = connection.execute(
            self._advance,
            (
                position.segment,
                position.offset,
                position.segment,
                position.segment,
                position.offset,
                position.offset,
                self.pipeline,
                source,
                epoch,
            ),
        )
        if cursor.rowcount != 1:
            raise FencedError(
                "epoch_superseded",
                f"Another instance of pipeline {self.pipeline} took over source {source}",
                where=source,
                now="this instance stops; its open transaction is rolled back",
                hint="stop one of the two instances; casscade status shows who owns the source",
            )
        if failpoints.ARMED:
            failpoints.reach("position_advanced")

    def position(self, connection: Connection[Any], source: str) -> Position | None:
        """The committed position of a source, or None if it was never acquired."""
        row = connection.execute(
            sql.SQL("SELECT segment, segment_offset FROM {} WHERE pipeline = %s AND source = %s").format(
                self.name("positions")
            ),
            (self.pipeline, source),
        ).fetchone()
        return None if row is None else Position(int(row[0]), int(row[1]))

    def purge(self, connection: Connection[Any]) -> int:
        """Delete tombstones behind their time, `PURGE_ROWS_MAX` at most of each kind; returns how many.

        Those that a batch has in hand just now are left for the next time.
        """
        purged = 0
        for table in ("row_tombstones", "range_tombstones"):
            purged += connection.execute(
                sql.SQL(
                    "DELETE FROM {0} WHERE ctid = ANY(ARRAY("
                    "SELECT ctid FROM {0} WHERE purge_after < now() LIMIT %s FOR UPDATE SKIP LOCKED))"
                ).format(self.name(table)),
                (PURGE_ROWS_MAX,),
            ).rowcount
        return purged


def migrations() -> dict[int, tuple[str, str]]:
    """Version -> (file name, SQL text), from the files `NNNN_name.sql` of the package."""
    found: dict[int, tuple[str, str]] = {}
    for file in (resources.files("casscade.load.sql") / "migrations").iterdir():
        if file.name.endswith(".sql"):
            found[int(file.name.split("_", 1)[0])] = (file.name, file.read_text(encoding="utf-8"))
    return found
