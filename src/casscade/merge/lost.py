"""Deletions that are known only by their effect: what is stored of a row, and what Cassandra no longer shows of it.

Invariant: what is made up here removes exactly what is stored and not shown, at its own write time, and nothing that
was written later; merged with the deletion itself, should that still come, it changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from casscade.core.cell import COUNTER_TTL, NO_TIMESTAMP, Cell, is_alive, tombstone_cell
from casscade.core.mutation import ComplexColumn, Row
from casscade.merge.row import is_observed, newest_timestamp

_NO_COLUMNS: Final[dict[int, ComplexColumn]] = {}


def complete(stored: Row, shown: Row | None, now: int, *, static: bool) -> Row | None:
    """What `stored` lacks to become what Cassandra shows: `shown` and the deletions that were lost; None for nothing.

    `stored` was read first: all of it that was alive then is either in `shown` or deleted. Columns of which CQL hides
    the cells are left alone while they are shown (`shown.observed`); `shown` must not be used afterwards.
    """
    row = Row(stored.key, stored.clustering) if shown is None else shown
    if shown is None and not static and _has_hidden(stored):
        row.deletion = newest_timestamp(stored)
        return row
    if shown is None and stored.liveness_ts != NO_TIMESTAMP:
        row.deletion = stored.liveness_ts
    skipped = row.observed or {}
    cells: dict[int, Cell] = {
        index: tombstone_cell(cell[0])
        for index, cell in stored.cells.items()
        if index not in row.cells and index not in skipped and is_alive(cell, now) and cell[0] > row.deletion
    }
    row.cells |= cells
    for index, column in (stored.complex or _NO_COLUMNS).items():
        if index not in skipped:
            _complete_column(row, index, column, now)
    says = row.cells or row.complex is not None or row.deletion != NO_TIMESTAMP or row.observed is not None
    return row if says or row.liveness_ts != NO_TIMESTAMP else None


def _complete_column(row: Row, index: int, stored: ComplexColumn, now: int) -> None:
    shown = None if row.complex is None else row.complex.get(index)
    paths: Collection[bytes] = () if shown is None else shown.cells
    gone = {
        path: tombstone_cell(cell[0])
        for path, cell in stored.cells.items()
        if path not in paths and is_alive(cell, now) and cell[0] > row.deletion
    }
    if not gone:
        return
    if row.complex is None:
        row.complex = {}
    if shown is None:
        row.complex[index] = ComplexColumn(NO_TIMESTAMP, gone)
    else:
        shown.cells |= gone


def _has_hidden(row: Row) -> bool:
    """Whether tombstones of single cells can't end what the row shows."""
    return is_observed(row) or any(cell[2] == COUNTER_TTL for cell in row.cells.values())
