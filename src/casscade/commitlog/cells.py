"""Cells, deletions and clusterings in the bytes of a mutation.

Invariant: no function checks that a slice is whole. Offsets only grow, every loop ends at a byte it has to read, and
a mutation always ends in such a byte, so data that is too short raises IndexError before anything is returned.

The deltas (`min_ts`, `min_ldt`, `min_ttl`) are the encoding stats of the update; `wide` tells that local deletion
times are unsigned (format 8). Formats and names follow `UnfilteredSerializer`, `Cell.Serializer` and
`ClusteringPrefix.Serializer`.
"""

from __future__ import annotations

from typing import Final

from casscade.commitlog.faults import corrupt_mutation
from casscade.core.cell import COUNTER_TTL, NO_EXPIRY, NO_TIMESTAMP, Cell
from casscade.core.mutation import ComplexColumn
from casscade.core.table import ColumnShape
from casscade.cql.vint import read_unsigned

CELL_DELETED: Final = 0x01
CELL_EXPIRING: Final = 0x02
CELL_EMPTY: Final = 0x04
CELL_ROW_TIMESTAMP: Final = 0x08
CELL_ROW_TTL: Final = 0x10
_CELL_UNKNOWN: Final = 0xE0

# Above this a sum of a base and a delta may have left the signed 64 bits; below it no number is "long" to mypyc.
SHORT_MAX: Final = (1 << 62) - 1
_SIGN: Final = 1 << 63
_MASK: Final = (1 << 64) - 1
# Last second that formats 6 and 7 can hold as an expiry (`Cell.MAX_DELETION_TIME` of 4.x).
_EXPIRY_MAX_SIGNED: Final = 0x7FFFFFFE
CLUSTERING_BATCH: Final = 32


def wrap_timestamp(value: int) -> int:
    """`value` as Java's 64-bit addition would have left it."""
    return ((value + _SIGN) & _MASK) - _SIGN


def read_timestamp(data: bytes, pos: int, min_ts: int) -> tuple[int, int]:
    """A delta-coded timestamp and the offset behind it."""
    delta = data[pos]
    if delta < 0x80:
        pos += 1
    else:
        delta, pos = read_unsigned(data, pos)
    timestamp = min_ts + delta
    if timestamp > SHORT_MAX:
        timestamp = wrap_timestamp(timestamp)
    return timestamp, pos


def read_expiry(data: bytes, pos: int, min_ldt: int, wide: bool) -> tuple[int, int]:
    """The second at which something expires, or NO_EXPIRY, and the offset behind it.

    A negative time of formats 6 and 7 overflowed when it was written; it is capped as Cassandra's policies cap it.
    """
    delta, pos = read_unsigned(data, pos)
    second = (min_ldt + delta) & 0xFFFFFFFF
    if wide:
        return (NO_EXPIRY if second == 0xFFFFFFFF else second), pos
    if second == 0x7FFFFFFF:
        return NO_EXPIRY, pos
    return (second if second < 0x7FFFFFFF else _EXPIRY_MAX_SIGNED), pos


def read_ttl(data: bytes, pos: int, min_ttl: int) -> tuple[int, int]:
    """A TTL in seconds, always above 0, and the offset behind it."""
    delta, pos = read_unsigned(data, pos)
    ttl = (min_ttl + delta) & 0xFFFFFFFF
    if ttl == 0 or ttl > 0x7FFFFFFF:
        raise corrupt_mutation("something expires without a TTL above zero")
    return ttl, pos


def read_deletion(data: bytes, pos: int, min_ts: int) -> tuple[int, int]:
    """The timestamp of a deletion, NO_TIMESTAMP for none (whatever time stands beside it), and the offset behind."""
    timestamp, pos = read_timestamp(data, pos, min_ts)
    _, pos = read_unsigned(data, pos)
    return timestamp, pos


def read_values(data: bytes, pos: int, lengths: list[int], count: int) -> tuple[list[bytes | None], int]:
    """The first `count` clustering values and the offset behind them; None for a null, b"" for an empty value."""
    values: list[bytes | None] = []
    done = 0
    if 0 < count <= CLUSTERING_BATCH and data[pos] == 0:
        pos += 1
        for length in lengths if count == len(lengths) else lengths[:count]:
            size = length
            if size < 0:
                size, pos = read_unsigned(data, pos)
            values.append(data[pos : pos + size])
            pos += size
        return values, pos
    while done < count:
        header, pos = read_unsigned(data, pos)
        batch = count - done
        batch = min(batch, CLUSTERING_BATCH)
        if header and header >> (2 * batch):
            raise corrupt_mutation("a clustering's header has bits beyond its values")
        for i in range(done, done + batch):
            state = header & 3
            header >>= 2
            if state == 0:
                length = lengths[i]
                if length < 0:
                    length, pos = read_unsigned(data, pos)
                values.append(data[pos : pos + length])
                pos += length
            elif state == 1:
                values.append(b"")
            else:
                values.append(None)
        done += batch
    return values, pos


