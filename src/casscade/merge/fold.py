"""A batch of mutations becomes one version of each row that it touches.

Invariant: folding the same mutations in any order, any number of times, gives the same fold.
"""

from __future__ import annotations

from collections.abc import Iterable

from casscade.core.cell import NO_TIMESTAMP
from casscade.core.keys import canonical_key
from casscade.core.mutation import PartitionUpdate, RangeTombstone, Row
from casscade.core.observed import UNREAD
from casscade.core.table import TableShape
from casscade.merge.conflicts import Findings, copy_row
from casscade.merge.row import is_empty, merge_rows, normalise

RowKey = tuple[bytes, bytes]


class PartitionDeletions:
    """Deletions that reach over several rows of a partition: its own timestamp and the range tombstones."""

    __slots__ = ("deletion", "ranges")

    def __init__(self) -> None:
        self.deletion: int = NO_TIMESTAMP
        self.ranges: list[RangeTombstone] = []


class TableFold:
    """What a batch says about one table.

    `rows` is keyed by (partition key, clustering key), `statics` by partition key, `deletions` by partition key.
    In a table without clustering columns a partition is one row, so its partition deletions are row deletions.
    `findings` has the conflicts and stale rows met on the way, which are no part of the outcome.
    """

    __slots__ = ("deletions", "findings", "rows", "single_row", "statics", "table")

    def __init__(self, table: TableShape) -> None:
        self.table: TableShape = table
        self.single_row: bool = not table.clustering_lengths
        self.rows: dict[RowKey, Row] = {}
        self.statics: dict[bytes, Row] = {}
        self.deletions: dict[bytes, PartitionDeletions] = {}
        self.findings: Findings = Findings()

    def add(self, update: PartitionUpdate) -> None:
        """Merge one update of this table; `update` must not be used afterwards."""
        key = update.key
        rows = self.rows
        loose = self.table.loose_clusterings
        older = self.table.older_ties
        for row in update.rows:
            if loose:
                row.key = canonical_key(row.clustering, loose)
            if row.complex is not None or row.deletion != NO_TIMESTAMP:
                normalise(row)
                if is_empty(row):
                    continue
            row_key = (key, row.key)
            mine = rows.get(row_key)
            if mine is None:
                rows[row_key] = row
            else:
                self._meet(key, mine, row, static=False)
                merge_rows(mine, row, older)
        static_row = update.static_row
        if static_row is not None:
            normalise(static_row)
            known = self.statics.get(key)
            if known is None:
                if not is_empty(static_row):
                    self.statics[key] = static_row
            else:
                self._meet(key, known, static_row, static=True)
                merge_rows(known, static_row, older)
        if update.deletion != NO_TIMESTAMP or update.range_tombstones:
            self._add_deletions(update)

    def _meet(self, key: bytes, known: Row, new: Row, *, static: bool) -> None:
        findings = self.findings
        if findings.meet(key, known, new, self.table.older_ties, static=static):
            # Merging takes no cell of a stale row, but may take its multi-cell columns to shadow them.
            kept = new if new.complex is None else copy_row(new)
            findings.late(key, known, new, kept, static=static)

    def _add_deletions(self, update: PartitionUpdate) -> None:
        key = update.key
        if self.single_row:
            deleted = Row(b"", [])
            deleted.deletion = update.deletion
            for tombstone in update.range_tombstones:
                deleted.deletion = max(deleted.deletion, tombstone.deletion)
            mine = self.rows.get((key, b""))
            if mine is None:
                self.rows[(key, b"")] = deleted
            else:
                merge_rows(mine, deleted)
            return
        deletions = self.deletions.get(key)
        if deletions is None:
            deletions = self.deletions[key] = PartitionDeletions()
        deletions.deletion = max(deletions.deletion, update.deletion)
        deletions.ranges.extend(update.range_tombstones)


class CounterTableFold(TableFold):
    """That of a table of counters: a column of which a counter was deleted has to be read (`merge.doubt`)."""

    __slots__ = ()

    def add(self, update: PartitionUpdate) -> None:
        """As in other tables; the deletions of columns leave a mark, since merging may take them away."""
        if update.static_row is not None:
            _mark_deleted(update.static_row)
        for row in update.rows:
            _mark_deleted(row)
        super().add(update)


def _mark_deleted(row: Row) -> None:
    for index, cell in row.cells.items():
        if cell[3] is None:
            if row.observed is None:
                row.observed = {}
            row.observed[index] = UNREAD


class Fold:
    """A batch: one `TableFold` for each table id. `updates` counts what was added."""

    __slots__ = ("tables", "updates")

    def __init__(self) -> None:
        self.tables: dict[bytes, TableFold] = {}
        self.updates: int = 0

    def add(self, updates: Iterable[PartitionUpdate]) -> None:
        """Merge the updates of one decoded mutation; they must not be used afterwards."""
        for update in updates:
            table_id = update.table.id
            fold = self.tables.get(table_id)
            if fold is None:
                table = update.table
                fold = self.tables[table_id] = CounterTableFold(table) if table.counters else TableFold(table)
            fold.add(update)
            self.updates += 1

    def row_count(self) -> int:
        """Rows, static rows and partition deletions: what the loader has to write at most."""
        total = 0
        for fold in self.tables.values():
            total += len(fold.rows) + len(fold.statics) + len(fold.deletions)
        return total
