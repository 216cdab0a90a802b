"""Events of Debezium's Cassandra connector become the updates that their statements made, as far as they tell.

Invariant: decoding depends on the event and the schema alone, so events may come late, twice and in any order; nothing
is guessed: what an event does not determine is left out, and its row is named to be read again from Cassandra.

Every cell of an event is taken to be written at `ts_us`. The connector sets it to the newest write time in its
partition's part of the mutation, so it is exact unless one batch writes to one partition with several timestamps.

- `i` has a liveness, `u` has none. The connector does not write the TTL of a liveness: it is that of the values beside
  it, if they all end together; without any value the table's default.
- A touched non-frozen collection shows neither whether elements were added, removed or replaced, nor their TTLs: the
  row is read again. So is one whose value was rounded.
- `d` deletes a row, or the partition where the clustering columns are null, at the time of the deletion itself.
- `r` deletes a range.
- Static columns are in no event (a partition deletion deletes them).
- Rows of the connector's own snapshot carry the time of the read in place of write times, and would beat newer writes;
  they are left to Casscade's snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from casscade.commitlog.encoder import clustering_key
from casscade.core.cell import expiring_cell, live_cell, tombstone_cell
from casscade.core.errors import BadDataError, CorruptionError, UnknownSchemaError
from casscade.core.keys import canonical_key, join_partition_key
from casscade.core.mutation import PartitionUpdate, RangeTombstone, Row
from casscade.core.table import TableShape
from casscade.debezium.bounds import read_bounds
from casscade.debezium.envelope import (
    DELETE,
    INSERT,
    RANGE_DELETE,
    RANGE_END,
    RANGE_START,
    CellValue,
    Event,
    read_cell,
    read_event,
)
from casscade.debezium.faults import no_event, no_value
from casscade.debezium.message import unpack
from casscade.debezium.values import InexactError, reader
from casscade.merge.row import is_empty
from casscade.schema.model import Column, ColumnKind, Table

LOG_MARKER: Final = "debezium_marker"
SNAPSHOT: Final = "debezium_snapshot"
NOT_REPLICATED: Final = "debezium_not_replicated"
"""Why a message yields nothing: it only marks a key for compaction, is of the connector's snapshot, or of a table that
is not replicated."""

_SECOND_US: Final = 1_000_000
# Cassandra's own limits: 20 years (`Attributes.MAX_TTL`), and seconds of an unsigned 32-bit expiry (5.0).
_TTL_MAX: Final = 20 * 365 * 24 * 60 * 60
_EXPIRY_MAX: Final = (1 << 32) - 1
_KEY_BYTES_MAX: Final = 0xFFFF


class Reread(NamedTuple):
    """A row to be read again; `columns` are the touched ones with hidden cells.

    `key` is the row's serialized clustering, canonical where equal values have several forms.
    """

    table_id: bytes
    partition_key: bytes
    key: bytes
    clustering: list[bytes | None]
    columns: frozenset[int]


class Decoded(NamedTuple):
    """What a message says: `updates`, rows to be read again, or else why it is left out (`skipped`)."""

    updates: list[PartitionUpdate]
    rereads: list[Reread]
    skipped: str = ""


class EventDecoder:
    """Decodes messages (`debezium.message`) of the replicated `tables`, whose columns are numbered.

    `versions` (by table id) numbers what they are in the history of their schemas.
    """

    def __init__(self, tables: Iterable[Table], versions: Mapping[bytes, int] | None = None) -> None:
        known = versions or {}
        self._tables: Mapping[tuple[str, str], _EventTable] = {
            (table.keyspace, table.name): _EventTable(table, known.get(table.id.bytes, 0)) for table in tables
        }

    def table_of(self, data: bytes) -> TableShape | None:
        """The table of a message that can't be decoded: Debezium names topics after it."""
        try:
            _, keyspace, name = unpack(data).topic.rsplit(".", 2)
        except (CorruptionError, ValueError):
            return None
        found = self._tables.get((keyspace, name))
        return None if found is None else found.shape

    def decode(self, data: bytes) -> Decoded:
        """Raises BadDataError (`debezium_json`, `debezium_envelope`, `debezium_value`), for an unknown column
        UnknownSchemaError.
        """
        value = unpack(data).value
        event = None if value is None else read_event(value)
        if event is None:
            return Decoded([], [], LOG_MARKER)
        table = self._tables.get((event.keyspace, event.table))
        if table is None:
            return Decoded([], [], NOT_REPLICATED)
        if event.snapshot:
            return Decoded([], [], SNAPSHOT)
        return table.decode(event)


