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

CQL also hides the cells of some columns: the shards of counters, the paths of list elements, and before Cassandra 5.0
the write times in every non-frozen collection and UDT. Such a column comes as an observation
(`casscade.core.observed`), and its row is read again after each change of it (`casscade.merge.doubt`).

What CQL hides for good: whether the liveness of a row without cells expires, and deletions from before capture began
(a write older than such a deletion that reaches a replica late, as a hint, is taken for a new one).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from casscade.commitlog.observations import encode_observing
from casscade.core.cell import NO_EXPIRY, NO_TIMESTAMP
from casscade.core.keys import join_partition_key, split_partition_key, unpack_values
from casscade.core.limits import CHUNK_BYTES_MAX
from casscade.core.mutation import ComplexColumn, PartitionUpdate, Row
from casscade.core.observed import NOTHING, SETTLED, UNBOUNDED, Observed
from casscade.core.table import TableShape
from casscade.schema.model import Column, Table
from casscade.snapshot.elements import observe, read_cell, read_complex_cells
from casscade.snapshot.page import Page
from casscade.snapshot.plain import OLDEST, EncodedPart, PageEncoder, PlainColumn

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
    """A static or regular column, what is selected of it, and where that stands in a raw row.

    `timed` columns show write times and TTLs, `hidden` ones do not show their cells.
    """

    __slots__ = ("counter", "hidden", "index", "kind", "multi_cell", "name", "offset", "selected", "timed")

    def __init__(self, column: Column, *, element_times: bool, cellless: bool) -> None:
        name = cql_identifier(column.name)
        self.name: bytes = column.name.encode()
        self.index: int = column.index
        self.kind: str = column.type.name
        self.multi_cell: bool = column.type.multi_cell
        self.counter: bool = self.kind == "counter"
        self.timed: bool = not self.counter and (element_times or not self.multi_cell)
        countable = not cellless and self.kind != "list" and element_times
        self.hidden: bool = self.counter or (self.multi_cell and not countable)
        self.selected: list[str] = [name]
        if self.timed:
            self.selected += [f"WRITETIME({name})", f"TTL({name})"]
        self.offset: int = 0


def shows_element_times(release_version: str) -> bool:
    """Whether CQL of this release shows the write times of the elements of collections (CASSANDRA-8877)."""
    return int(release_version.split(".", 1)[0]) >= _ELEMENT_TIMES_SINCE


