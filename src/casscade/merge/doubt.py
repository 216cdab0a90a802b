"""When a row has to be read again, because CQL hides the cells of some of its columns.

Invariant: a stored row shows what a read showed of a column only if that read began after the last change of the
column that was applied, or if a request to read it again is on its way.

A change can't be computed into such a value: nobody knows which shard of a counter or which element of a list it
replaces. So each change asks for another read. Two more occasions: a first observation meets changes, which may be
newer or older than it; and something in the value ended, or something that the stream has written into it since.

A counter that was incremented before and after a deletion has no value that follows from its cells. Shards from both
sides of the deletion that meet in a memtable are merged, while a flush between them takes the older ones away. And the
tombstone of a counter column swallows newer increments if it meets them, while a deletion of the row, range or
partition, if it reaches the tombstone first, takes that away (`Cells.resolveCounter`, `BTreePartitionUpdater.merge`,
`Row.Merger`). Which of it happened, the commit log does not tell. So such a column is read, too, and from then on it
shows what reads show.
"""

from __future__ import annotations

from collections.abc import Collection

from casscade.core.cell import COUNTER_TTL, NO_TIMESTAMP
from casscade.core.mutation import Row
from casscade.core.observed import Observed, is_unread, join_observed


def touches(row: Row, index: int) -> bool:
    """Whether `row` says anything of the cells of column `index`."""
    return index in row.cells or (row.complex is not None and index in row.complex) or row.deletion != NO_TIMESTAMP


def doubtful_columns(new: Row, stored: Row | None, now: int, *, covered: bool = False) -> list[int]:
    """The columns to be read again when `new` and `stored` (of one key) are merged, or `new` meets nothing.

    `covered` tells that an older deletion of a range or partition lies over `new`. Columns that turn out to be settled
    by the merge need no read (`still_observed`).
    """
    theirs: dict[int, Observed] = new.observed or {}
    mine: dict[int, Observed] = {} if stored is None else stored.observed or {}
    doubtful: list[int] = []
    for index in sorted(theirs.keys() | mine.keys()):
        known = mine.get(index)
        seen = theirs.get(index)
        doubt = seen is not None and is_unread(seen)
        if known is None or is_unread(known):
            doubt = doubt or covered or (stored is not None and touches(stored, index))
        if known is not None:
            seen = known if seen is None else join_observed(known, seen)
        assert seen is not None
        if doubt or touches(new, index) or seen[3] <= now or (stored is not None and _has_ended(stored, index, now)):
            doubtful.append(index)
    return doubtful


def contested_columns(row: Row, *, covered: bool = False) -> list[int]:
    """The counter columns of a merged row that have to be read for the first time, because deletions reached them.

    `covered` tells that a deletion of a range or partition lies over `row`.
    """
    observed: dict[int, Observed] = row.observed or {}
    contested = [index for index, seen in observed.items() if is_unread(seen)]
    if covered or row.deletion != NO_TIMESTAMP:
        contested += [
            index
            for index, cell in row.cells.items()
            if cell[2] == COUNTER_TTL and cell[3] is not None and index not in observed
        ]
    return contested


def still_observed(row: Row, columns: Collection[int]) -> dict[int, Observed]:
    """Those of `columns` of which the row shows what a read showed, with the observation."""
    observed = row.observed
    if observed is None:
        return {}
    return {index: seen for index in columns if (seen := observed.get(index)) is not None and seen[4] is not None}


def ended_columns(row: Row, now: int) -> list[int]:
    """The columns that show what a read showed, and in which something ended by second `now`."""
    if row.observed is None:
        return []
    return [
        index
        for index, seen in row.observed.items()
        if seen[4] is not None and (seen[3] <= now or _has_ended(row, index, now))
    ]


def _has_ended(row: Row, index: int, now: int) -> bool:
    """Whether an element of column `index` ended by second `now` that the row still has the value of.

    A read shows such elements without telling when they end, if CQL shows no TTLs of elements. Their values are
    dropped with their end (`merge.row.drop_expired_values`), so each of them is met once.
    """
    if row.complex is None:
        return False
    column = row.complex.get(index)
    if column is None:
        return False
    for cell in column.cells.values():
        if cell[2] > 0 and cell[1] <= now and cell[3] is not None:
            return True
    return False
