"""Reads the schema of a whole cluster from `system_schema`.

Invariant: a snapshot is either complete (every keyspace, system ones included, because their mutations stand in the
same commit log) or not returned at all; a table that changed between two of the SELECTs causes a second reading.

The driver's own metadata is not used: it has no dropped columns, and it fails on values that it can't represent.
`dropped_time` is read as a number of milliseconds, since it may lie outside the range of Python's datetime.
"""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from casscade.core.cell import NO_TIMESTAMP
from casscade.core.errors import RetryableError
from casscade.cql.types import UdtDefinition, parse_type
from casscade.schema.faults import translated
from casscade.schema.model import (
    Column,
    ColumnKind,
    Keyspace,
    SchemaSnapshot,
    Table,
    assign_indexes,
    ordered_columns,
)

READINGS_MAX: Final = 20
"""How often a schema that changes while it is read is read again; the schema of a cluster at rest needs two."""

# Migrations make table after table: the pauses outlast some seconds of that (8 in all).
_PAUSE_FIRST_S: Final = 0.05
_PAUSE_MAX_S: Final = 0.5

_RELEASE: Final = "SELECT release_version FROM system.local"
_KEYSPACES: Final = "SELECT keyspace_name, durable_writes, replication FROM system_schema.keyspaces"
# Each ALTER writes the whole row of its table anew.
_TABLES: Final = (
    "SELECT keyspace_name, table_name, id, flags, cdc, gc_grace_seconds, default_time_to_live, writetime(id) "
    "FROM system_schema.tables"
)
_VIEWS: Final = "SELECT keyspace_name, view_name, id, gc_grace_seconds, default_time_to_live FROM system_schema.views"
_COLUMNS: Final = (
    "SELECT keyspace_name, table_name, column_name, kind, position, clustering_order, type FROM system_schema.columns"
)
_DROPPED: Final = (
    "SELECT keyspace_name, table_name, column_name, kind, type, "
    "bigintAsBlob(toUnixTimestamp(dropped_time)) AS dropped_time FROM system_schema.dropped_columns"
)
_TYPES: Final = (
    "SELECT keyspace_name, type_name, field_names, field_types, writetime(field_names) FROM system_schema.types"
)

_Rows = Iterable[Any]
_Columns = dict[tuple[str, str], list[Column]]


def read_schema(
    session: Any,
    sleep: Callable[[float], None] = time.sleep,
    *,
    wanted: Callable[[str], bool] = lambda _: True,
) -> SchemaSnapshot:
    """All tables and views of the cluster, their columns numbered as for the first time (see `assign_indexes`).

    `wanted` tells by its name whether a keyspace matters: others that change meanwhile are left out, not waited for. (A
    mutation writes to one keyspace.)

    Raises `RetryableError` when Cassandra does not answer or the schema keeps changing, `BadDataError` for a type
    that can't be parsed.
    """
    previous = _Reading(session)
    for changes in range(READINGS_MAX - 1):
        if changes:
            sleep(min(_PAUSE_FIRST_S * 2 ** (changes - 1), _PAUSE_MAX_S))
        reading = _Reading(session)
        unsettled = reading.unlike(previous)
        if not any(map(wanted, unsettled)):
            return reading.without(unsettled).snapshot()
        previous = reading
    raise RetryableError(
        "schema_changing",
        f"the schema changed during each of {READINGS_MAX} readings",
        where="system_schema",
        now="it is read again after a pause",
        hint="wait until schema changes are over",
    )


