"""Which statement decides a row that is more than a plain write of live cells.

Invariant: the operation chosen is one that the statements of `merge_sql` carry out exactly (see `staged`).
"""

from __future__ import annotations

from casscade.core.cell import NO_TIMESTAMP
from casscade.core.mutation import Row
from casscade.load.layout import RowLayout
from casscade.load.staged import (
    OP_DELETE,
    OP_DOMINATE,
    OP_HIDDEN,
    OP_INSERT,
    OP_PUT_IF_ABSENT,
    OP_REMOVE,
    OP_UPSERT,
)
from casscade.merge.row import is_visible


def choose_operation(layout: RowLayout, row: Row, newest: int, state: bytes | None, now: int, merged: bool) -> int:
    """The operation of a row that is more than a plain write; `state` is its state, `newest` its newest write time."""
    if merged:
        return OP_UPSERT if is_visible(row, now) else OP_REMOVE
    if row.liveness_ts == NO_TIMESTAMP and not row.cells and row.complex is None and row.observed is None:
        return OP_DELETE
    if not is_visible(row, now):
        return OP_HIDDEN
    if state is None:
        if len(row.cells) == layout.simple_count and layout.complex_count == 0:
            return OP_DOMINATE
        return OP_INSERT
    return OP_DOMINATE if row.observed is None and _dominates(layout, row, newest) else OP_PUT_IF_ABSENT


def _dominates(layout: RowLayout, row: Row, newest: int) -> bool:
    if row.liveness_ts != newest and not layout.static:
        return False
    if len(row.cells) != layout.simple_count:
        return False
    for cell in row.cells.values():
        if cell[0] != newest:
            return False
    if layout.complex_count == 0:
        return True
    columns = row.complex
    if columns is None or len(columns) != layout.complex_count:
        return False
    for column in columns.values():
        if column.deletion < newest - 1:
            return False
    return True
