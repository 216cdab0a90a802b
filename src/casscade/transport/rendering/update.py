"""A decoded mutation as plain values: what it does to which rows of which table.

Invariant: pure; every deletion, row and cell of the update is shown, in its order, with write times in microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from casscade.core.cell import COUNTER_TTL, NO_EXPIRY, NO_TIMESTAMP, Cell, counter_total
from casscade.core.keys import pack_values, split_partition_key
from casscade.core.mutation import INCL_END_BOUND, INCL_START_BOUND, Bound, ComplexColumn, PartitionUpdate, Row
from casscade.core.observed import Observed, is_unread
from casscade.cql.types import CqlType
from casscade.schema.model import Column, Table
from casscade.transport.rendering.masking import digest, plain_value

Shown = dict[str, Any]


class UpdateRenderer:
    """Renders updates of one table; with `values` keys and values are shown as they are."""

    def __init__(self, table: Table, *, values: bool) -> None:
        self._table = table
        self._values = values
        self._columns = {column.index: column for column in table.columns if column.index >= 0}

    def render(self, update: PartitionUpdate) -> Shown:
        """The table, the key and the operations of an update of it."""
        operations: list[Shown] = []
        if update.deletion != NO_TIMESTAMP:
            operations.append({"kind": "partition_delete", "write_time": update.deletion})
        for tombstone in update.range_tombstones:
            start, end = self._bound(tombstone.start), self._bound(tombstone.end)
            operations.append({"kind": "range_delete", "write_time": tombstone.deletion, "start": start, "end": end})
        if update.static_row is not None:
            operations += self._row(update.static_row, static=True)
        for row in update.rows:
            operations += self._row(row, static=False)
        return {
            "table": self._table.full_name,
            "partition_key": self._partition_key(update.key),
            "operations": operations,
        }

    def _partition_key(self, key: bytes) -> Any:
        columns = self._table.partition_key
        return self._key(columns, split_partition_key(key, len(columns)), key)

    def _key(self, columns: Sequence[Column], parts: Sequence[bytes | None], whole: bytes) -> Any:
        if not self._values:
            return digest(whole)
        return {
            column.name: None if part is None else plain_value(column.type, part)
            for column, part in zip(columns, parts, strict=False)
        }

    def _bound(self, bound: Bound) -> Shown:
        """One end of a range; without a key it is that of the partition."""
        shown: Shown = {"inclusive": bound.kind in (INCL_START_BOUND, INCL_END_BOUND), "columns": len(bound.values)}
        if bound.values:
            shown["clustering"] = self._key(self._table.clustering, bound.values, pack_values(bound.values))
        return shown

    def _row(self, row: Row, *, static: bool) -> list[Shown]:
        """A row's deletion and what is written to it; nothing of the two may be there."""
        place: Shown = {}
        if not static and self._table.clustering:
            place["clustering"] = self._key(self._table.clustering, row.clustering, pack_values(row.clustering))
        shown: list[Shown] = []
        if row.deletion != NO_TIMESTAMP:
            shown.append({"kind": "delete", **place, "write_time": row.deletion})
        columns = self._row_columns(row)
        if row.liveness_ts != NO_TIMESTAMP or columns or not shown:
            counting = any(cell[2] == COUNTER_TTL for cell in row.cells.values())
            written: Shown = {"kind": "static" if static else "counter" if counting else "upsert", **place}
            if row.liveness_ts != NO_TIMESTAMP:
                written["liveness"] = _times(row.liveness_ts, row.liveness_expires_at, row.liveness_ttl)
            shown.append(written | {"columns": columns})
        return shown

    def _row_columns(self, row: Row) -> Shown:
        shown: Shown = {}
        for index, cell in row.cells.items():
            column = self._columns[index]
            shown[column.name] = self._cell(cell, column.type)
        for index, elements in (row.complex or {}).items():
            column = self._columns[index]
            shown[column.name] = self._elements(elements, column.type)
        for index, observed in (row.observed or {}).items():
            column = self._columns[index]
            shown.setdefault(column.name, {})["observed"] = self._observed(observed, column.type)
        return shown

    def _cell(self, cell: Cell, cql_type: CqlType) -> Shown:
        written, expires_at, ttl, value = cell
        if value is None:
            return _times(written, NO_EXPIRY, 0) | {"deleted": True}
        shown = _times(written, expires_at, ttl) | {"bytes": len(value)}
        if ttl == COUNTER_TTL:
            # What a node knows of a counter is the sum over its shards, not what one statement added.
            return shown | ({"shards_total": counter_total(value)} if self._values else {})
        if self._values:
            shown["value"] = plain_value(cql_type, value)
        return shown

    def _elements(self, column: ComplexColumn, cql_type: CqlType) -> Shown:
        """The cells of a multi-cell column; what tells one from another is shown where it is no value."""
        path, element_type = _element(cql_type)
        shown: Shown = {} if column.deletion == NO_TIMESTAMP else {"deleted_at": column.deletion}
        cells: list[Shown] = []
        for raw, cell in column.cells.items():
            entry = self._cell(cell, element_type(raw))
            if self._values or cql_type.name == "udt":
                entry = {"path": path(raw)} | entry
            if cql_type.name == "set":
                # The element is the path; the cell holds nothing.
                entry.pop("value", None)
            cells.append(entry)
        return shown | {"elements": cells}

    def _observed(self, observed: Observed, cql_type: CqlType) -> Shown:
        """What a read showed of a column whose cells CQL hides."""
        turn, read_at, _, _, value = observed
        if value is None:
            return {"state": "unread" if is_unread(observed) else "settled"}
        shown: Shown = {"state": "shown", "turn": turn, "read_at": read_at, "bytes": len(value)}
        if self._values:
            shown["value"] = plain_value(cql_type, value) if value else None
        return shown


def _times(written: int, expires_at: int, ttl: int) -> Shown:
    """A write time, and the TTL in seconds with the second at which it ends."""
    return {"write_time": written} | ({"ttl": ttl, "expires_at": expires_at} if ttl > 0 else {})


def _element(cql_type: CqlType) -> tuple[Callable[[bytes], Any], Callable[[bytes], CqlType]]:
    """How the path of an element is shown, and the type of the element at a path."""
    if cql_type.name == "udt":
        names, types = cql_type.field_names, cql_type.args

        def field(path: bytes) -> int:
            return int.from_bytes(path, "big")

        return (
            lambda path: names[field(path)] if field(path) < len(names) else field(path),
            lambda path: types[field(path)] if field(path) < len(types) else CqlType("blob"),
        )
    if cql_type.name == "list":
        return lambda path: path.hex(), lambda _: cql_type.args[0]
    return lambda path: plain_value(cql_type.args[0], path), lambda _: cql_type.args[-1]