class _Reading:
    """One pass over `system_schema`, as plain tuples."""

    def __init__(self, session: Any) -> None:
        self.raw: dict[str, list[tuple[Any, ...]]] = {}
        with translated("reading the schema"):
            for query in (_RELEASE, _KEYSPACES, _TYPES, _TABLES, _VIEWS, _DROPPED, _COLUMNS):
                self.raw[query] = [_plain(row) for row in session.execute(query)]

    def unlike(self, other: _Reading) -> set[str]:
        """The keyspaces of which the two readings say different things."""
        changed: set[str] = set()
        for query, rows in self.raw.items():
            if rows != other.raw[query] and query != _RELEASE:
                changed |= {row[0] for row in _difference(rows, other.raw[query])}
        return changed

    def without(self, keyspaces: Collection[str]) -> _Reading:
        """This reading, with nothing of some keyspaces."""
        for query, rows in self.raw.items():
            if keyspaces and query != _RELEASE:
                self.raw[query] = [row for row in rows if row[0] not in keyspaces]
        return self

    def snapshot(self) -> SchemaSnapshot:
        udts = _udts(self.raw[_TYPES])
        columns = _columns(self.raw[_COLUMNS], self.raw[_DROPPED], udts)
        older = any(release.startswith("3.") for (release,) in self.raw[_RELEASE])
        tables: dict[uuid.UUID, Table] = {}
        type_times: dict[str, int] = defaultdict(int)
        for keyspace, _, _, _, written_at in self.raw[_TYPES]:
            type_times[keyspace] = max(type_times[keyspace], written_at or 0)
        for keyspace, name, table_id, flags, cdc, gc_grace, ttl, written_at in self.raw[_TABLES]:
            found = ordered_columns(columns[keyspace, name])
            udts_used = any(column.type.holds("udt") for column in found)
            table = Table(
                table_id,
                keyspace,
                name,
                found,
                bool(cdc),
                gc_grace or 0,
                ttl or 0,
                frozenset(flags or ()),
                older_ties=older,
                altered_at=max(written_at or 0, type_times[keyspace] if udts_used else 0),
            )
            tables[table_id] = assign_indexes(table, {})
        for keyspace, name, table_id, gc_grace, ttl in self.raw[_VIEWS]:
            found = ordered_columns(columns[keyspace, name])
            view = Table(table_id, keyspace, name, found, False, gc_grace or 0, ttl or 0, is_view=True)
            tables[table_id] = assign_indexes(view, {})
        keyspaces = {
            name: Keyspace(name, durable is not False, dict(replication or {}))
            for name, durable, replication in self.raw[_KEYSPACES]
        }
        return SchemaSnapshot(keyspaces, tables, udts)


def _difference(rows: list[tuple[Any, ...]], others: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows that are not the same in both lists; their first fields tell them apart."""
    mine, theirs = {repr(row[:3]): row for row in rows}, {repr(row[:3]): row for row in others}
    return [row for key, row in (mine | theirs).items() if mine.get(key) != theirs.get(key)]


def _plain(row: Any) -> tuple[Any, ...]:
    """The row with the driver's ordered sets and maps as Python's own, so that two readings compare."""
    return tuple(_plain_value(value) for value in row)


def _plain_value(value: Any) -> Any:
    if value is None or isinstance(value, str | int | bytes | uuid.UUID):
        return value
    return dict(value.items()) if isinstance(value, Mapping) else list(value)


def _udts(rows: _Rows) -> dict[str, dict[str, UdtDefinition]]:
    udts: dict[str, dict[str, UdtDefinition]] = defaultdict(dict)
    for keyspace, name, field_names, field_types, _ in rows:
        udts[keyspace][name] = UdtDefinition(keyspace, name, tuple(field_names or ()), tuple(field_types or ()))
    return dict(udts)


def _columns(living: _Rows, dropped: _Rows, udts: Mapping[str, Mapping[str, UdtDefinition]]) -> _Columns:
    """The columns by table; a name that was dropped and added again is one column with its drop time."""
    drop_times: dict[tuple[str, str], dict[str, tuple[int, str, str]]] = defaultdict(dict)
    for keyspace, table, name, kind, type_, milliseconds in dropped:
        dropped_at = int.from_bytes(milliseconds, "big", signed=True) * 1000
        drop_times[keyspace, table][name] = (dropped_at, kind or ColumnKind.REGULAR.value, type_)
    columns: _Columns = defaultdict(list)
    for keyspace, table, name, kind, position, order, type_ in living:
        again = drop_times[keyspace, table].pop(name, None)
        parsed = parse_type(type_, keyspace, udts.get(keyspace, {}))
        dropped_at, former = NO_TIMESTAMP, None
        if again is not None:
            dropped_at, former = again[0], parse_type(again[2], keyspace, udts.get(keyspace, {})).fixed_length
        is_reversed = order == "desc"
        columns[keyspace, table].append(
            Column(
                name,
                ColumnKind(kind),
                position,
                parsed,
                reversed=is_reversed,
                dropped_at=dropped_at,
                former_length=former,
            )
        )
    for (keyspace, table), gone in drop_times.items():
        for name, (dropped_at, kind, type_) in gone.items():
            parsed = parse_type(type_, keyspace, udts.get(keyspace, {}))
            columns[keyspace, table].append(
                Column(name, ColumnKind(kind), -1, parsed, dropped=True, dropped_at=dropped_at)
            )
    return columns
