"""The history of the replicated tables in the control schema: every version, and what was done for it.

Invariant: the versions of a table id are numbered without a gap, in the order of Cassandra's clock, and a version is
recorded in the transaction that brought PostgreSQL to it. The newest one is what every writer of the table must know.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import Connection, sql

from casscade.core import failpoints
from casscade.load.control import ControlStore
from casscade.schema.model import Table
from casscade.schema.versions import from_document, to_document, version_label

DEPARTED_S: Final = 7 * 86_400.0
"""As long as Kafka keeps messages by default: what a dropped table got before comes within that time."""


@dataclass(frozen=True, slots=True)
class Version:
    """A recorded version: `number` from 1, `table` as it was, `altered_at` by Cassandra's clock, `target` its place in
    PostgreSQL, `changes` against the version before, `ddl` what was run, `role` and `instance` who ran it."""

    table: Table
    number: int
    target: str
    changes: tuple[str, ...]
    ddl: tuple[str, ...]
    altered_at: datetime
    recorded_at: datetime
    role: str
    instance: str

    @property
    def label(self) -> str:
        """How dead letters refer to it: the beginning of the table id, and the number."""
        return version_label(self.table.id.bytes, self.number)


def instance_name() -> str:
    """Host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


class SchemaHistory:
    """The statements on versions; every method runs in the caller's transaction."""

    def __init__(self, control: ControlStore) -> None:
        self._control = control
        self._table = control.name("schema_versions")
        self._select = sql.SQL(
            "SELECT table_id, version, definition, target_name, changes, ddl, altered_us, altered_at, recorded_at, "
            "role, instance FROM {} "
        ).format(self._table)

    def exists(self, connection: Connection[Any]) -> bool:
        """Whether the control schema is there and has a history."""
        name = self._table.as_string()
        return connection.execute("SELECT to_regclass(%s)", (name,)).fetchone() != (None,)

    def newest(self, connection: Connection[Any], tables: Collection[uuid.UUID]) -> dict[uuid.UUID, Version]:
        """The newest version of each of the tables that has one; empty before the control schema exists."""
        if not self.exists(connection):
            return {}
        query = self._select + sql.SQL(
            "v WHERE table_id = ANY(%s) AND version = (SELECT max(version) FROM {} w WHERE w.table_id = v.table_id)"
        ).format(self._table)
        versions = [_version(row) for row in connection.execute(query, (list(tables),)).fetchall()]
        return {version.table.id: version for version in versions}

    def numbers(self, connection: Connection[Any], tables: Collection[uuid.UUID]) -> dict[uuid.UUID, int]:
        """The number of the newest version of each of the tables that has one."""
        query = sql.SQL("SELECT table_id, max(version) FROM {} WHERE table_id = ANY(%s) GROUP BY table_id")
        return dict(connection.execute(query.format(self._table), (list(tables),)).fetchall())

    def of_source(self, connection: Connection[Any], source_name: str) -> list[Version]:
        """All versions of all tables that had the name `keyspace.table`, the oldest first."""
        query = self._select + sql.SQL("WHERE source_name = %s ORDER BY recorded_at, version")
        return [_version(row) for row in connection.execute(query, (source_name,)).fetchall()]

    def living(self, connection: Connection[Any]) -> dict[uuid.UUID, Version]:
        """The newest version of each table that was not noted as dropped."""
        if not self.exists(connection):
            return {}
        query = sql.SQL("SELECT DISTINCT table_id FROM {} WHERE dropped_at IS NULL AND NOT static").format(
            self._control.name("targets")
        )
        return self.newest(connection, [row[0] for row in connection.execute(query).fetchall()])

    def names(self, connection: Connection[Any]) -> list[tuple[str, str]]:
        """Keyspace and name of every table that was ever replicated."""
        if not self.exists(connection):
            return []
        query = sql.SQL("SELECT DISTINCT definition->>'keyspace', definition->>'name' FROM {}").format(self._table)
        return connection.execute(query).fetchall()

    def add(
        self,
        connection: Connection[Any],
        table: Table,
        target: str,
        changes: Sequence[str],
        ddl: Sequence[str],
    ) -> int:
        """Record the next version of a table; returns its number. The caller holds the lock of DDL."""
        row = connection.execute(
            sql.SQL(
                "INSERT INTO {table} (table_id, version, source_name, target_name, definition, changes, ddl, "
                "altered_us, altered_at, instance) SELECT %(id)s, coalesce(max(version), 0) + 1, %(source)s, "
                "%(target)s, %(definition)s, %(changes)s, %(ddl)s, %(us)s, to_timestamp(%(us)s / 1e6), %(instance)s "
                "FROM {table} WHERE table_id = %(id)s RETURNING version"
            ).format(table=self._table),
            {
                "id": table.id,
                "source": table.full_name,
                "target": target,
                "definition": json.dumps(to_document(table)),
                "changes": list(changes),
                "ddl": list(ddl),
                "us": table.altered_at,
                "instance": instance_name(),
            },
        ).fetchone()
        assert row is not None
        if failpoints.ARMED:
            failpoints.reach("version_recorded")
        return int(row[0])

    def dropped(self, connection: Connection[Any], table_id: uuid.UUID, kept_as: str) -> bool:
        """Note that a table is gone in Cassandra; returns whether nobody had noted it."""
        cursor = connection.execute(
            sql.SQL("UPDATE {} SET dropped_at = now(), kept_as = %s WHERE table_id = %s AND dropped_at IS NULL").format(
                self._control.name("targets")
            ),
            (kept_as, table_id),
        )
        return cursor.rowcount > 0

    def rows_in(self, connection: Connection[Any], place: tuple[str, str]) -> list[uuid.UUID]:
        """The table ids whose rows are in the relation `place` (schema, name)."""
        if not self.exists(connection):
            return []
        query = sql.SQL(
            "SELECT table_id FROM {} WHERE target_schema = %s AND coalesce(kept_as, target_name) = %s AND NOT static"
        ).format(self._control.name("targets"))
        return [row[0] for row in connection.execute(query, place).fetchall()]

    def kept_aside(self, connection: Connection[Any], table_id: uuid.UUID, name: str) -> None:
        """The relation of a table that is gone has another name now."""
        connection.execute(
            sql.SQL("UPDATE {} SET dropped_at = coalesce(dropped_at, now()), kept_as = %s WHERE table_id = %s").format(
                self._control.name("targets")
            ),
            (name, table_id),
        )

    def pin(self, connection: Connection[Any], table_id: uuid.UUID, number: int | None) -> None:
        """Leave columns out that version `number` does not have; None leaves none out."""
        connection.execute(
            sql.SQL("UPDATE {} SET pinned_version = %s WHERE table_id = %s").format(self._control.name("targets")),
            (number, table_id),
        )

    def pinned(self, connection: Connection[Any], table_id: uuid.UUID) -> Table | None:
        """The version of the table that `pin` named, or None."""
        if not self.exists(connection):
            return None
        query = self._select + sql.SQL(
            "v WHERE table_id = %s AND version = (SELECT max(pinned_version) FROM {} t WHERE t.table_id = v.table_id)"
        ).format(self._control.name("targets"))
        row = connection.execute(query, (table_id,)).fetchone()
        return None if row is None else _version(row).table

    def departed(self, connection: Connection[Any]) -> list[tuple[Version, str]]:
        """The tables that were dropped not long ago, and the names of their relations: late writes may still come."""
        if not self.exists(connection):
            return []
        rows = connection.execute(
            sql.SQL(
                "SELECT table_id, coalesce(kept_as, target_name) FROM {} "
                "WHERE dropped_at > now() - make_interval(secs => %s) AND NOT static"
            ).format(self._control.name("targets")),
            (DEPARTED_S,),
        ).fetchall()
        names = dict(rows)
        return [(version, names[table_id]) for table_id, version in self.newest(connection, list(names)).items()]


def _version(row: Sequence[Any]) -> Version:
    table_id, number, definition, target, changes, ddl, altered_us, altered_at, recorded_at, role, instance = row
    table = from_document(table_id, definition, altered_us)
    return Version(table, number, target, tuple(changes), tuple(ddl), altered_at, recorded_at, role, instance)
