"""From the bytes of a page straight to mutations: the hot loop of a scan, for tables whose cells CQL shows in full.

Invariant: what `PageEncoder` makes of a page decodes to what `TableScan.read_page` and `encode_observing` make of it;
only the deltas' bases and the lists of columns may differ, which say nothing.

That holds for tables without static columns, counters, lists and (before Cassandra 5.0) other collections. Rows of such
a table become neither lists nor objects: each value is copied once, from the page into its mutation.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
from typing import Final

from casscade.commitlog.cells import CELL_EMPTY, CELL_EXPIRING, CLUSTERING_BATCH
from casscade.commitlog.decoder import (
    END_OF_PARTITION,
    EPOCH_MICROS,
    EPOCH_SECONDS,
    UPDATE_HAS_ROW_ESTIMATE,
    UPDATE_IS_EMPTY,
)
from casscade.commitlog.encoder import clustering_key, encode_subset
from casscade.commitlog.rows import ROW_HAS_ALL_COLUMNS, ROW_HAS_TIMESTAMP
from casscade.core.cell import NO_TIMESTAMP
from casscade.core.errors import InvariantError
from casscade.core.keys import join_partition_key
from casscade.core.limits import CHUNK_BYTES_MAX
from casscade.core.table import TableShape
from casscade.cql.vint import write_unsigned
from casscade.snapshot.elements import read_complex_cells

OLDEST: Final = NO_TIMESTAMP + 1
"""The oldest timestamp that a write can have."""

_MASK: Final = (1 << 64) - 1
_SHORT: Final = 0x80
_LENGTH: Final = Struct(">i")
_TOKEN: Final = Struct(">iqi")
"""The token with its length, and the length of what follows it."""
_TIMES: Final = Struct(">iqi")
"""Behind a value: WRITETIME with its length, and the length of the TTL."""
_SAME_TIME_FIXED: Final = bytes(2)
"""Flags and a delta of 0: how most values of one INSERT begin, if those of their type all have one length.

Else their length follows, and for one below 128 all three are the last bytes of the length in the page.
"""
_ALIVE: Final = bytes((ROW_HAS_ALL_COLUMNS,))
_ONE_ROW: Final = write_unsigned(1)
_END: Final = bytes((END_OF_PARTITION,))
# Nothing was observed, in no bytes (`commitlog.observations`).
_NO_OBSERVATIONS: Final = b"\x00\x00\x00\x00\x01"
_END_OF_MUTATION: Final = _END + _NO_OBSERVATIONS
_EMPTY: Final = bytes((UPDATE_IS_EMPTY,)) + _NO_OBSERVATIONS
_STATS: Final = bytes((UPDATE_HAS_ROW_ESTIMATE,))


class EncodedPart:
    """A mutation of `rows` CQL rows, all of one partition with `token`."""

    __slots__ = ("mutation", "rows", "token")

    def __init__(self, token: int, rows: int, mutation: bytes) -> None:
        self.token: int = token
        self.rows: int = rows
        self.mutation: bytes = mutation


class PlainColumn:
    """A regular column whose cells CQL shows: `fixed_length` as in `ColumnShape`, `kind` the name of its type."""

    __slots__ = ("fixed_length", "kind", "multi_cell", "name")

    def __init__(self, name: bytes, kind: str, fixed_length: int, *, multi_cell: bool) -> None:
        self.name: bytes = name
        self.kind: str = kind
        self.fixed_length: int = fixed_length
        self.multi_cell: bool = multi_cell


class _Part:
    """Rows of one partition on their way into a mutation. `usual` follows a value of the base's time without a TTL."""

    __slots__ = ("base", "key", "rows", "seen", "start", "token", "usual")

    def __init__(self, token: int, key: bytes, start: int) -> None:
        self.token: int = token
        self.key: bytes = key
        self.start: int = start
        self.seen: int = 0
        self.rows: list[bytes] = []
        self.base: int = EPOCH_MICROS
        self.usual: bytes = b""

    def begin(self, timestamp: int) -> None:
        """The first write time becomes the base; later ones change nothing."""
        if not self.usual:
            self.base = timestamp
            self.usual = _TIMES.pack(8, timestamp, -1)


