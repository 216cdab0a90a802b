"""From a page of a scan to partition updates with the original write times.

Invariant: what a page yields never beats a newer write and never deletes anything. Cells carry their true WRITETIME
and end when Cassandra's cells end; nulls yield nothing; no deletion is ever made up. So the updates merge with the
stream in any order: whatever was written, overwritten or deleted since has a newer timestamp and wins, and whatever
the page saw and the stream brings again is the same cell.

CQL does not show the primary key liveness of a row, which keeps it visible when all its columns are null:

- a row of which no cell is alive is visible, so it has a liveness: it gets one with `OLDEST`, which any deletion
  removes;
- any other row is loaded without liveness and marked (`Row.liveness_unknown`). Should its last cell end or be deleted
  later, the loader asks for a recheck: the row is read again by its key (`casscade.snapshot.recheck`), and a row that
  Cassandra still shows gets its liveness then.

What CQL hides for good: whether the liveness of a row without cells expires, and deletions from before capture began
(a write older than such a deletion that reaches a replica late, as a hint, is taken for a new one).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from casscade.core.cell import NO_TIMESTAMP, Cell
from casscade.core.errors import ConfigurationError
from casscade.core.keys import join_partition_key, split_partition_key, unpack_values
from casscade.core.limits import CHUNK_BYTES_MAX
from casscade.core.mutation import ComplexColumn, PartitionUpdate, Row
from casscade.core.table import TableShape
from casscade.schema.model import Column, Table
from casscade.snapshot.elements import read_cell, read_complex_cells

OLDEST: Final = NO_TIMESTAMP + 1
"""The oldest timestamp that a write can have."""

_ELEMENT_TIMES_SINCE: Final = 5

RawRow = Sequence[bytes | None]


class ScannedPartition:
    """What one page says of one partition, or a part of it: `rows` CQL rows in `update`, all with `token`."""

    __slots__ = ("rows", "size", "token", "update")

    def __init__(self, token: int, update: PartitionUpdate) -> None:
        self.token: int = token
        self.update: PartitionUpdate = update
        self.rows: int = 0
        self.size: int = 0


class _ScanColumn:
    """A static or regular column and where its value, write time and TTL stand in a raw row."""

    __slots__ = ("index", "kind", "multi_cell", "offset")

    def __init__(self, column: Column, offset: int) -> None:
        self.index: int = column.index
        self.kind: str = column.type.name
        self.multi_cell: bool = column.type.multi_cell
        self.offset: int = offset


class TableScan:
    """How one table is read: the SELECT and the reading of its raw rows."""

    def __init__(self, table: Table) -> None:
        self.table: Table = table
        self.shape: TableShape = table.shape(replicated=True)
        self._keys = len(table.partition_key)
        self._clusterings = len(table.clustering)
        offset = 1 + self._keys + self._clusterings
        self._statics = [_ScanColumn(column, offset + 3 * i) for i, column in enumerate(table.statics)]
        offset += 3 * len(self._statics)
        self._regulars = [_ScanColumn(column, offset + 3 * i) for i, column in enumerate(table.regulars)]
        self.query: str = f"{_select(table)} WHERE {_token(table)} > ? AND {_token(table)} <= ?"
        keys = (*table.partition_key, *table.clustering)
        self.point_query: str = f"{_select(table)} WHERE " + " AND ".join(
            f"{cql_identifier(column.name)} = ?" for column in keys
        )

    def key_values(self, partition_key: bytes, clustering: bytes) -> list[bytes]:
        """The values that `point_query` binds, from a serialized partition key and packed clustering values."""
        values = split_partition_key(partition_key, self._keys)
        return [*values, *(value or b"" for value in unpack_values(clustering))]

    def read_page(self, rows: Sequence[RawRow], now: int) -> list[ScannedPartition]:
        """The partitions of one page in its order; `now` is the second at which TTLs were computed.

        A partition of many bytes comes in several parts, so that no mutation grows with the partition.
        """
        parts: list[ScannedPartition] = []
        current: ScannedPartition | None = None
        key = b""
        for raw in rows:
            row_key = self._partition_key(raw)
            new_partition = current is None or row_key != key
            if current is None or new_partition or current.size >= CHUNK_BYTES_MAX:
                token = raw[0]
                assert token is not None
                key = row_key
                current = ScannedPartition(
                    int.from_bytes(token, "big", signed=True), PartitionUpdate(self.shape, row_key)
                )
                parts.append(current)
            if new_partition and self._statics:
                current.update.static_row = self._static_row(raw, now)
            row = self._row(raw, now)
            if row is not None:
                current.update.rows.append(row)
            current.rows += 1
            current.size += sum(map(len, filter(None, raw)))
        return parts

    def _partition_key(self, raw: RawRow) -> bytes:
        return join_partition_key([value or b"" for value in raw[1 : 1 + self._keys]])

    def _static_row(self, raw: RawRow, now: int) -> Row | None:
        row = Row(b"", [])
        _read_columns(row, raw, self._statics, now)
        return row if row.cells or row.complex else None

    def _row(self, raw: RawRow, now: int) -> Row | None:
        """The row, or None where the page shows a partition that has nothing but static columns."""
        first = 1 + self._keys
        clustering = list(raw[first : first + self._clusterings])
        if self._clusterings and clustering[0] is None:
            return None
        row = Row(b"", clustering)
        if not _read_columns(row, raw, self._regulars, now):
            row.liveness_ts = OLDEST
        return row


def _read_columns(row: Row, raw: RawRow, columns: list[_ScanColumn], now: int) -> list[Cell]:
    """Put the cells of `columns` into `row`; returns all of them."""
    found: list[Cell] = []
    for column in columns:
        offset = column.offset
        value = raw[offset]
        if value is None:
            continue
        write_time = raw[offset + 1]
        if column.multi_cell:
            cells = read_complex_cells(column.kind, value, write_time, raw[offset + 2], now)
            if row.complex is None:
                row.complex = {}
            row.complex[column.index] = ComplexColumn(NO_TIMESTAMP, cells)
            found.extend(cells.values())
        else:
            assert write_time is not None
            cell = read_cell(value, write_time, raw[offset + 2], now)
            row.cells[column.index] = cell
            found.append(cell)
    return found


def require_scannable(table: Table, release_version: str) -> None:
    """Refuse a table whose rows CQL does not show completely (`ConfigurationError`).

    Codes `snapshot_list` (a non-frozen list: the paths of its elements stay hidden, so later removals would miss them
    and elements that the stream brings too would appear twice) and `snapshot_collection` (another non-frozen type
    before Cassandra 5.0, which shows no write times of elements).
    """
    recent = int(release_version.split(".", 1)[0]) >= _ELEMENT_TIMES_SINCE
    for column in (*table.statics, *table.regulars):
        if not column.type.multi_cell or (recent and column.type.name != "list"):
            continue
        is_list = column.type.name == "list"
        reason = "CQL does not show which element is which" if is_list else "CQL shows no write times before 5.0"
        raise ConfigurationError(
            "snapshot_list" if is_list else "snapshot_collection",
            f"existing rows of {table.full_name} can't be copied: column {column.name!r} is a non-frozen "
            f"{column.type.name}, and {reason}",
            where=f"table {table.full_name}",
            now="nothing was started",
            hint="set snapshot: {mode: never} to replicate new writes only, or leave the table out",
        )


def cql_identifier(name: str) -> str:
    """`name` in CQL's double quotes."""
    return '"' + name.replace('"', '""') + '"'


def _token(table: Table) -> str:
    return f"token({', '.join(cql_identifier(column.name) for column in table.partition_key)})"


def _select(table: Table) -> str:
    shown = [_token(table), *(cql_identifier(column.name) for column in (*table.partition_key, *table.clustering))]
    for column in (*table.statics, *table.regulars):
        name = cql_identifier(column.name)
        shown += [name, f"WRITETIME({name})", f"TTL({name})"]
    source = f"{cql_identifier(table.keyspace)}.{cql_identifier(table.name)}"
    return f"SELECT {', '.join(shown)} FROM {source}"  # noqa: S608 names are quoted, and no value is in it
