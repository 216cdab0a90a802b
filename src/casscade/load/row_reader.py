"""Stored rows back into the form that merges.

Invariant: reading what `RowEncoder` wrote gives the row that was written, cell for cell.
"""

from __future__ import annotations

from typing import Final

from casscade.commitlog.encoder import clustering_key
from casscade.core.cell import NO_TIMESTAMP
from casscade.core.errors import CorruptionError
from casscade.core.keys import canonical_key, join_partition_key, unpack_values
from casscade.core.mutation import ComplexColumn, Row
from casscade.load.layout import RowLayout
from casscade.merge.state import decode_state

# Stands for values that no column holds any more, and is told from all others by its identity.
_GONE: Final[bytes] = bytes(bytearray(b"gone"))


class StoredRow:
    """A row of a target table with the key of its partition."""

    __slots__ = ("partition_key", "row")

    def __init__(self, partition_key: bytes, row: Row) -> None:
        self.partition_key: bytes = partition_key
        self.row: Row = row


def read_row(layout: RowLayout, fields: list[bytes | None], offset: int = 0) -> StoredRow:
    """A stored row from its fields, which begin at `offset`: keys, values, write time, state, expiry.

    Raises CorruptionError when the state does not fit.
    """
    partition_key, clustering = (
        _read_exact(layout, fields, offset) if layout.exact else _read_natural(layout, fields, offset)
    )
    offset += layout.exact_fields + len(layout.keys)
    if layout.loose_clusterings:
        row = Row(canonical_key(clustering, layout.loose_clusterings), clustering)
    else:
        row = Row(clustering_key(clustering, layout.clustering_lengths), clustering)
    values: dict[int, bytes] = {}
    for column in layout.values:
        field = fields[offset]
        offset += 1
        if field is not None and column.codec is not None:
            values[column.index] = column.codec.decode(field)
    for index in layout.ended:
        values.setdefault(index, _GONE)
    newest_field = fields[offset]
    newest = NO_TIMESTAMP if newest_field is None else int.from_bytes(newest_field, "big", signed=True)
    decode_state(row, newest, fields[offset + 1], values)
    if layout.ended:
        _forget(row, layout.ended)
    return StoredRow(partition_key, row)


def _forget(row: Row, ended: dict[int, int]) -> None:
    """Take out what Cassandra does not show any more: cells from before their column was dropped."""
    for index, until in ended.items():
        cell = row.cells.get(index)
        if cell is not None and (cell[3] is _GONE or cell[0] <= until):
            del row.cells[index]
        if row.complex is not None and index in row.complex:
            column = row.complex[index]
            cells = {path: found for path, found in column.cells.items() if found[0] > until}
            deletion = column.deletion if column.deletion > until else NO_TIMESTAMP
            if cells or deletion != NO_TIMESTAMP:
                row.complex[index] = ComplexColumn(deletion, cells)
            else:
                del row.complex[index]
        if row.observed is not None and index in row.observed and row.observed[index][1] <= until:
            del row.observed[index]
    if row.complex is not None and not row.complex:
        row.complex = None
    if row.observed is not None and not row.observed:
        row.observed = None


def _read_natural(layout: RowLayout, fields: list[bytes | None], offset: int) -> tuple[bytes, list[bytes | None]]:
    keys: list[bytes] = []
    for codec in layout.keys:
        field = fields[offset]
        offset += 1
        if field is None:
            raise _null_in_key()
        keys.append(codec.decode(field))
    clustering: list[bytes | None] = list(keys[layout.partition_columns :])
    return join_partition_key(keys[: layout.partition_columns]), clustering


def _read_exact(layout: RowLayout, fields: list[bytes | None], offset: int) -> tuple[bytes, list[bytes | None]]:
    partition_key = fields[offset]
    packed = fields[offset + 1] if layout.exact_fields == 3 else b""
    whole = fields[offset + layout.exact_fields - 1]
    if whole is not None:
        parts = unpack_values(whole)
        partition_key, packed = parts[0], parts[1]
    if partition_key is None or packed is None:
        raise _null_in_key()
    return partition_key, unpack_values(packed)


def _null_in_key() -> CorruptionError:
    return CorruptionError("state_corrupt", "A key column of a stored row is NULL")