def read_cell_head(
    data: bytes,
    pos: int,
    row_ts: int,
    row_ttl: int,
    row_expires_at: int,
    min_ts: int,
    min_ldt: int,
    min_ttl: int,
    wide: bool,
) -> tuple[int, int, int, int, int]:
    """Flags, timestamp, expiry and TTL of a cell, and the offset of its path or value."""
    flags = data[pos]
    pos += 1
    if flags & _CELL_UNKNOWN:
        raise corrupt_mutation("a cell has flags that do not exist")
    if flags & CELL_ROW_TIMESTAMP:
        if row_ts == NO_TIMESTAMP:
            raise corrupt_mutation("a cell refers to the timestamp of a row that has none")
        timestamp = row_ts
    else:
        timestamp, pos = read_timestamp(data, pos, min_ts)
    if flags & CELL_ROW_TTL:
        if row_ttl == 0:
            raise corrupt_mutation("a cell refers to the TTL of a row that has none")
        return flags, timestamp, row_expires_at, row_ttl, pos
    expires_at = NO_EXPIRY
    ttl = 0
    if flags & (CELL_DELETED | CELL_EXPIRING):
        expires_at, pos = read_expiry(data, pos, min_ldt, wide)
        if flags & CELL_EXPIRING:
            ttl, pos = read_ttl(data, pos, min_ttl)
    return flags, timestamp, expires_at, ttl, pos


def read_cell(
    data: bytes,
    pos: int,
    length: int,
    counter: bool,
    row_ts: int,
    row_ttl: int,
    row_expires_at: int,
    min_ts: int,
    min_ldt: int,
    min_ttl: int,
    wide: bool,
) -> tuple[Cell, int]:
    """The cell of a simple column and the offset behind it.

    Its value has `length` bytes, or for -1 its length before it.
    """
    flags, timestamp, expires_at, ttl, pos = read_cell_head(
        data, pos, row_ts, row_ttl, row_expires_at, min_ts, min_ldt, min_ttl, wide
    )
    value = b""
    if not flags & CELL_EMPTY:
        if length < 0:
            length, pos = read_unsigned(data, pos)
        value = data[pos : pos + length]
        pos += length
    if flags & CELL_DELETED:
        return (timestamp, 0, 0, None), pos
    if counter:
        return (timestamp, NO_EXPIRY, COUNTER_TTL, value), pos
    return (timestamp, expires_at, ttl, value), pos


def read_complex(
    data: bytes,
    pos: int,
    column: ColumnShape,
    deletion: int,
    row_ts: int,
    row_ttl: int,
    row_expires_at: int,
    min_ts: int,
    min_ldt: int,
    min_ttl: int,
    wide: bool,
) -> tuple[ComplexColumn, int]:
    """The cells of a multi-cell column by path and the offset behind them; values always have their length before them.

    What was written at or before the drop of the column is left out (`DeserializationHelper.isDropped`).
    """
    dropped_at = column.dropped_at
    cells: dict[bytes, Cell] = {}
    count, pos = read_unsigned(data, pos)
    for _ in range(count):
        flags, timestamp, expires_at, ttl, pos = read_cell_head(
            data, pos, row_ts, row_ttl, row_expires_at, min_ts, min_ldt, min_ttl, wide
        )
        length, pos = read_unsigned(data, pos)
        path = data[pos : pos + length]
        pos += length
        value = b""
        if not flags & CELL_EMPTY:
            length, pos = read_unsigned(data, pos)
            value = data[pos : pos + length]
            pos += length
        if path in cells:
            raise corrupt_mutation("a column has two cells of one path")
        if timestamp > dropped_at:
            cells[path] = (timestamp, 0, 0, None) if flags & CELL_DELETED else (timestamp, expires_at, ttl, value)
    return ComplexColumn(deletion if deletion > dropped_at else NO_TIMESTAMP, cells), pos