class _EventTable:
    """One table: what its events become."""

    def __init__(self, table: Table, version: int) -> None:
        self._table = table
        self.shape: TableShape = table.shape(replicated=True)
        self.shape.version = version
        self._columns = {column.name: column for column in table.columns}

    def decode(self, event: Event) -> Decoded:
        update = PartitionUpdate(self.shape, self._partition_key(event))
        if event.op == RANGE_DELETE:
            start, end = read_bounds(event.after.get(RANGE_START), event.after.get(RANGE_END), self._table)
            update.range_tombstones.append(RangeTombstone(start, end, event.write_time))
            return Decoded([update], [])
        clustering = self._clustering(event)
        if event.op == DELETE:
            return Decoded([self._delete(update, clustering, event)], [])
        if clustering is None:
            raise no_event("an insert or update has no value for a clustering column")
        return self._write(update, clustering, event)

    def _partition_key(self, event: Event) -> bytes:
        values = []
        for column in self._table.partition_key:
            cell = read_cell(event.after, column.name)
            if cell is None or cell.value is None:
                raise no_event("a partition key column has no value")
            values.append(self._key_value(column, cell))
        if any(len(value) > _KEY_BYTES_MAX for value in values):
            raise no_event("a partition key column has more bytes than a key can hold")
        return join_partition_key(values)

    def _clustering(self, event: Event) -> list[bytes | None] | None:
        """The clustering values; None where the event names the whole partition."""
        cells = [read_cell(event.after, column.name) for column in self._table.clustering]
        found = [cell for cell in cells if cell is not None and cell.value is not None]
        if cells and not found:
            return None
        if len(found) < len(cells):
            raise no_event("some clustering columns have no value")
        return [self._key_value(column, cell) for column, cell in zip(self._table.clustering, found, strict=True)]

    def _delete(self, update: PartitionUpdate, clustering: list[bytes | None] | None, event: Event) -> PartitionUpdate:
        # The connector writes the deletion's own time into the columns; ts_us may be that of a newer write beside it.
        cells = [read_cell(event.after, name) for name in event.after if name in self._columns]
        moments = [cell.moment for cell in cells if cell is not None and cell.value is None and cell.moment is not None]
        deletion = max(moments, default=event.write_time)
        if clustering:
            row = self._row(clustering)
            row.deletion = deletion
            update.rows.append(row)
        else:
            update.deletion = deletion
        return update

    def _write(self, update: PartitionUpdate, clustering: list[bytes | None], event: Event) -> Decoded:
        row = self._row(clustering)
        hidden: set[int] = set()
        ends: set[int | None] = set()
        exact = True
        for name in event.after:
            cell = None if name in (RANGE_START, RANGE_END) else read_cell(event.after, name)
            column = None if cell is None else self._column(name)
            if cell is None or column is None:
                continue
            if column.type.multi_cell:
                hidden.add(column.index)
                continue
            if cell.value is not None:
                ends.add(cell.moment)
            if event.write_time > column.dropped_at and not self._put(row, column, cell, event.write_time):
                exact = False
        if event.op == INSERT:
            self._live(row, ends, event.write_time)
        if not is_empty(row):
            update.rows.append(row)
        rereads = [] if exact and not hidden else [self._reread(update.key, row, hidden)]
        return Decoded([update] if update.rows else [], rereads)

    def _column(self, name: str) -> Column | None:
        """The regular column of that name; None for a key column or one that was dropped."""
        column = self._columns.get(name)
        if column is None:
            raise UnknownSchemaError(
                f"a column that an event of {self._table.full_name} writes to is not known",
                table_id=self.shape.id,
                column=name.encode(errors="replace"),
            )
        if column.kind is ColumnKind.STATIC and not column.dropped:
            raise no_value(self._table.full_name, name, "it is static, and the event is one of a row")
        return None if column.dropped or column.kind is not ColumnKind.REGULAR else column

    def _put(self, row: Row, column: Column, cell: CellValue, written: int) -> bool:
        """Put a cell into the row; returns False when the event does not hold its exact value."""
        if cell.value is None:
            row.cells[column.index] = tombstone_cell(written)
            return True
        try:
            value = self._value(column, cell)
        except InexactError:
            return False
        if cell.moment is None:
            row.cells[column.index] = live_cell(written, value)
        else:
            row.cells[column.index] = expiring_cell(written, *self._expiry(cell.moment, written), value)
        return True

    def _live(self, row: Row, ends: set[int | None], written: int) -> None:
        """Give an inserted row its liveness; `ends` has the expiries of its values, None for one without."""
        if len(ends) > 1:
            # Statements of one batch met in one row, and the event does not tell which of them was the INSERT.
            row.liveness_unknown = bool(row.cells)
            return
        row.liveness_ts = written
        if not ends:
            ttl = self._table.default_time_to_live
            if ttl > 0:
                row.liveness_ttl = ttl
                row.liveness_expires_at = written // _SECOND_US + ttl
            return
        moment = next(iter(ends))
        if moment is not None:
            row.liveness_expires_at, row.liveness_ttl = self._expiry(moment, written)

    def _expiry(self, moment: int, written: int) -> tuple[int, int]:
        """The second at which something ends, and its TTL as if it was written at the write time."""
        second = moment // _SECOND_US
        if not 0 < second <= _EXPIRY_MAX:
            raise no_event("a column ends at no time that Cassandra knows")
        return second, min(max(second - written // _SECOND_US, 1), _TTL_MAX)

    def _row(self, clustering: list[bytes | None]) -> Row:
        return Row(clustering_key(clustering, self.shape.clustering_lengths), clustering)

    def _reread(self, partition_key: bytes, row: Row, columns: Iterable[int]) -> Reread:
        loose = self.shape.loose_clusterings
        key = canonical_key(row.clustering, loose) if loose else row.key
        return Reread(self.shape.id, partition_key, key, row.clustering, frozenset(columns))

    def _key_value(self, column: Column, cell: CellValue) -> bytes:
        try:
            return self._value(column, cell)
        except InexactError:
            raise no_value(
                self._table.full_name, column.name, "the connector rounded it, and it is part of the key"
            ) from None

    def _value(self, column: Column, cell: CellValue) -> bytes:
        try:
            return reader(column.type)(cell.value)
        except BadDataError as error:
            raise no_value(self._table.full_name, column.name, error.what) from None
