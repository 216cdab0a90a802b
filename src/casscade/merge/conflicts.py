"""What a merge passes over in silence: cells of one write time with different values, and rows that come too late.

Invariant: only looks, changes nothing, so that what a merge gives is the same with and without it. Two copies of one
write are never a conflict.
"""

from __future__ import annotations

from casscade.core.cell import COUNTER_TTL, NO_EXPIRY, NO_TIMESTAMP, Cell, reconcile, reconcile_older
from casscade.core.mutation import ComplexColumn, Row
from casscade.merge.row import newest_timestamp


class Conflict:
    """A cell that lost to another of the same column, path and write time; `path` is empty in a simple column."""

    __slots__ = ("cell", "clustering", "clustering_key", "column", "partition_key", "path", "simple", "static")

    def __init__(
        self, partition_key: bytes, row: Row, column: int, path: bytes, cell: Cell, *, simple: bool, static: bool
    ) -> None:
        self.partition_key: bytes = partition_key
        self.clustering_key: bytes = row.key
        self.clustering: list[bytes | None] = row.clustering
        self.column: int = column
        self.path: bytes = path
        self.cell: Cell = cell
        self.simple: bool = simple
        self.static: bool = static


class StaleRow:
    """A row of the stream that changed nothing: all of it was there or older than what was there.

    `written` and `newest` are the newest write times of the row and of what was there. `row` is the row as it came,
    or None where nobody asked to keep it.
    """

    __slots__ = ("newest", "partition_key", "row", "static", "written")

    def __init__(self, partition_key: bytes, row: Row | None, written: int, newest: int, *, static: bool) -> None:
        self.partition_key: bytes = partition_key
        self.row: Row | None = row
        self.written: int = written
        self.newest: int = newest
        self.static: bool = static


class Findings:
    """What was found in one table's part of a batch.

    It stays while the batch is tried again: its rows hold what was stored by then, and would show nothing any more.
    """

    __slots__ = ("conflicts", "stale")

    def __init__(self) -> None:
        self.conflicts: list[Conflict] = []
        self.stale: list[StaleRow] = []

    def meet(
        self,
        partition_key: bytes,
        known: Row,
        new: Row,
        older_ties: bool,
        *,
        static: bool,
    ) -> bool:
        """Look at two rows of one key before they are merged; `new` came later. Returns whether it is stale.

        The caller adds what is stale with `late`, since only it knows whether the row must be kept.
        """
        gained, lost = _weigh_row(known, new)
        cells = known.cells
        for index, cell in new.cells.items():
            mine = cells.get(index)
            if mine is None:
                if cell[0] > known.deletion:
                    gained = True
                else:
                    lost = True
            elif cell[2] == COUNTER_TTL or mine[2] == COUNTER_TTL:
                gained = True
            elif cell[0] != mine[0]:
                if cell[0] > mine[0]:
                    gained = True
                else:
                    lost = True
            elif cell != mine:
                wins = _winner(mine, cell, older_ties) != mine
                if wins:
                    gained = True
                if conflicting(mine, cell):
                    loser = mine if wins else cell
                    self.conflicts.append(Conflict(partition_key, new, index, b"", loser, simple=True, static=static))
        if new.complex is not None:
            for index, column in new.complex.items():
                known_column = None if known.complex is None else known.complex.get(index)
                gains, loses = self._meet_column(
                    partition_key, known, known_column, new, index, column, older_ties, static
                )
                gained = gained or gains
                lost = lost or loses
        return lost and not gained and not new.scanned

    def _meet_column(
        self,
        partition_key: bytes,
        known: Row,
        mine: ComplexColumn | None,
        new: Row,
        index: int,
        column: ComplexColumn,
        older_ties: bool,
        static: bool,
    ) -> tuple[bool, bool]:
        covered = known.deletion if mine is None or mine.deletion < known.deletion else mine.deletion
        gained = column.deletion > covered
        lost = NO_TIMESTAMP < column.deletion < covered
        for path, cell in column.cells.items():
            other = None if mine is None else mine.cells.get(path)
            if other is None:
                if cell[0] > covered:
                    gained = True
                else:
                    lost = True
            elif cell[0] != other[0]:
                if cell[0] > other[0]:
                    gained = True
                else:
                    lost = True
            elif cell != other:
                wins = _winner(other, cell, older_ties) != other
                if wins:
                    gained = True
                if conflicting(other, cell):
                    loser = other if wins else cell
                    self.conflicts.append(Conflict(partition_key, new, index, path, loser, simple=False, static=static))
        return gained, lost

    def late(self, partition_key: bytes, known: Row, new: Row, kept: Row | None, *, static: bool) -> None:
        """Note that `new` came too late; `kept` is what a dead letter is made of."""
        stale = StaleRow(partition_key, kept, newest_timestamp(new), newest_timestamp(known), static=static)
        self.stale.append(stale)


def conflicting(left: Cell, right: Cell) -> bool:
    """Whether two different cells of one column, path and write time are two writes.

    Values decide. When an expiring cell ends does not: a read tells it to the second only. A deletion of the write time
    of an expiring cell may be what compaction made of it. Counters are added up and never in conflict.
    """
    if left[0] != right[0] or left[2] == COUNTER_TTL or right[2] == COUNTER_TTL:
        return False
    left_value = left[3]
    right_value = right[3]
    if left_value is not None and right_value is not None:
        return left_value != right_value
    if left_value is None and right_value is None:
        return False
    return (left[1] if left_value is not None else right[1]) == NO_EXPIRY


def copy_row(row: Row) -> Row:
    """A copy that merging does not touch; cells are shared, since nothing changes them."""
    copy = Row(row.key, row.clustering)
    copy.liveness_ts = row.liveness_ts
    copy.liveness_ttl = row.liveness_ttl
    copy.liveness_expires_at = row.liveness_expires_at
    copy.liveness_unknown = row.liveness_unknown
    copy.deletion = row.deletion
    copy.cells = dict(row.cells)
    if row.complex is not None:
        copy.complex = {
            index: ComplexColumn(column.deletion, dict(column.cells)) for index, column in row.complex.items()
        }
    if row.observed is not None:
        copy.observed = dict(row.observed)
    copy.scanned = row.scanned
    return copy


def _winner(mine: Cell, cell: Cell, older_ties: bool) -> Cell:
    return reconcile_older(mine, cell) if older_ties else reconcile(mine, cell)


def _weigh_row(known: Row, new: Row) -> tuple[bool, bool]:
    """Whether the liveness, deletion and observations of `new` change anything, and whether they are too old to."""
    gained = new.observed is not None or new.deletion > known.deletion
    gained = gained or (new.liveness_unknown and not known.liveness_unknown)
    lost = NO_TIMESTAMP < new.deletion < known.deletion
    if new.liveness_ts != NO_TIMESTAMP:
        if new.liveness_ts <= known.deletion or new.liveness_ts < known.liveness_ts:
            lost = True
        elif (
            new.liveness_ts > known.liveness_ts
            or new.liveness_ttl != known.liveness_ttl
            or new.liveness_expires_at != known.liveness_expires_at
        ):
            gained = True
    return gained, lost
