"""The compact rest of a row's state, as stored in `_cdc_state` and in row tombstones.

Invariant: `decode_state(encode_state(row, …), …)` gives the same row back, as long as the values that `kept` leaves
out are handed in again from PostgreSQL's columns.

A row whose liveness and cells all have the timestamp `_cdc_ts` and of which nothing is deleted or expiring needs no
state (NULL). Else (all integers big-endian, `leb` an unsigned LEB128, `age` = `_cdc_ts` - timestamp as leb):

    u8 flags
      0x01 NO_LIVENESS   the row has none; else it was written at _cdc_ts unless 0x02 or a part below says more
      0x02 LIVENESS      i64 timestamp of a liveness without expiry
      0x04 NULLS         u16 n: the columns with an index below n that have no value and no entry of their own
                         are tombstones at _cdc_ts
      0x08 BASE          i64 timestamp, u8 n, n bytes of bitmap: a column whose bit is clear was written at that
                         timestamp, one whose bit is set at _cdc_ts (bit i of byte i/8, lowest first)
      0x20 UNKNOWN       a snapshot saw the row: it may have a liveness that CQL does not show; left out when a
                         liveness without expiry is known, since then it makes no difference
      0x40 OBSERVED      a column shows what a read showed of it: no statement of SQL may decide over such a row
      0x10 PARTS         u8 parts, then those present, in this order:
        0x01 row deletion        age
        0x02 expiring liveness   age, leb ttl, leb expires_at
        0x04 cells               leb n, n x (leb index, cell)
        0x08 complex columns     leb n, n x (leb index, leb deletion age + 1 or 0, leb n, n x (leb length, path, cell))
        0x10 observed            leb n, n x (leb index, u8 kind, [leb turn, i64 read_at, i64 bound, leb expires_at or 0,
                                 leb length, value]), the rest only for kind 1; kind 0 is settled, 2 unread
      cell: u8 kind (0x01 expires, 0x02 has value bytes here, 0x04 tombstone or value gone, 0x08 counter), age,
            [leb ttl, leb expires_at], [leb length, value]
"""

from __future__ import annotations

from typing import Final

from casscade.core.cell import COUNTER_TTL, NO_EXPIRY, NO_TIMESTAMP, Cell
from casscade.core.mutation import ComplexColumn, Row
from casscade.core.observed import SETTLED, UNREAD, Observed, is_unread
from casscade.merge.state_reader import CELL_COUNTER, CELL_EXPIRES, CELL_GONE, CELL_VALUE, StateReader, state_corrupt

NO_LIVENESS: Final = 0x01
LIVENESS: Final = 0x02
NULLS: Final = 0x04
BASE: Final = 0x08
PARTS: Final = 0x10
UNKNOWN: Final = 0x20
OBSERVED: Final = 0x40

_SETTLED: Final = 0
_SHOWN: Final = 1
_UNREAD: Final = 2


def _put_leb(out: bytearray, value: int) -> None:
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _put_cell(out: bytearray, cell: Cell, newest: int, *, with_value: bool) -> None:
    timestamp, expires_at, ttl, value = cell
    kind = 0
    if ttl > 0:
        kind |= CELL_EXPIRES
    elif ttl == COUNTER_TTL:
        kind |= CELL_COUNTER
    if value is None:
        kind |= CELL_GONE
    elif with_value:
        kind |= CELL_VALUE
    out.append(kind)
    _put_leb(out, newest - timestamp)
    if ttl > 0:
        _put_leb(out, ttl)
        _put_leb(out, expires_at)
    if value is not None and with_value:
        _put_leb(out, len(value))
        out += value


def _bitmap(row: Row, newest: int, base: int, kept: set[int]) -> bytes | None:
    """The BASE bitmap, or None when the plain cells have other timestamps than `newest` and `base`."""
    bits = 0
    highest = 0
    for index, cell in row.cells.items():
        if cell[0] == newest:
            bits |= 1 << index
            highest = max(highest, index)
        elif cell[0] != base and cell[1] == NO_EXPIRY and index not in kept and cell[2] == 0:
            return None
    return bits.to_bytes((highest >> 3) + 1, "little")


