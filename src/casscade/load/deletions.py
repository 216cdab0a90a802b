"""Deletions over several rows of a partition: kept, met by later rows, and applied to what is stored.

Invariant: a row is never written with anything in it that a stored or new partition deletion or range tombstone
covers (`DeletionTime.deletes`: timestamps at or below that of the deletion).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import Connection

from casscade.commitlog.cells import read_values
from casscade.core.cell import NO_TIMESTAMP
from casscade.core.keys import unpack_values
from casscade.core.mutation import RangeTombstone, Row
from casscade.cql.bounds import ClusteringOrder
from casscade.load.counters import BatchCounts
from casscade.load.hidden import HiddenRows
from casscade.load.raw import Raw, int8
from casscade.load.relation_writer import RelationWriter, RowItem
from casscade.load.tombstones import PARTITION, StoredDeletion, pack_bound, row_of, unpack_range
from casscade.merge.fold import PartitionDeletions, RowKey, TableFold
from casscade.merge.row import is_empty, newest_timestamp, shadow_from_outside

# Rows of a partition that a range deletion looks at are read in pages of this size, so that a partition of
# millions of rows does not have to fit into memory.
PAGE_ROWS = 5000


class OrderedDeletions:
    """The deletions of one partition with the keys of their bounds computed once."""

    def __init__(self, order: ClusteringOrder, deletions: PartitionDeletions) -> None:
        self._order = order
        self.deletion = deletions.deletion
        self.ranges = [
            (order.bound(tombstone.start), order.bound(tombstone.end), tombstone.deletion)
            for tombstone in deletions.ranges
        ]

    def covering(self, row: Row) -> int:
        """The timestamp of the newest deletion over `row`, or `NO_TIMESTAMP`."""
        newest = self.deletion
        if self.ranges:
            place = self._order.row(row.clustering)
            for start, end, deletion in self.ranges:
                if deletion > newest and start < place < end:
                    newest = deletion
        return newest

    def over(self, row: Row, *, static: bool) -> bool:
        """Whether any of them covers `row`; over a static row only a partition deletion can be."""
        return (self.deletion if static else self.covering(row)) != NO_TIMESTAMP

    def newest(self) -> int:
        """The newest timestamp of all: rows that are newer and have no special state are untouched."""
        return max([self.deletion, *(deletion for _, _, deletion in self.ranges)])


class DeletionApplier:
    """Deletions of one table: its rows and, for partition deletions, its static rows."""

    def __init__(self, rows: RelationWriter, statics: RelationWriter | None, order: ClusteringOrder) -> None:
        self._rows = rows
        self._statics = statics
        self._order = order

    def apply(self, connection: Connection[Any], fold: TableFold, now: int, counts: BatchCounts) -> bool:
        """Shadow the rows of `fold` by all deletions of their partitions and apply its own to what is stored.

        Returns whether there was none over any of its partitions, so that its rows are as they came.
        """
        untouched = self._shadow_new(connection, fold)
        if not fold.deletions:
            return untouched
        self._rows.tombstones.put_ranges(connection, list(_stored_form(fold.deletions)))
        for partition_key, deletions in fold.deletions.items():
            self._apply_to_stored(connection, partition_key, OrderedDeletions(self._order, deletions), now, counts)
        counts.deletions += len(fold.deletions)
        return False

    def _shadow_new(self, connection: Connection[Any], fold: TableFold) -> bool:
        """Returns whether nothing is known that could cover a row."""
        known = dict(fold.deletions)
        if self._rows.tombstones.ranges_exist:
            partitions = {key[0] for key in fold.rows} | fold.statics.keys()
            for stored in self._rows.tombstones.find_ranges(connection, partitions):
                _add(known, stored)
        if not known:
            return True
        ordered = {key: OrderedDeletions(self._order, deletions) for key, deletions in known.items()}
        for row_key in list(fold.rows):
            covering = ordered.get(row_key[0])
            if covering is not None:
                row = fold.rows[row_key]
                deletion = covering.covering(row)
                if self._cover(self._rows, fold, row_key[0], row, deletion):
                    del fold.rows[row_key]
                elif deletion != NO_TIMESTAMP and (row.observed is not None or self._rows.layout.counters):
                    self._doubt_new(self._rows, fold, row_key, row)
        for partition_key in list(fold.statics):
            covering = ordered.get(partition_key)
            if covering is not None:
                row = fold.statics[partition_key]
                statics = self._statics
                if self._cover(statics or self._rows, fold, partition_key, row, covering.deletion):
                    del fold.statics[partition_key]
                    continue
                if covering.deletion == NO_TIMESTAMP or statics is None:
                    continue
                if row.observed is not None or statics.layout.counters:
                    self._doubt_new(statics, fold, (partition_key, b""), row)
        return False

    def _cover(self, writer: RelationWriter, fold: TableFold, partition_key: bytes, row: Row, deletion: int) -> bool:
        """Shadow a new row; returns whether nothing is left of it. Under stored deletions alone it came too late."""
        if deletion == NO_TIMESTAMP:
            return False
        late = partition_key not in fold.deletions and not row.scanned and newest_timestamp(row) <= deletion
        if late:
            stored = Row(row.key, row.clustering)
            stored.deletion = deletion
            writer.lookout.late(partition_key, stored, row)
        shadow_from_outside(row, deletion)
        return is_empty(row)

    def _doubt_new(self, writer: RelationWriter, fold: TableFold, key: RowKey, row: Row) -> None:
        """A deletion lies over what a read showed but may not end all of it: was it read before or after?"""
        new = fold.deletions.get(key[0])
        if new is not None and OrderedDeletions(self._order, new).over(row, static=writer.layout.static):
            writer.doubts.changed(key[0], row)
            if not writer.layout.counters:
                return
        writer.covered.add(key)

    def _apply_to_stored(
        self,
        connection: Connection[Any],
        partition_key: bytes,
        deletions: OrderedDeletions,
        now: int,
        counts: BatchCounts,
    ) -> None:
        fields = self._rows.layout.partition_fields(partition_key)
        if fields is None:
            return  # a key that PostgreSQL can't hold has no rows there
        key = [Raw(field) for field in fields]
        for writer in (self._rows, self._statics):
            if writer is not None and deletions.deletion != NO_TIMESTAMP:
                parameters = (*key, int8(deletions.deletion))
                counts.removed += connection.execute(writer.sql.delete_partition(len(key)), parameters).rowcount
        self._rewrite(connection, self._rows, partition_key, key, deletions, now, counts)
        if self._rows.hidden is not None:
            self._rewrite_hidden(connection, self._rows.hidden, partition_key, deletions, now, counts)
        if self._statics is not None and deletions.deletion != NO_TIMESTAMP:
            whole = PartitionDeletions()
            whole.deletion = deletions.deletion
            only = OrderedDeletions(self._order, whole)
            self._rewrite(connection, self._statics, partition_key, key, only, now, counts)

    def _rewrite(
        self,
        connection: Connection[Any],
        writer: RelationWriter,
        partition_key: bytes,
        key: Sequence[Raw],
        deletions: OrderedDeletions,
        now: int,
        counts: BatchCounts,
    ) -> None:
        """Shadow those stored rows of the partition that the deletions reach, page by page."""
        query = writer.sql.select_partition(len(key))
        for page in writer.read_pages(connection, query, (*key, int8(deletions.newest())), PAGE_ROWS):
            changed: list[RowItem] = []
            for stored in page:
                row = stored.row
                if _reach(row, deletions.deletion if writer.layout.static else deletions.covering(row)):
                    writer.doubts.changed(stored.partition_key, row)
                    if writer.layout.counters:
                        writer.doubts.contested(stored.partition_key, row, covered=True)
                    changed.append((stored.partition_key, row))
            if changed:
                writer.replace(connection, changed, now, counts)
        if writer.layout.counters and writer.tombstones.rows_exist:
            self._doubt_hidden(connection, writer, partition_key, deletions)

    def _rewrite_hidden(
        self,
        connection: Connection[Any],
        hidden: HiddenRows,
        partition_key: bytes,
        deletions: OrderedDeletions,
        now: int,
        counts: BatchCounts,
    ) -> None:
        """The same for the rows of the partition that do not match the condition of the table."""
        for page in hidden.of_partition(connection, partition_key):
            changed = [item for item in page if _reach(item[1], deletions.covering(item[1]))]
            for key, row in changed:
                self._rows.doubts.changed(key, row)
            if changed:
                self._rows.replace_hidden(connection, changed, now, counts)

    def _doubt_hidden(
        self, connection: Connection[Any], writer: RelationWriter, partition_key: bytes, deletions: OrderedDeletions
    ) -> None:
        """A deletion may take away the tombstone of a counter that hides newer increments."""
        layout = writer.layout
        for key, tombstone in writer.tombstones.find_observed(connection, partition_key):
            if layout.loose_clusterings:
                clustering = unpack_values(key)
            else:
                clustering, _ = read_values(key, 0, layout.clustering_lengths, len(layout.clustering_lengths))
            row = row_of(tombstone, Row(key, clustering))
            if deletions.over(row, static=layout.static):
                writer.doubts.hidden(partition_key, row)


def _reach(row: Row, deletion: int) -> bool:
    if deletion == NO_TIMESTAMP:
        return False
    shadow_from_outside(row, deletion)
    return True


def _add(known: dict[bytes, PartitionDeletions], stored: StoredDeletion) -> None:
    """Add a stored deletion without touching the deletions of the batch, which share no object with `known`."""
    deletions = PartitionDeletions()
    before = known.get(stored.partition_key)
    if before is not None:
        deletions.deletion = before.deletion
        deletions.ranges = list(before.ranges)
    if stored.start == PARTITION:
        deletions.deletion = max(deletions.deletion, stored.write_time)
    else:
        deletions.ranges.append(unpack_range(stored))
    known[stored.partition_key] = deletions


def _stored_form(deletions: dict[bytes, PartitionDeletions]) -> Iterable[StoredDeletion]:
    for partition_key, partition in deletions.items():
        if partition.deletion != NO_TIMESTAMP:
            yield StoredDeletion(partition_key, PARTITION, PARTITION, partition.deletion)
        for tombstone in partition.ranges:
            yield _range_form(partition_key, tombstone)


def _range_form(partition_key: bytes, tombstone: RangeTombstone) -> StoredDeletion:
    return StoredDeletion(partition_key, pack_bound(tombstone.start), pack_bound(tombstone.end), tombstone.deletion)
