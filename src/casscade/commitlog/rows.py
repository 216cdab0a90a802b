"""Rows in the bytes of a mutation: the hot loop of decoding.

Invariant: a row is returned only if it says something: one that holds nothing but cells of dropped columns is left
out, as Cassandra does when it reads (CASSANDRA-13337).

As in `cells`, data that is too short raises IndexError.
"""

from __future__ import annotations

from typing import Final

from casscade.commitlog.cells import (
    SHORT_MAX,
    read_cell,
    read_cell_head,
    read_complex,
    read_deletion,
    read_expiry,
    read_timestamp,
    read_ttl,
    read_values,
    wrap_timestamp,
)
from casscade.commitlog.columns import read_subset
from casscade.commitlog.faults import corrupt_mutation, dropped_column
from casscade.core.cell import NO_EXPIRY, NO_TIMESTAMP, Cell
from casscade.core.mutation import ComplexColumn, Row
from casscade.core.table import ColumnList, ColumnShape
from casscade.cql.vint import read_unsigned

ROW_HAS_TIMESTAMP: Final = 0x04
ROW_HAS_TTL: Final = 0x08
ROW_HAS_DELETION: Final = 0x10
ROW_HAS_ALL_COLUMNS: Final = 0x20
ROW_HAS_COMPLEX_DELETION: Final = 0x40
ROW_EXTENDED: Final = 0x80

_USE_ROW_TIMESTAMP: Final = 0x08


def read_row(
    data: bytes,
    pos: int,
    flags: int,
    lengths: list[int],
    listed: ColumnList,
    min_ts: int,
    min_ldt: int,
    min_ttl: int,
    wide: bool,
) -> tuple[Row | None, int]:
    """The row whose flags were read already, and the offset behind it; None for a row that says nothing.

    `lengths` are the table's clustering lengths, empty for a static row; `listed` the static or regular columns of the
    update; the rest as in `cells`.
    """
    count = len(lengths)
    if count == 0:
        row = Row(b"", [])
    else:
        start = pos
        values, pos = read_values(data, pos, lengths, count)
        row = Row(data[start:pos], values)
    row_ts = NO_TIMESTAMP
    row_ttl = 0
    row_expires_at = NO_EXPIRY
    # The flags of a cell that takes its timestamp from the row; no cell may when the row has none.
    row_timestamp_flags = -1
    if flags & ROW_HAS_TIMESTAMP:
        row_ts, pos = read_timestamp(data, pos, min_ts)
        row.liveness_ts = row_ts
        row_timestamp_flags = _USE_ROW_TIMESTAMP
        if flags & ROW_HAS_TTL:
            row_ttl, pos = read_ttl(data, pos, min_ttl)
            row_expires_at, pos = read_expiry(data, pos, min_ldt, wide)
            row.liveness_ttl = row_ttl
            row.liveness_expires_at = row_expires_at
    elif flags & ROW_HAS_TTL:
        raise corrupt_mutation("a row has a TTL but no timestamp")
    if flags & ROW_HAS_DELETION:
        row.deletion, pos = read_deletion(data, pos, min_ts)

    if not listed.plain:
        pos = _read_any_columns(data, pos, flags, row, listed.columns, min_ts, min_ldt, min_ttl, wide)
        if not row.cells and row.complex is None and row_ts == NO_TIMESTAMP and row.deletion == NO_TIMESTAMP:
            return None, pos
        return row, pos

    frames = listed.frames
    if not flags & ROW_HAS_ALL_COLUMNS:
        chosen, pos = read_subset(data, pos, len(frames))
        frames = [frames[i] for i in chosen]
    cells = row.cells
    for index, fixed_length in frames:
        cell_flags = data[pos]
        if cell_flags == row_timestamp_flags:
            timestamp = row_ts
            pos += 1
        elif cell_flags == 0:
            timestamp = data[pos + 1]
            if timestamp < 0x80:
                pos += 2
            else:
                timestamp, pos = read_unsigned(data, pos + 1)
            timestamp += min_ts
            if timestamp > SHORT_MAX:
                timestamp = wrap_timestamp(timestamp)
        else:
            cells[index], pos = read_cell(
                data, pos, fixed_length, False, row_ts, row_ttl, row_expires_at, min_ts, min_ldt, min_ttl, wide
            )
            continue
        length = fixed_length
        if length < 0:
            length = data[pos]
            if length < 0x80:
                pos += 1
            else:
                length, pos = read_unsigned(data, pos)
        end = pos + length
        cells[index] = (timestamp, NO_EXPIRY, 0, data[pos:end])
        pos = end
    if not cells and row_ts == NO_TIMESTAMP and row.deletion == NO_TIMESTAMP:
        return None, pos
    return row, pos


def _read_any_columns(
    data: bytes,
    pos: int,
    flags: int,
    row: Row,
    columns: list[ColumnShape],
    min_ts: int,
    min_ldt: int,
    min_ttl: int,
    wide: bool,
) -> int:
    """Read the cells of columns of any sort into `row`; returns the offset behind them."""
    if not flags & ROW_HAS_ALL_COLUMNS:
        chosen, pos = read_subset(data, pos, len(columns))
        columns = [columns[i] for i in chosen]
    row_ts = row.liveness_ts
    row_ttl = row.liveness_ttl
    row_expires_at = row.liveness_expires_at
    cells: dict[int, Cell] = row.cells
    complex_columns: dict[int, ComplexColumn] = {}
    for column in columns:
        if column.multi_cell:
            deletion = NO_TIMESTAMP
            if flags & ROW_HAS_COMPLEX_DELETION:
                deletion, pos = read_deletion(data, pos, min_ts)
            read, pos = read_complex(
                data, pos, column, deletion, row_ts, row_ttl, row_expires_at, min_ts, min_ldt, min_ttl, wide
            )
            if read.cells or read.deletion != NO_TIMESTAMP:
                if column.dropped:
                    raise dropped_column(column.table_id, column.name)
                complex_columns[column.index] = read
            continue
        length = column.fixed_length
        if column.former_length != length:
            _, written, _, _, _ = read_cell_head(
                data, pos, row_ts, row_ttl, row_expires_at, min_ts, min_ldt, min_ttl, wide
            )
            if written <= column.dropped_at:
                length = column.former_length
        cell, pos = read_cell(
            data,
            pos,
            length,
            column.counter,
            row_ts,
            row_ttl,
            row_expires_at,
            min_ts,
            min_ldt,
            min_ttl,
            wide,
        )
        if cell[0] > column.dropped_at:
            if column.dropped:
                raise dropped_column(column.table_id, column.name)
            cells[column.index] = cell
    if complex_columns:
        row.complex = complex_columns
    return pos