class PageEncoder:
    """Encodes the pages of one table: token, `keys` partition key columns, clusterings, then `columns`.

    Each of `columns` comes as value, WRITETIME and TTL.
    """

    def __init__(self, shape: TableShape, keys: int, columns: list[PlainColumn]) -> None:
        self._keys: int = keys
        self._lengths: list[int] = shape.clustering_lengths
        self._columns: list[PlainColumn] = columns
        self._table: bytes = write_unsigned(1) + shape.id
        listed = [write_unsigned(len(column.name)) + column.name for column in columns]
        # Behind the smallest TTL, which is 0.
        self._listed: bytes = b"".join([b"\x00", write_unsigned(len(columns)), *listed])

    def encode(self, data: bytes, count: int, now: int) -> list[EncodedPart]:
        """The mutations of a page of `count` rows; `now` is the second from which the TTLs count.

        A partition of many bytes comes in several, so that no mutation grows with the partition. Raises InvariantError
        for bytes that are not the page of this table.
        """
        try:
            return self._encode(data, count, now)
        except (IndexError, StructError):
            raise _foreign("it ends too early") from None

    def _encode(self, data: bytes, count: int, now: int) -> list[EncodedPart]:
        found: list[EncodedPart] = []
        second = write_unsigned((now - EPOCH_SECONDS) & _MASK)
        part: _Part | None = None
        pos = 0
        for _ in range(count):
            row_start = pos
            _, token, first = _TOKEN.unpack_from(data, pos)
            pos += 12
            if self._keys == 1:
                end = pos + 4 + first
                key = data[pos + 4 : end]
                pos = end
            else:
                key, pos = self._read_key(data, pos)
            if part is None or token != part.token or key != part.key or row_start - part.start >= CHUNK_BYTES_MAX:
                if part is not None:
                    found.append(EncodedPart(part.token, part.seen, self._finish(part, second)))
                part = _Part(token, key, row_start)
            clustering: bytes | None = b""
            if self._lengths:
                clustering, pos = self._read_clustering(data, pos)
            pos = self._row(data, pos, clustering, part, now)
            part.seen += 1
        if part is not None:
            found.append(EncodedPart(part.token, part.seen, self._finish(part, second)))
        if pos != len(data):
            raise _foreign(f"{len(data) - pos} bytes are left behind its last row")
        return found

    def _finish(self, part: _Part, second: bytes) -> bytes:
        key, rows = part.key, part.rows
        head = self._table + write_unsigned(len(key)) + key
        if not rows:
            return head + _EMPTY
        base = write_unsigned((part.base - EPOCH_MICROS) & _MASK)
        number = _ONE_ROW if len(rows) == 1 else write_unsigned(len(rows))
        return b"".join([head, _STATS, base, second, self._listed, number, *rows, _END_OF_MUTATION])

    def _read_key(self, data: bytes, pos: int) -> tuple[bytes, int]:
        values: list[bytes] = []
        for _ in range(self._keys):
            value, pos = _read_field(data, pos)
            values.append(value or b"")
        return join_partition_key(values), pos

    def _read_clustering(self, data: bytes, pos: int) -> tuple[bytes | None, int]:
        """The serialized clustering; None when there is none, in a partition without rows."""
        values: list[bytes | None] = []
        for _ in self._lengths:
            value, pos = _read_field(data, pos)
            values.append(value)
        if values[0] is None:
            return None, pos
        if len(values) > CLUSTERING_BATCH or not all(values):
            return clustering_key(values, self._lengths), pos
        parts: list[bytes] = [b"\x00"]
        for value, fixed in zip(values, self._lengths, strict=True):
            assert value is not None
            if fixed < 0:
                parts.append(write_unsigned(len(value)))
            elif len(value) != fixed:
                raise _foreign(f"a clustering value has {len(value)} bytes where its type has {fixed}")
            parts.append(value)
        return b"".join(parts), pos

    def _row(self, data: bytes, pos: int, clustering: bytes | None, part: _Part, now: int) -> int:
        """Add the row whose cells begin at `pos` to `part`; returns the offset behind.

        The first write time of a part becomes its base: most of the others are the same.
        """
        # What comes before the cells is known behind them.
        cells: list[bytes] = [b""]
        present: list[int] = []
        number = -1
        for column in self._columns:
            number += 1
            length = data[pos + 3]
            if data[pos] or data[pos + 1] or data[pos + 2]:
                (length,) = _LENGTH.unpack_from(data, pos)
                if length < 0:
                    pos = _skip(data, _skip(data, pos + 4))
                    continue
            present.append(number)
            start = pos + 4
            pos = start + length
            fixed = column.fixed_length
            if column.multi_cell:
                pos = _elements(column.kind, data[start:pos], data, pos, cells, part, now)
                continue
            if 0 < length < _SHORT and (fixed < 0 or fixed == length) and data[pos : pos + 16] == part.usual:
                if fixed < 0:
                    cells.append(data[start - 3 : pos])
                else:
                    cells.append(_SAME_TIME_FIXED)
                    cells.append(data[start:pos])
                pos += 16
                continue
            pos = _cell(data, start, pos, fixed, cells, part)
        if clustering is not None:
            if not present:
                # Its own time is told from the base, which therefore stays what it is.
                part.begin(part.base)
            cells[0] = self._head(clustering, present, part.base)
            part.rows.append(b"".join(cells))
        return pos

    def _head(self, clustering: bytes, present: list[int], base: int) -> bytes:
        """What comes before the cells of a row."""
        whole = len(present) == len(self._columns)
        if whole and present:
            return _ALIVE + clustering
        flags = ROW_HAS_ALL_COLUMNS if whole else 0
        time = b""
        if not present:
            flags |= ROW_HAS_TIMESTAMP
            time = write_unsigned((OLDEST - base) & _MASK)
        subset = b"" if whole else encode_subset(present, len(self._columns))
        return bytes((flags,)) + clustering + time + subset


