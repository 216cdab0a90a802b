"""When a row has to be read again, because CQL hides the cells of some of its columns.

Invariant: a stored row shows what a read showed of a column only if that read began after the last change of the
column that was applied, or if a request to read it again is on its way.

A change can't be computed into such a value: nobody knows which shard of a counter or which element of a list it
replaces. So each change asks for another read. Two more occasions: a first observation meets changes, which may be
newer or older than it; and something in the value ended.
"""

from __future__ import annotations

from collections.abc import Collection

from casscade.core.cell import NO_TIMESTAMP
from casscade.core.mutation import Row
from casscade.core.observed import Observed, join_observed


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
        if known is None:
            assert seen is not None
            doubt = covered or (stored is not None and touches(stored, index))
        else:
            seen = known if seen is None else join_observed(known, seen)
            doubt = False
        if doubt or touches(new, index) or seen[3] <= now:
            doubtful.append(index)
    return doubtful


def still_observed(row: Row, columns: Collection[int]) -> dict[int, Observed]:
    """Those of `columns` of which the row shows what a read showed, with the observation."""
    observed = row.observed
    if observed is None:
        return {}
    return {index: seen for index in columns if (seen := observed.get(index)) is not None and seen[4] is not None}


def ended_columns(row: Row, now: int) -> list[int]:
    """The columns in whose observed value something ended by second `now`."""
    if row.observed is None:
        return []
    return [index for index, seen in row.observed.items() if seen[4] is not None and seen[3] <= now]
