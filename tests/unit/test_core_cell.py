"""Which of two cells of one timestamp stays, by the rules of 3.11 and by those of later releases."""

from __future__ import annotations

import pytest

from casscade.core.cell import Cell, expiring_cell, live_cell, reconcile, reconcile_older, tombstone_cell
from casscade.core.mutation import Row
from casscade.merge.row import merge_rows

ONE, MINUS_ONE = b"\x00\x00\x00\x01", b"\xff\xff\xff\xff"
ENDED: Cell = (5, 100, 10, None)


@pytest.mark.requirement("FR-025")
@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        (live_cell(6, MINUS_ONE), live_cell(5, ONE)),
        # Signed bytes: 01 is more than FF. Later releases say the opposite.
        (live_cell(5, ONE), live_cell(5, MINUS_ONE)),
        (live_cell(5, b"ab"), live_cell(5, b"a")),
        (live_cell(5, b"a"), live_cell(5, b"")),
        (tombstone_cell(5), live_cell(5, ONE)),
        (tombstone_cell(5), expiring_cell(5, 100, 10, ONE)),
        # The value comes before the question whether the cell expires.
        (live_cell(5, ONE), expiring_cell(5, 100, 10, MINUS_ONE)),
        (expiring_cell(5, 100, 10, ONE), live_cell(5, MINUS_ONE)),
        (live_cell(5, ONE), expiring_cell(5, 100, 10, ONE)),
        (expiring_cell(5, 101, 10, ONE), expiring_cell(5, 100, 10, ONE)),
        (ENDED, live_cell(5, ONE)),
    ],
)
def test_the_winner_of_3_11(winner: Cell, loser: Cell) -> None:
    assert reconcile_older(winner, loser) == reconcile_older(loser, winner) == winner


def test_later_releases_compare_values_last_and_unsigned() -> None:
    assert reconcile(live_cell(5, ONE), live_cell(5, MINUS_ONE)) == live_cell(5, MINUS_ONE)
    assert reconcile(live_cell(5, ONE), expiring_cell(5, 100, 10, b"")) == expiring_cell(5, 100, 10, b"")


@pytest.mark.parametrize(("older", "shown"), [(True, ONE), (False, MINUS_ONE)])
def test_rows_are_merged_by_the_rules_of_their_cluster(older: bool, shown: bytes) -> None:
    first, second = Row(b"", []), Row(b"", [])
    first.cells[0] = live_cell(5, ONE)
    second.cells[0] = live_cell(5, MINUS_ONE)
    merge_rows(first, second, older)
    assert first.cells[0] == live_cell(5, shown)
