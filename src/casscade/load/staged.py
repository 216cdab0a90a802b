"""What SQL may do with each row of a batch, and a batch as it is copied to the staging table.

Invariant: an operation means the same to `copy_encoder`, which chooses it, and to `merge_sql`, which carries it out.
"""

from __future__ import annotations

from typing import Final

from casscade.core.cell import NO_EXPIRY
from casscade.core.errors import BadDataError
from casscade.core.mutation import Row

OP_DOMINATE: Final = 1
"""Sets every column at one timestamp: replaces any older row, whatever its state."""
OP_INSERT: Final = 2
"""A plain INSERT of some columns: replaces an older plain row that has nothing in the other columns."""
OP_DELETE: Final = 3
"""Only a row deletion: removes an older row."""
OP_PUT_IF_ABSENT: Final = 4
"""Visible, but SQL can't compare it: inserted where no row is."""
OP_HIDDEN: Final = 5
"""Only tombstones and the like: nothing to see where no row is."""
OP_RENEW: Final = 6
"""An UPDATE of every simple column at one timestamp: replaces the cells of an older row whose state is simple."""
OP_PATCH: Final = 7
"""An UPDATE of some columns at one timestamp: goes over an older row whose state is simple (see `merge_sql`)."""
OP_REMOVE: Final = 8
"""The outcome of a merge: not visible."""
OP_UPSERT: Final = 9
"""The outcome of a merge: visible."""


class UnseenRow:
    """What became of a row that nobody sees: its newest write time, its state and, of a row that the condition of its
    table hides, the second at which something in it ends.
    """

    __slots__ = ("expires_at", "newest", "state")

    def __init__(self, newest: int, state: bytes | None, expires_at: int = NO_EXPIRY) -> None:
        self.newest: int = newest
        self.state: bytes | None = state
        self.expires_at: int = expires_at


class RejectedRow:
    """A row that can't be written, and why."""

    __slots__ = ("error", "partition_key", "row")

    def __init__(self, partition_key: bytes, row: Row, error: BadDataError) -> None:
        self.partition_key: bytes = partition_key
        self.row: Row = row
        self.error: BadDataError = error


class StagedRows:
    """What became of the rows that were copied, by ordinal (the place in the input) what is not simply visible.

    - `counts`: how many rows have each operation.
    - `unseen`: rows of OP_DELETE, OP_HIDDEN and OP_REMOVE.
    - `rejected`: rows that were left out, because PostgreSQL can't hold their keys, or values that the
      configuration sets aside.
    - `deferred`: rows of OP_HIDDEN of which only the merged row can tell whether it matches its table's condition.
    - `hidden`: rows of OP_REMOVE that are visible and do not match.
    """

    __slots__ = ("counts", "deferred", "hidden", "rejected", "unseen")

    def __init__(self) -> None:
        self.counts: list[int] = [0] * 10
        self.unseen: dict[int, UnseenRow] = {}
        self.rejected: dict[int, BadDataError] = {}
        self.deferred: list[int] = []
        self.hidden: dict[int, UnseenRow] = {}