def _base_of(row: Row, newest: int, kept: set[int]) -> int:
    """The newest timestamp below `newest` of a plain live cell: the base; `NO_TIMESTAMP` if there is none."""
    base = NO_TIMESTAMP
    for index, cell in row.cells.items():
        if base < cell[0] < newest and cell[1] == NO_EXPIRY and cell[2] == 0 and index not in kept:
            base = cell[0]
    return base


def encode_state(row: Row, newest: int, kept: set[int], columns: int) -> bytes | None:
    """The state of `row`, whose newest write time is `newest`; None when there is nothing to say.

    `kept` are the indexes of live cells whose value PostgreSQL's column does not hold exactly (or not at all):
    their bytes are stored here. `columns` is the number of column indexes of the table: when every column below it
    without a value is a tombstone at `newest`, NULLS says so in three bytes.
    """
    flags = 0
    head = bytearray()
    parts = 0
    expiring_liveness = row.liveness_ttl > 0
    if row.liveness_ts == NO_TIMESTAMP:
        flags |= NO_LIVENESS
    elif expiring_liveness:
        parts |= 0x02
    elif row.liveness_ts != newest:
        flags |= LIVENESS
        head += (row.liveness_ts & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")
    if row.liveness_unknown and (row.liveness_ts == NO_TIMESTAMP or expiring_liveness):
        flags |= UNKNOWN
    tombstones = 0
    for cell in row.cells.values():
        if cell[3] is None and cell[2] == 0 and cell[0] == newest:
            tombstones += 1
    nulls = tombstones > 0 and len(row.cells) == columns and row.complex is None
    if nulls:
        flags |= NULLS
        head += columns.to_bytes(2, "big")
    base = _base_of(row, newest, kept)
    if base != NO_TIMESTAMP:
        bitmap = _bitmap(row, newest, base, kept)
        if bitmap is not None and len(bitmap) < 256:
            flags |= BASE
            head += (base & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")
            head.append(len(bitmap))
            head += bitmap
        else:
            base = NO_TIMESTAMP
    tail = bytearray()
    if row.deletion != NO_TIMESTAMP:
        parts |= 0x01
        _put_leb(tail, newest - row.deletion)
    if expiring_liveness:
        _put_leb(tail, newest - row.liveness_ts)
        _put_leb(tail, row.liveness_ttl)
        _put_leb(tail, row.liveness_expires_at)
    parts |= _put_cells(tail, row, newest, base, kept, nulls=nulls)
    if row.complex is not None:
        parts |= 0x08
        _put_complex(tail, row.complex, newest)
    if row.observed is not None:
        parts |= 0x10
        if _put_observed(tail, row.observed):
            flags |= OBSERVED
    if parts:
        flags |= PARTS
        head.append(parts)
    if not flags:
        return None
    return bytes((flags,)) + bytes(head) + bytes(tail)


def _put_cells(tail: bytearray, row: Row, newest: int, base: int, kept: set[int], *, nulls: bool) -> int:
    """Append the cells that the head does not describe; returns the part's bit, or 0 when there are none."""
    special: list[int] = []
    for index, cell in row.cells.items():
        if cell[3] is None:
            if nulls and cell[2] == 0 and cell[0] == newest:
                continue
        elif cell[1] == NO_EXPIRY and cell[2] == 0 and index not in kept and (cell[0] == newest or cell[0] == base):
            continue
        special.append(index)
    if not special:
        return 0
    special.sort()
    _put_leb(tail, len(special))
    for index in special:
        _put_leb(tail, index)
        cell = row.cells[index]
        _put_cell(tail, cell, newest, with_value=index in kept or cell[2] == COUNTER_TTL)
    return 0x04


def _put_complex(tail: bytearray, columns: dict[int, ComplexColumn], newest: int) -> None:
    _put_leb(tail, len(columns))
    for index in sorted(columns):
        column = columns[index]
        _put_leb(tail, index)
        _put_leb(tail, 0 if column.deletion == NO_TIMESTAMP else newest - column.deletion + 1)
        _put_leb(tail, len(column.cells))
        for path in sorted(column.cells):
            _put_leb(tail, len(path))
            tail += path
            _put_cell(tail, column.cells[path], newest, with_value=True)


def _put_observed(tail: bytearray, columns: dict[int, Observed]) -> bool:
    """Append what reads showed; returns whether any of it is not settled."""
    shown = False
    _put_leb(tail, len(columns))
    for index in sorted(columns):
        turn, read_at, bound, expires_at, value = columns[index]
        _put_leb(tail, index)
        if value is None:
            unread = is_unread(columns[index])
            shown = shown or unread
            tail.append(_UNREAD if unread else _SETTLED)
            continue
        shown = True
        tail.append(_SHOWN)
        _put_leb(tail, turn)
        tail += read_at.to_bytes(8, "big", signed=True) + bound.to_bytes(8, "big", signed=True)
        _put_leb(tail, 0 if expires_at == NO_EXPIRY else expires_at)
        _put_leb(tail, len(value))
        tail += value
    return shown


def decode_state(row: Row, newest: int, state: bytes | None, values: dict[int, bytes]) -> None:
    """Fill the empty `row` from its write time, its state and the values of PostgreSQL's columns (index -> bytes).

    Raises CorruptionError when the state is malformed or misses a value.
    """
    row.liveness_ts = newest
    if state is None:
        for index, value in values.items():
            row.cells[index] = (newest, NO_EXPIRY, 0, value)
        return
    reader = StateReader(state, 1)
    flags = state[0] if state else PARTS
    nulls = 0
    base = newest
    bitmap = b""
    if flags & NO_LIVENESS:
        row.liveness_ts = NO_TIMESTAMP
    if flags & UNKNOWN:
        row.liveness_unknown = True
    if flags & LIVENESS:
        row.liveness_ts = int.from_bytes(reader.take(8), "big", signed=True)
    if flags & NULLS:
        nulls = int.from_bytes(reader.take(2), "big")
    if flags & BASE:
        base = int.from_bytes(reader.take(8), "big", signed=True)
        bitmap = reader.take(reader.take(1)[0])
    cells = row.cells
    if flags & PARTS:
        _read_parts(reader, row, newest, values)
    observed = row.observed
    for index, value in values.items():
        if index in cells or (observed is not None and index in observed and not is_unread(observed[index])):
            continue
        at_newest = not bitmap or (index >> 3 < len(bitmap) and bitmap[index >> 3] >> (index & 7) & 1 == 1)
        cells[index] = (newest if at_newest else base, NO_EXPIRY, 0, value)
    for index in range(nulls):
        if index not in cells:
            cells[index] = (newest, 0, 0, None)


def _read_parts(reader: StateReader, row: Row, newest: int, values: dict[int, bytes]) -> None:
    parts = reader.take(1)[0]
    if parts & 0x01:
        row.deletion = newest - reader.leb()
    if parts & 0x02:
        row.liveness_ts = newest - reader.leb()
        row.liveness_ttl = reader.leb()
        row.liveness_expires_at = reader.leb()
    if parts & 0x04:
        for _ in range(reader.leb()):
            index = reader.leb()
            row.cells[index] = reader.cell(newest, values.get(index))
    if parts & 0x08:
        row.complex = {}
        for _ in range(reader.leb()):
            index = reader.leb()
            age = reader.leb()
            cells: dict[bytes, Cell] = {}
            for _ in range(reader.leb()):
                path = reader.take(reader.leb())
                cells[path] = reader.cell(newest, None)
            row.complex[index] = ComplexColumn(NO_TIMESTAMP if age == 0 else newest - age + 1, cells)
    if parts & 0x10:
        row.observed = {}
        for _ in range(reader.leb()):
            index = reader.leb()
            kind = reader.take(1)[0]
            row.observed[index] = reader.observed() if kind == _SHOWN else UNREAD if kind == _UNREAD else SETTLED
    if reader.offset != len(reader.data):
        raise state_corrupt()
