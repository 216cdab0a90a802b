"""Looks at the rows of one relation before they are merged with what is stored of them.

Invariant: nothing is changed; what was found belongs to the batch, whose `findings` are set before its rows come.
"""

from __future__ import annotations

from casscade.core.mutation import Row
from casscade.load.layout import RowLayout
from casscade.merge.conflicts import Findings, copy_row


class Lookout:
    """Conflicts and stale rows of one relation; with `keep_stale` rows are kept as they came, to be set aside."""

    def __init__(self, layout: RowLayout) -> None:
        self._layout = layout
        self.findings = Findings()
        self.keep_stale = False

    def look(self, partition_key: bytes, stored: Row, row: Row) -> None:
        """Note what is in conflict, or stale, before `row` and what is stored of it are merged.

        Staging has put what is stored of inexact values in their place, so that copies are equal.
        """
        layout = self._layout
        if self.findings.meet(partition_key, stored, row, layout.older_ties, static=layout.static):
            self.late(partition_key, stored, row)

    def late(self, partition_key: bytes, stored: Row, row: Row) -> None:
        """Note that `row` changes nothing, because of what is stored."""
        kept = copy_row(row) if self.keep_stale else None
        self.findings.late(partition_key, stored, row, kept, static=self._layout.static)
