"""Gaps as the control schema knows them.

Invariant: a gap is in one state, and only those in `DUE` are still to be repaired.
"""

from __future__ import annotations

import uuid
from typing import Final, NamedTuple

from casscade.core.position import Position

OPEN: Final = "open"
READING: Final = "reading"
COMPARING: Final = "comparing"
REPAIRED: Final = "repaired"
IGNORED: Final = "ignored"
DUE: Final = (OPEN, READING, COMPARING)
"""States of a gap that is not repaired."""

UNCOMPARED: Final = "not compared:"
"""Before the name of a table in the detail of a gap whose lost deletions of it are not found."""

GapCounts = dict[tuple[str, str], tuple[int, int]]
"""By reason and state: gaps, and rows that were repaired."""


class Gap(NamedTuple):
    """A gap that is known; `table_id` is None where every table is concerned."""

    gap_id: int
    source: str
    reason: str
    position: Position
    detail: str
    table_id: uuid.UUID | None
    state: str
    rows_repaired: int
    detected_at: float
