"""From partition updates to the bytes of a mutation: for snapshots, tests and benchmarks.

Invariant: `decode_mutation(encode_mutation(updates, version), version, tables)` gives the same updates again.

Two things differ from what a node writes: the times at which tombstones were made are not kept (the model has none),
and range tombstones stand before the rows instead of among them, because their order takes the comparators.
"""

from __future__ import annotations

from typing import Final

from casscade.commitlog.cells import (
    CELL_DELETED,
    CELL_EMPTY,
    CELL_EXPIRING,
    CELL_ROW_TIMESTAMP,
    CELL_ROW_TTL,
    CLUSTERING_BATCH,
)
from casscade.commitlog.columns import BITMAP_COLUMNS_MAX
from casscade.commitlog.decoder import (
    END_OF_PARTITION,
    EPOCH_MICROS,
    EPOCH_SECONDS,
    EXTENDED_STATIC,
    IS_MARKER,
    UPDATE_HAS_DELETION,
    UPDATE_HAS_ROW_ESTIMATE,
    UPDATE_HAS_STATIC_ROW,
    UPDATE_IS_EMPTY,
)
from casscade.commitlog.rows import (
    ROW_EXTENDED,
    ROW_HAS_ALL_COLUMNS,
    ROW_HAS_COMPLEX_DELETION,
    ROW_HAS_DELETION,
    ROW_HAS_TIMESTAMP,
    ROW_HAS_TTL,
)
from casscade.core.cell import NO_EXPIRY, NO_TIMESTAMP, Cell
from casscade.core.errors import InvariantError
from casscade.core.mutation import (
    EXCL_END_BOUND,
    EXCL_END_INCL_START_BOUNDARY,
    EXCL_START_BOUND,
    INCL_END_BOUND,
    INCL_END_EXCL_START_BOUNDARY,
    INCL_START_BOUND,
    Bound,
    PartitionUpdate,
    RangeTombstone,
    Row,
)
from casscade.core.table import ColumnShape
from casscade.cql.vint import write_unsigned

_BOUNDARIES: Final = {
    (EXCL_END_BOUND, INCL_START_BOUND): EXCL_END_INCL_START_BOUNDARY,
    (INCL_END_BOUND, EXCL_START_BOUND): INCL_END_EXCL_START_BOUNDARY,
}
_MASK: Final = (1 << 64) - 1


def encode_mutation(updates: list[PartitionUpdate], version: int) -> bytes:
    """The mutation made of `updates` (one partition key, one for each table) in commit-log format 6, 7 or 8.

    Raises InvariantError for an update that the format can't hold: an expiry beyond its range, an expiring cell
    without a value, a value whose length is not that of its column's type.
    """
    return write_unsigned(len(updates)) + b"".join(_UpdateEncoder(update, version).encode() for update in updates)


def clustering_key(values: list[bytes | None], lengths: list[int]) -> bytes:
    """The serialized clustering, which is `Row.key` (`ClusteringPrefix.Serializer.serializeValuesWithoutSize`)."""
    out = bytearray()
    for start in range(0, len(values), CLUSTERING_BATCH):
        batch = values[start : start + CLUSTERING_BATCH]
        header = 0
        for i, value in enumerate(batch):
            if not value:
                header |= (2 if value is None else 1) << (2 * i)
        out += write_unsigned(header)
        for value, length in zip(batch, lengths[start:], strict=False):
            if value:
                out += _framed(value, length)
    return bytes(out)


def encode_subset(present: list[int], count: int) -> bytes:
    """The columns of a row by their places in a list of `count` columns, ascending; not for all of them."""
    held = set(present)
    missing = [i for i in range(count) if i not in held]
    if count < BITMAP_COLUMNS_MAX:
        return write_unsigned(sum(1 << i for i in missing))
    shorter = present if len(present) < count // 2 else missing
    return b"".join(write_unsigned(number) for number in [len(missing), *shorter])


def _framed(value: bytes, length: int) -> bytes:
    if length < 0:
        return write_unsigned(len(value)) + value
    if len(value) != length:
        raise _unencodable(f"a value has {len(value)} bytes where its type has {length}")
    return value