class TableScan:
    """How one table is read: the SELECT and the reading of its raw rows."""

    def __init__(self, table: Table, *, element_times: bool = True, cellless: bool = False) -> None:
        """`element_times` tells whether the cluster shows those of collections (`shows_element_times`).

        `cellless`: the stream does not bring the cells of multi-cell columns. All of them are observed then and stay
        so: no deletion settles them, and an answer tells each of them, nulls included.
        """
        self._cellless = cellless
        self.table: Table = table
        self.shape: TableShape = table.shape(replicated=True)
        self._keys = len(table.partition_key)
        self._clusterings = len(table.clustering)
        self._statics = [
            _ScanColumn(column, element_times=element_times, cellless=cellless) for column in table.statics
        ]
        self._regulars = [
            _ScanColumn(column, element_times=element_times, cellless=cellless) for column in table.regulars
        ]
        selected = [
            _token(table),
            *(cql_identifier(column.name) for column in (*table.partition_key, *table.clustering)),
        ]
        for column in (*self._statics, *self._regulars):
            column.offset = len(selected)
            selected += column.selected
        source = f"{cql_identifier(table.keyspace)}.{cql_identifier(table.name)}"
        select = f"SELECT {', '.join(selected)} FROM {source}"  # noqa: S608 names are quoted, and no value is in it
        self.query: str = f"{select} WHERE {_token(table)} > ? AND {_token(table)} <= ?"
        self.point_query: str = f"{select} WHERE {_equal((*table.partition_key, *table.clustering))}"
        # The first row shows the statics; without any row there is one that has nothing else.
        self.static_query: str = f"{select} WHERE {_equal(table.partition_key)} LIMIT 1"
        self._encoder: PageEncoder | None = None
        if not self._statics and not any(column.hidden for column in self._regulars):
            plain = [self._plain(column) for column in self._regulars]
            self._encoder = PageEncoder(self.shape, self._keys, plain)

    def _plain(self, column: _ScanColumn) -> PlainColumn:
        shape = self.shape.columns[column.name]
        return PlainColumn(shape.name, column.kind, shape.fixed_length, multi_cell=column.multi_cell)

    def encode_page(self, page: Page) -> list[EncodedPart]:
        """The mutations of one page in its order."""
        if self._encoder is not None:
            return self._encoder.encode(page.data, page.count, page.now)
        parts = self.read_page(page.rows, page.now, page.read_at)
        return [EncodedPart(part.token, part.rows, encode_observing(part.update)) for part in parts]

    def key_values(self, partition_key: bytes, clustering: bytes) -> list[bytes]:
        """The values that `point_query` binds, from a serialized partition key and packed clustering values.

        Those of `static_query` are the first of them, `clustering` being empty.
        """
        values = split_partition_key(partition_key, self._keys)
        return [*values, *(value or b"" for value in unpack_values(clustering))]

    def hidden(self, *, static: bool) -> list[int]:
        """The indexes of the columns of which CQL hides the cells: only another read tells what they show."""
        return [column.index for column in (self._statics if static else self._regulars) if column.hidden]

    def read_again(
        self,
        rows: Sequence[RawRow],
        now: int,
        read_at: int,
        turn: int,
        key: tuple[bytes, bytes],
        columns: Sequence[int],
        *,
        static: bool,
    ) -> PartitionUpdate | None:
        """The answer to a request for a row, or for the statics of its partition; None when there is nothing to say.

        `turn` is the number of the request, `key` the partition key and the packed clustering. Of `columns`, whose
        cells CQL hides, it says what the read shows, or that they are settled: nothing is left of what an earlier read
        showed (of a counter, that it shows nothing now). Other columns of that kind are left out, because what is
        stored of them is exact. (If the stream does not bring their cells, all of them are told, and none is settled.)
        """
        update = PartitionUpdate(self.shape, key[0])
        found: Row | None = None
        for part in self.read_page(rows, now, read_at, turn=turn):
            found = part.update.static_row if static else next(iter(part.update.rows), None)
        if self._cellless:
            columns = self.hidden(static=static)
        if found is None:
            if not columns:
                return None
            found = Row(b"", [] if static else unpack_values(key[1]))
        seen = found.observed or {}
        nothing = (turn, read_at, UNBOUNDED, NO_EXPIRY, NOTHING)
        unsettled = self.shape.counters if not self._cellless else columns
        found.observed = {i: seen.get(i, nothing if i in unsettled else SETTLED) for i in columns} or None
        if static:
            update.static_row = found
        else:
            update.rows.append(found)
        return update

    def read_page(self, rows: Sequence[RawRow], now: int, read_at: int = 0, *, turn: int = 0) -> list[ScannedPartition]:
        """The partitions of one page in its order.

        `now` is the second at which TTLs were computed, `read_at` the microsecond at which the read began, `turn` the
        number of the request that it answers.

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
                current.update.static_row = self._static_row(raw, now, read_at, turn)
            row = self._row(raw, now, read_at, turn)
            if row is not None:
                current.update.rows.append(row)
            current.rows += 1
            current.size += sum(map(len, filter(None, raw)))
        return parts

    def _partition_key(self, raw: RawRow) -> bytes:
        return join_partition_key([value or b"" for value in raw[1 : 1 + self._keys]])

    def _static_row(self, raw: RawRow, now: int, read_at: int, turn: int) -> Row | None:
        row = Row(b"", [])
        return row if self._read_columns(row, raw, self._statics, now, read_at, turn) else None

    def _row(self, raw: RawRow, now: int, read_at: int, turn: int) -> Row | None:
        """The row, or None where the page shows a partition that has nothing but static columns."""
        first = 1 + self._keys
        clustering = list(raw[first : first + self._clusterings])
        if self._clusterings and clustering[0] is None:
            return None
        row = Row(b"", clustering)
        if not self._read_columns(row, raw, self._regulars, now, read_at, turn):
            row.liveness_ts = OLDEST
        return row

    def _read_columns(
        self, row: Row, raw: RawRow, columns: list[_ScanColumn], now: int, read_at: int, turn: int
    ) -> bool:
        """Put what `columns` show into `row`; returns whether anything is alive in them."""
        hidden: list[_ScanColumn] = []
        for column in columns:
            offset = column.offset
            value = raw[offset]
            if value is None:
                continue
            if column.hidden:
                hidden.append(column)
            elif column.multi_cell:
                cells = read_complex_cells(column.kind, value, raw[offset + 1], raw[offset + 2], now)
                if row.complex is None:
                    row.complex = {}
                row.complex[column.index] = ComplexColumn(NO_TIMESTAMP, cells)
            else:
                write_time = raw[offset + 1]
                assert write_time is not None
                row.cells[column.index] = read_cell(value, write_time, raw[offset + 2], now)
        if hidden:
            row.observed = {column.index: self._observe(column, raw, row, now, read_at, turn) for column in hidden}
        return bool(row.cells or row.complex or row.observed)

    def _observe(self, column: _ScanColumn, raw: RawRow, row: Row, now: int, read_at: int, turn: int) -> Observed:
        """What the read shows of a hidden column that is not null; `row` has its other cells already."""
        offset = column.offset
        value = raw[offset]
        assert value is not None
        if not column.timed:
            return observe(value, None, None, now, turn, read_at, self._guess(row, now))
        seen = observe(value, raw[offset + 1], raw[offset + 2], now, turn, read_at, NO_EXPIRY)
        return (turn, read_at, UNBOUNDED, seen[3], value) if self._cellless else seen

    def _guess(self, row: Row, now: int) -> int:
        """When elements whose TTLs are not shown may end: with the cells beside them, or by the table's default."""
        default = self.table.default_time_to_live
        return min([cell[1] for cell in row.cells.values()] + [now + default if default else NO_EXPIRY])


def cql_identifier(name: str) -> str:
    """`name` in CQL's double quotes."""
    return '"' + name.replace('"', '""') + '"'


def _token(table: Table) -> str:
    return f"token({', '.join(cql_identifier(column.name) for column in table.partition_key)})"


def _equal(columns: Sequence[Column]) -> str:
    return " AND ".join(f"{cql_identifier(column.name)} = ?" for column in columns)
