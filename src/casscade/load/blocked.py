"""Columns that PostgreSQL can't take just now: what is written to them is kept apart, and the rest of the row goes on.

Invariant: nothing of a blocked column gets into a fold; replaying its dead letters adds exactly what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from casscade.core.mutation import PartitionUpdate, Row
from casscade.merge.row import is_empty

BLOCKED: Final = "column_blocked"
"""The code of the dead letters."""

Blocked = Mapping[bytes, Mapping[int, str]]
"""Table id -> index of a column -> why it is blocked, and what to do; tables without any are left out."""


def take_out(update: PartitionUpdate, columns: Mapping[int, str]) -> str | None:
    """Take the cells of blocked columns out of `update`; returns the reasons, or None when it had none."""
    found: dict[str, None] = {}
    for row in _rows(update):
        for index, reason in columns.items():
            if row.cells.pop(index, None) is not None:
                found[reason] = None
            if row.complex is not None and row.complex.pop(index, None) is not None:
                found[reason] = None
            if row.observed is not None and row.observed.pop(index, None) is not None:
                found[reason] = None
        row.complex = row.complex or None
        row.observed = row.observed or None
    if not found:
        return None
    update.rows = [row for row in update.rows if not is_empty(row)]
    if update.static_row is not None and is_empty(update.static_row):
        update.static_row = None
    return "; ".join(found)


def _rows(update: PartitionUpdate) -> Iterator[Row]:
    yield from update.rows
    if update.static_row is not None:
        yield update.static_row