def _unencodable(rule: str) -> InvariantError:
    return InvariantError("mutation_unencodable", f"the mutation cannot be encoded: {rule}")


class _UpdateEncoder:
    """Encodes one update; holds its encoding stats and its lists of columns."""

    def __init__(self, update: PartitionUpdate, version: int) -> None:
        self.update = update
        self.no_expiry = 0xFFFFFFFF if version >= 8 else 0x7FFFFFFF
        self.by_index = {column.index: column for column in update.table.columns.values()}
        statics = [] if update.static_row is None else [update.static_row]
        self.statics = self._columns(statics)
        self.regulars = self._columns(update.rows)
        timestamps = [update.deletion, *(tombstone.deletion for tombstone in update.range_tombstones)]
        expiries = [NO_EXPIRY]
        ttls = [0]
        for row in statics + update.rows:
            timestamps += [row.liveness_ts, row.deletion]
            cells = list(row.cells.values())
            for column in (row.complex or {}).values():
                timestamps.append(column.deletion)
                cells += column.cells.values()
            timestamps += [cell[0] for cell in cells]
            expiring = [(cell[1], cell[2]) for cell in cells if cell[2] > 0]
            if row.liveness_ttl:
                expiring.append((row.liveness_expires_at, row.liveness_ttl))
            expiries += [expiry for expiry, _ in expiring]
            ttls += [ttl for _, ttl in expiring]
        self.min_ts = min((timestamp for timestamp in timestamps if timestamp != NO_TIMESTAMP), default=EPOCH_MICROS)
        self.min_ldt = min(expiries) if min(expiries) < self.no_expiry else EPOCH_SECONDS
        self.min_ttl = min((ttl for ttl in ttls if ttl), default=0)

    def _columns(self, rows: list[Row]) -> list[ColumnShape]:
        """The columns that `rows` touch, simple ones first, then by name (`Columns`)."""
        indexes = {index for row in rows for index in (*row.cells, *(row.complex or {}))}
        return sorted((self.by_index[index] for index in indexes), key=lambda column: (column.multi_cell, column.name))

    def encode(self) -> bytes:
        update = self.update
        out = bytearray(update.table.id + write_unsigned(len(update.key)) + update.key)
        has_deletion = update.deletion != NO_TIMESTAMP
        if not (has_deletion or update.static_row or update.rows or update.range_tombstones):
            out.append(UPDATE_IS_EMPTY)
            return bytes(out)
        flags = UPDATE_HAS_ROW_ESTIMATE
        if has_deletion:
            flags |= UPDATE_HAS_DELETION
        if update.static_row is not None:
            flags |= UPDATE_HAS_STATIC_ROW
        out.append(flags)
        out += write_unsigned((self.min_ts - EPOCH_MICROS) & _MASK)
        out += write_unsigned((self.min_ldt - EPOCH_SECONDS) & _MASK)
        out += write_unsigned(self.min_ttl)
        for listed in [self.regulars] if update.static_row is None else [self.statics, self.regulars]:
            out += write_unsigned(len(listed))
            for column in listed:
                out += write_unsigned(len(column.name)) + column.name
        if has_deletion:
            out += self._deletion(update.deletion)
        if update.static_row is not None:
            out += self._row(update.static_row, self.statics, is_static=True)
        out += write_unsigned(len(update.rows))
        out += self._range_tombstones(update.range_tombstones)
        for row in update.rows:
            out += self._row(row, self.regulars, is_static=False)
        out.append(END_OF_PARTITION)
        return bytes(out)

    def _timestamp(self, timestamp: int) -> bytes:
        return write_unsigned((timestamp - self.min_ts) & _MASK)

    def _deletion(self, timestamp: int) -> bytes:
        return self._timestamp(timestamp) + b"\x00"

    def _expiry(self, second: int) -> bytes:
        if second != NO_EXPIRY and not 0 <= second < self.no_expiry:
            raise _unencodable("an expiry is beyond the format's range")
        return write_unsigned(((self.no_expiry if second == NO_EXPIRY else second) - self.min_ldt) & 0xFFFFFFFF)

    def _ttl(self, ttl: int) -> bytes:
        return write_unsigned(ttl - self.min_ttl)

    def _bound(self, kind: int, bound: Bound) -> bytes:
        values = clustering_key(bound.values, self.update.table.clustering_lengths)
        return bytes((IS_MARKER, kind)) + len(bound.values).to_bytes(2, "big") + values

    def _range_tombstones(self, tombstones: list[RangeTombstone]) -> bytes:
        """Markers; where one range starts at the very place at which the one before ends, a boundary."""
        out = bytearray()
        open_end: RangeTombstone | None = None
        for tombstone in tombstones:
            if open_end is not None:
                boundary = _BOUNDARIES.get((open_end.end.kind, tombstone.start.kind))
                if boundary is not None and open_end.end.values == tombstone.start.values:
                    out += self._bound(boundary, tombstone.start)
                    out += self._deletion(open_end.deletion) + self._deletion(tombstone.deletion)
                    open_end = tombstone
                    continue
                out += self._bound(open_end.end.kind, open_end.end) + self._deletion(open_end.deletion)
            out += self._bound(tombstone.start.kind, tombstone.start) + self._deletion(tombstone.deletion)
            open_end = tombstone
        if open_end is not None:
            out += self._bound(open_end.end.kind, open_end.end) + self._deletion(open_end.deletion)
        return bytes(out)

    def _row(self, row: Row, listed: list[ColumnShape], *, is_static: bool) -> bytes:
        complex_columns = row.complex or {}
        present = [i for i, column in enumerate(listed) if column.index in row.cells or column.index in complex_columns]
        flags = ROW_EXTENDED if is_static else 0
        if row.liveness_ts != NO_TIMESTAMP:
            flags |= ROW_HAS_TIMESTAMP
            if row.liveness_ttl:
                flags |= ROW_HAS_TTL
        if row.deletion != NO_TIMESTAMP:
            flags |= ROW_HAS_DELETION
        if len(present) == len(listed):
            flags |= ROW_HAS_ALL_COLUMNS
        has_complex_deletion = any(column.deletion != NO_TIMESTAMP for column in complex_columns.values())
        if has_complex_deletion:
            flags |= ROW_HAS_COMPLEX_DELETION
        out = bytearray((flags,))
        if is_static:
            out.append(EXTENDED_STATIC)
        else:
            out += clustering_key(row.clustering, self.update.table.clustering_lengths)
        if flags & ROW_HAS_TIMESTAMP:
            out += self._timestamp(row.liveness_ts)
        if flags & ROW_HAS_TTL:
            out += self._ttl(row.liveness_ttl) + self._expiry(row.liveness_expires_at)
        if flags & ROW_HAS_DELETION:
            out += self._deletion(row.deletion)
        if not flags & ROW_HAS_ALL_COLUMNS:
            out += encode_subset(present, len(listed))
        for i in present:
            column = listed[i]
            if not column.multi_cell:
                out += self._cell(row, row.cells[column.index], None, column.fixed_length)
                continue
            held = complex_columns[column.index]
            if has_complex_deletion:
                out += self._deletion(held.deletion)
            out += write_unsigned(len(held.cells))
            for path, cell in held.cells.items():
                out += self._cell(row, cell, path, -1)
        return bytes(out)

    def _cell(self, row: Row, cell: Cell, path: bytes | None, length: int) -> bytes:
        timestamp, expires_at, ttl, value = cell
        flags = CELL_ROW_TIMESTAMP if timestamp == row.liveness_ts else 0
        if ttl > 0:
            if value is None:
                raise _unencodable("an expiring cell has no value")
            flags |= CELL_EXPIRING
            if ttl == row.liveness_ttl and expires_at == row.liveness_expires_at:
                flags |= CELL_ROW_TTL
        elif value is None:
            flags |= CELL_DELETED
        if not value:
            flags |= CELL_EMPTY
        out = bytearray((flags,))
        if not flags & CELL_ROW_TIMESTAMP:
            out += self._timestamp(timestamp)
        if flags & CELL_DELETED:
            out.append(0)
        elif flags & CELL_EXPIRING and not flags & CELL_ROW_TTL:
            out += self._expiry(expires_at) + self._ttl(ttl)
        if path is not None:
            out += write_unsigned(len(path)) + path
        if value:
            out += _framed(value, length)
        return bytes(out)
