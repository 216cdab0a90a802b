"""Rows to PostgreSQL's binary COPY format, and what SQL may do with each of them.

Invariant: the operation chosen for a row is one that the statements of `merge_sql` carry out exactly; whatever they
can't decide by themselves is left to be merged here and comes again as `OP_UPSERT` or `OP_REMOVE`.

A staged row has the fields `_op`, `_ord`, key columns, value columns, `_cdc_ts`, `_cdc_state`, `_cdc_expires_at`.
"""

from __future__ import annotations

from typing import Final

from casscade.core.cell import NO_EXPIRY, NO_TIMESTAMP
from casscade.core.errors import BadDataError
from casscade.core.keys import split_partition_key
from casscade.core.mutation import Row
from casscade.load.layout import RowLayout, without_value
from casscade.merge.row import drop_expired_values, is_visible, newest_timestamp, next_expiry
from casscade.merge.state import encode_state

OP_DOMINATE: Final = 1
"""Sets every column at one timestamp: replaces any older row, whatever its state."""
OP_INSERT: Final = 2
"""A plain INSERT of some columns: replaces an older plain row that has nothing in the other columns."""
OP_DELETE: Final = 3
"""Only a row deletion: removes an older row."""
OP_PUT_IF_ABSENT: Final = 4
"""Visible, but SQL can't compare it: inserted where no row is."""
OP_HIDDEN: Final = 5
"""Only tombstones and the like: nothing to see where no row is."""
OP_REMOVE: Final = 8
"""The outcome of a merge: not visible."""
OP_UPSERT: Final = 9
"""The outcome of a merge: visible."""

COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_TRAILER: Final = b"\xff\xff"

_NULL: Final = b"\xff\xff\xff\xff"
_LENGTHS: Final = [length.to_bytes(4, "big") for length in range(1024)]
_PG_EPOCH_SECONDS: Final = 946_684_800
_TIMESTAMP_INFINITY: Final = (1 << 63) - 1


class EncodedRow:
    """What became of a row: its operation, its newest write time and its state."""

    __slots__ = ("newest", "op", "state")

    def __init__(self, op: int, newest: int, state: bytes | None) -> None:
        self.op: int = op
        self.newest: int = newest
        self.state: bytes | None = state


def _put(out: list[bytes], field: bytes | None) -> None:
    if field is None:
        out.append(_NULL)
        return
    length = len(field)
    out.append(_LENGTHS[length] if length < 1024 else length.to_bytes(4, "big"))
    out.append(field)


