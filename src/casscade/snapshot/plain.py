"""From the bytes of a page straight to mutations: the hot loop of a scan, for tables whose cells CQL shows in full.

Invariant: what `PageEncoder` makes of a page decodes to what `TableScan.read_page` and `encode_observing` make of it;
only the deltas' bases and the lists of columns may differ, which say nothing.

That holds for tables without static columns, counters, lists and (before Cassandra 5.0) other collections. Rows of such
a table become neither lists nor objects: each value is copied once, from the page into its mutation.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
from typing import Final, NamedTuple

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
_SAME_TIME: Final = [bytes((0, 0, length)) for length in range(_SHORT)]
"""Flags, a delta of 0 and a length below 128: how most values of one INSERT begin."""
_SAME_TIME_FIXED: Final = bytes(2)
"""The same of a type whose values all have one length."""
# Nothing was observed, in no bytes (`commitlog.observations`).
_NO_OBSERVATIONS: Final = b"\x00\x00\x00\x00\x01"


class EncodedPart(NamedTuple):
    """A mutation of `rows` CQL rows, all of one partition with `token`."""

    token: int
    rows: int
    mutation: bytes


class PlainColumn:
    """A regular column whose cells CQL shows: `fixed_length` as in `ColumnShape`, `kind` the name of its type."""

    __slots__ = ("fixed_length", "kind", "multi_cell", "name")

    def __init__(self, name: bytes, kind: str, fixed_length: int, *, multi_cell: bool) -> None:
        self.name: bytes = name
        self.kind: str = kind
        self.fixed_length: int = fixed_length
        self.multi_cell: bool = multi_cell


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
        self._listed: bytes = b"".join([write_unsigned(len(columns)), *listed])

    def encode(self, data: bytes, count: int, now: int) -> list[EncodedPart]:
        """The mutations of a page of `count` rows; `now` is the second from which the TTLs count.

        A partition of many bytes comes in several, so that no mutation grows with the partition. Raises InvariantError
        for bytes that are not the page of this table.
        """
        try:
            return self._encode(data, count, now)
        except StructError:
            raise _foreign("it ends too early") from None

    def _encode(self, data: bytes, count: int, now: int) -> list[EncodedPart]:
        found: list[EncodedPart] = []
        rows: list[bytes] = []
        key = b""
        token = base = seen = start = pos = 0
        for _ in range(count):
            row_start = pos
            _, row_token, first = _TOKEN.unpack_from(data, pos)
            pos += 12
            if self._keys == 1:
                end = pos + 4 + first
                row_key = data[pos + 4 : end]
                pos = end
            else:
                row_key, pos = self._read_key(data, pos)
            if not seen or row_token != token or row_key != key or row_start - start >= CHUNK_BYTES_MAX:
                if seen:
                    found.append(EncodedPart(token, seen, self._finish(key, rows, base, now)))
                rows = []
                token, key, base, seen, start = row_token, row_key, EPOCH_MICROS, 0, row_start
            if self._lengths:
                clustering, pos = self._read_clustering(data, pos)
            else:
                clustering = b""
            base, pos = self._row(data, pos, clustering, rows, base, now, fresh=not seen)
            seen += 1
        if seen:
            found.append(EncodedPart(token, seen, self._finish(key, rows, base, now)))
        if pos != len(data):
            raise _foreign(f"{len(data) - pos} bytes are left behind its last row")
        return found

    def _finish(self, key: bytes, rows: list[bytes], base: int, now: int) -> bytes:
        parts = [self._table, write_unsigned(len(key)), key]
        if not rows:
            return b"".join([*parts, bytes((UPDATE_IS_EMPTY,)), _NO_OBSERVATIONS])
        parts += [
            bytes((UPDATE_HAS_ROW_ESTIMATE,)),
            write_unsigned((base - EPOCH_MICROS) & _MASK),
            write_unsigned((now - EPOCH_SECONDS) & _MASK),
            b"\x00",
            self._listed,
            write_unsigned(len(rows)),
        ]
        return b"".join([*parts, *rows, bytes((END_OF_PARTITION,)), _NO_OBSERVATIONS])

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

    def _row(
        self, data: bytes, pos: int, clustering: bytes | None, rows: list[bytes], base: int, now: int, *, fresh: bool
    ) -> tuple[int, int]:
        """Add the row whose cells begin at `pos`; returns the base of its timestamps and the offset behind.

        The first write time of a `fresh` part becomes its base: most of the others are the same.
        """
        cells: list[bytes] = []
        present: list[int] = []
        number = -1
        # What follows a value of the base's time that does not expire: one comparison instead of three numbers.
        usual = b"" if fresh else _TIMES.pack(8, base, -1)
        for column in self._columns:
            number += 1
            (length,) = _LENGTH.unpack_from(data, pos)
            pos += 4
            if length < 0:
                pos = _skip(data, _skip(data, pos))
                continue
            present.append(number)
            value = data[pos : pos + length]
            pos += length
            if column.multi_cell:
                base, pos = _elements(column.kind, value, data, pos, cells, base, now, fresh=fresh)
                if fresh:
                    fresh, usual = False, _TIMES.pack(8, base, -1)
                continue
            fixed = column.fixed_length
            if fixed >= 0 and length != fixed and length:
                raise _foreign(f"a value has {length} bytes where its type has {fixed}")
            if 0 < length < _SHORT and data[pos : pos + 16] == usual:
                pos += 16
                cells.append(_SAME_TIME[length] if fixed < 0 else _SAME_TIME_FIXED)
                cells.append(value)
                continue
            eight, timestamp, ttl_length = _TIMES.unpack_from(data, pos)
            pos += 16
            if eight != 8:
                raise _foreign("a value has no write time")
            remaining = 0
            if ttl_length > 0:
                (remaining,) = _LENGTH.unpack_from(data, pos)
                pos += 4
            if fresh:
                base, fresh, usual = timestamp, False, _TIMES.pack(8, timestamp, -1)
            cells.append(_head(timestamp - base, remaining, empty=not length))
            if length and fixed < 0:
                cells.append(write_unsigned(length))
            cells.append(value)
        if clustering is not None:
            rows.append(self._join(clustering, present, cells, base))
        return base, pos

    def _join(self, clustering: bytes, present: list[int], cells: list[bytes], base: int) -> bytes:
        whole = len(present) == len(self._columns)
        flags = ROW_HAS_ALL_COLUMNS if whole else 0
        if not present:
            flags |= ROW_HAS_TIMESTAMP
        head = [bytes((flags,)), clustering]
        if not present:
            head.append(write_unsigned((OLDEST - base) & _MASK))
        if not whole:
            head.append(encode_subset(present, len(self._columns)))
        return b"".join(head + cells)


def _elements(
    kind: str, value: bytes, data: bytes, pos: int, cells: list[bytes], base: int, now: int, *, fresh: bool
) -> tuple[int, int]:
    """Add the cells of a set, map or UDT, whose times stand at `pos`; returns the base and the offset behind."""
    times, pos = _read_field(data, pos)
    ttls, pos = _read_field(data, pos)
    held = read_complex_cells(kind, value, times, ttls, now)
    cells.append(write_unsigned(len(held)))
    for path, cell in held.items():
        timestamp, _, remaining, element = cell
        assert element is not None
        if fresh:
            base, fresh = timestamp, False
        cells.append(_head(timestamp - base, remaining, empty=not element))
        cells += [write_unsigned(len(path)), path]
        if element:
            cells += [write_unsigned(len(element)), element]
    return base, pos


def _head(delta: int, remaining: int, *, empty: bool) -> bytes:
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