def _cell(data: bytes, start: int, pos: int, fixed: int, cells: list[bytes], part: _Part) -> int:
    """Add a cell whose value goes from `start` to `pos`, where its times stand; returns the offset behind them."""
    length = pos - start
    if fixed >= 0 and length != fixed and length:
        raise _foreign(f"a value has {length} bytes where its type has {fixed}")
    eight, timestamp, ttl_length = _TIMES.unpack_from(data, pos)
    if eight != 8:
        raise _foreign("a value has no write time")
    behind = pos + 16
    remaining = 0
    if ttl_length > 0:
        (remaining,) = _LENGTH.unpack_from(data, behind)
        behind += 4
    part.begin(timestamp)
    cells.append(_flags_and_times(timestamp - part.base, remaining, empty=not length))
    if length and fixed < 0:
        cells.append(write_unsigned(length))
    cells.append(data[start:pos])
    return behind


def _elements(kind: str, value: bytes, data: bytes, pos: int, cells: list[bytes], part: _Part, now: int) -> int:
    """Add the cells of a set, map or UDT, whose times stand at `pos`; returns the offset behind them."""
    times, pos = _read_field(data, pos)
    ttls, pos = _read_field(data, pos)
    held = read_complex_cells(kind, value, times, ttls, now)
    cells.append(write_unsigned(len(held)))
    for path, cell in held.items():
        timestamp, _, remaining, element = cell
        assert element is not None
        part.begin(timestamp)
        cells.append(_flags_and_times(timestamp - part.base, remaining, empty=not element))
        cells += [write_unsigned(len(path)), path]
        if element:
            cells += [write_unsigned(len(element)), element]
    return pos


def _flags_and_times(delta: int, remaining: int, *, empty: bool) -> bytes:
    """Flags and times of a cell: `delta` microseconds from the base, ending `remaining` seconds from now (0: never)."""
    flags = CELL_EMPTY if empty else 0
    if remaining > 0:
        seconds = write_unsigned(remaining)
        return bytes((flags | CELL_EXPIRING,)) + write_unsigned(delta & _MASK) + seconds + seconds
    return bytes((flags,)) + write_unsigned(delta & _MASK)


def _read_field(data: bytes, pos: int) -> tuple[bytes | None, int]:
    (length,) = _LENGTH.unpack_from(data, pos)
    pos += 4
    return (None, pos) if length < 0 else (data[pos : pos + length], pos + length)


def _skip(data: bytes, pos: int) -> int:
    (length,) = _LENGTH.unpack_from(data, pos)
    return pos + 4 + (length if length > 0 else 0)


def _foreign(detail: str) -> InvariantError:
    return InvariantError("snapshot_page", f"Cassandra returned a page that does not fit its table: {detail}")