class RowEncoder:
    """Encodes the rows of one target. `inexact` counts values that PostgreSQL can't hold exactly."""

    def __init__(self, layout: RowLayout) -> None:
        self.layout: RowLayout = layout
        self.inexact: int = 0

    def encode(
        self, out: list[bytes], ordinal: int, partition_key: bytes, row: Row, now: int, merged: bool
    ) -> EncodedRow:
        """Append the staged row to `out`.

        `merged` tells that stored state is already in `row`, so that it is final. Values that expired by `now` (Unix
        seconds) are dropped from `row`. Raises BadDataError when a key value can't be a key in PostgreSQL; `out` is
        then as before.
        """
        slot = len(out)
        out.append(b"")
        try:
            self._put_key(out, partition_key, row)
        except BadDataError:
            del out[slot:]
            raise
        newest = newest_timestamp(row)
        if next_expiry(row, -1) != NO_EXPIRY:
            drop_expired_values(row, now)
            expires_at = next_expiry(row, now)
        else:
            expires_at = NO_EXPIRY
        kept: set[int] = set()
        plain = self._put_values(out, row, newest, now, kept)
        if plain and row.liveness_ts == newest and row.liveness_ttl == 0 and row.deletion == NO_TIMESTAMP:
            state: bytes | None = None
        else:
            state = encode_state(row, newest, kept, self.layout.indexes)
        out.append(b"\x00\x00\x00\x08")
        out.append((newest & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big"))
        _put(out, state)
        _put(out, None if expires_at == NO_EXPIRY else _timestamptz(expires_at))
        op = self._choose(row, newest, state, now, merged)
        out[slot] = (
            self.layout.field_count.to_bytes(2, "big")
            + b"\x00\x00\x00\x02"
            + op.to_bytes(2, "big")
            + b"\x00\x00\x00\x04"
            + ordinal.to_bytes(4, "big")
        )
        return EncodedRow(op, newest, state)

    def _put_key(self, out: list[bytes], partition_key: bytes, row: Row) -> None:
        layout = self.layout
        position = 0
        for value in split_partition_key(partition_key, layout.partition_columns):
            _put(out, self._key_field(position, value))
            position += 1
        if not layout.static:
            for clustering_value in row.clustering:
                _put(out, self._key_field(position, clustering_value))
                position += 1
        if position != len(layout.keys):
            raise BadDataError("key_malformed", "A key has another number of columns than its table")

    def _key_field(self, position: int, value: bytes | None) -> bytes:
        field = None if value is None else self.layout.keys[position].encode(value)
        if field is None:
            raise BadDataError(
                "key_not_representable",
                f"Key column {position + 1} has a value that PostgreSQL can't hold exactly, so two keys could collide",
                now="the row is set aside as a dead letter, the others go on",
                hint="casscade status names the table; such values are listed in docs/types.md",
            )
        return field

    def _put_values(self, out: list[bytes], row: Row, newest: int, now: int, kept: set[int]) -> bool:
        """Append the value fields; returns whether every cell is a live one at `newest` that its field holds."""
        cells = row.cells
        found = 0
        plain = row.complex is None
        for column in self.layout.values:
            codec = column.codec
            if codec is None:
                self._put_complex(out, row, column.index, now)
                continue
            cell = cells.get(column.index)
            if cell is None:
                out.append(_NULL)
                continue
            found += 1
            if cell[0] != newest or cell[2] != 0:
                plain = False
            value = cell[3]
            if value is None or cell[1] <= now:
                plain = False
                out.append(_NULL)
                continue
            field = codec.encode(value)
            if field is None:
                plain = False
                self.inexact += 1
                kept.add(column.index)
                _put(out, codec.show(value))
                continue
            length = len(field)
            out.append(_LENGTHS[length] if length < 1024 else length.to_bytes(4, "big"))
            out.append(field)
        if found != len(cells):
            plain = False
            for index in cells:
                if index not in self.layout.shown:
                    cells[index] = without_value(cells[index])
                    kept.add(index)
        return plain

    def _put_complex(self, out: list[bytes], row: Row, index: int, now: int) -> None:
        field: bytes | None = None
        if row.complex is not None:
            column = row.complex.get(index)
            if column is not None:
                for shown in self.layout.values:
                    if shown.index == index and shown.renderer is not None:
                        field = shown.renderer.render(column, now)
        _put(out, field)

    def _choose(self, row: Row, newest: int, state: bytes | None, now: int, merged: bool) -> int:
        if merged:
            return OP_UPSERT if is_visible(row, now) else OP_REMOVE
        if row.liveness_ts == NO_TIMESTAMP and not row.cells and row.complex is None:
            return OP_DELETE
        if not is_visible(row, now):
            return OP_HIDDEN
        if state is None:
            if len(row.cells) == self.layout.simple_count and self.layout.complex_count == 0:
                return OP_DOMINATE
            return OP_INSERT
        return OP_DOMINATE if self._dominates(row, newest) else OP_PUT_IF_ABSENT

    def _dominates(self, row: Row, newest: int) -> bool:
        layout = self.layout
        if row.liveness_ts != newest and not layout.static:
            return False
        if len(row.cells) != layout.simple_count:
            return False
        for cell in row.cells.values():
            if cell[0] != newest:
                return False
        if layout.complex_count == 0:
            return True
        columns = row.complex
        if columns is None or len(columns) != layout.complex_count:
            return False
        for column in columns.values():
            if column.deletion < newest - 1:
                return False
        return True


def _timestamptz(seconds: int) -> bytes:
    micros = (seconds - _PG_EPOCH_SECONDS) * 1_000_000
    return min(micros, _TIMESTAMP_INFINITY).to_bytes(8, "big", signed=True)
