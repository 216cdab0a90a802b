"""Times in order of arrival: above all that were given before, in their order within a mutation."""

from __future__ import annotations

import pytest

from casscade.core.cell import NO_EXPIRY, NO_TIMESTAMP, expiring_cell, live_cell
from casscade.core.mutation import Bound, PartitionUpdate, RangeTombstone, Row
from casscade.core.table import TableShape
from casscade.load.arrival import READ_US_MAX, Arrivals

SHAPE = TableShape(b"1" * 16, "ks", "t", [4], [])
OTHER = TableShape(b"2" * 16, "ks", "u", [4], [])
FUTURE = 9_000_000_000_000_000


def _update(*times: int, shape: TableShape = SHAPE) -> PartitionUpdate:
    update = PartitionUpdate(shape, b"k")
    row = Row(b"c", [b"c"])
    row.cells = {index: live_cell(time, b"v") for index, time in enumerate(times)}
    update.rows = [row]
    return update


def _times(update: PartitionUpdate) -> list[int]:
    return [cell[0] for cell in update.rows[0].cells.values()]


@pytest.mark.requirement("FR-025")
def test_times_rise_with_the_arrival_and_keep_their_order_within_a_mutation() -> None:
    arrivals = Arrivals({SHAPE.id})
    first, second, third = _update(FUTURE, 7, 7), _update(3), _update(2)
    arrivals.stamp([first], 5.0, scanned=False)
    arrivals.stamp([second], 5.0, scanned=False)
    arrivals.stamp([third], 4.0, scanned=False)
    assert _times(first) == [5_000_001, 5_000_000, 5_000_000]
    assert (_times(second), _times(third)) == ([5_000_002], [5_000_003])
    assert arrivals.newest == 5_000_003


@pytest.mark.requirement("FR-025")
def test_another_process_goes_on_above_what_was_given_out() -> None:
    arrivals = Arrivals({SHAPE.id})
    arrivals.resume(8_000_000)
    arrivals.resume(1)
    update = _update(1)
    arrivals.stamp([update], 2.0, scanned=False)
    assert _times(update) == [8_000_001]


@pytest.mark.requirement("FR-025")
def test_every_time_of_a_mutation_is_replaced_and_no_expiry() -> None:
    arrivals = Arrivals({SHAPE.id})
    update = _update(9)
    row, static = update.rows[0], Row(b"", [])
    row.liveness_ts, row.deletion = 9, 8
    row.cells[0] = expiring_cell(9, 1234, 60, b"v")
    static.cells[5] = live_cell(9, b"v")
    update.static_row = static
    update.deletion = 7
    update.range_tombstones = [RangeTombstone(Bound(1, []), Bound(6, []), 6)]
    arrivals.stamp([update], 1.0, scanned=False)
    assert (update.range_tombstones[0].deletion, update.deletion, row.deletion) == (1_000_000, 1_000_001, 1_000_002)
    assert (row.liveness_ts, row.liveness_expires_at) == (1_000_003, NO_EXPIRY)
    assert row.cells[0] == (1_000_003, 1234, 60, b"v")
    assert static.cells[5][0] == 1_000_003
    assert static.liveness_ts == NO_TIMESTAMP


@pytest.mark.requirement("FR-025")
def test_what_was_read_keeps_its_time_unless_that_lies_in_the_future() -> None:
    arrivals = Arrivals({SHAPE.id})
    update = _update(5, FUTURE)
    arrivals.stamp([update], 1_000_000.0, scanned=True)
    assert _times(update) == [5, 1_000_000_000_000 - READ_US_MAX]
    assert arrivals.newest == 0


def test_other_tables_keep_their_times() -> None:
    arrivals = Arrivals({SHAPE.id})
    update = _update(5, shape=OTHER)
    arrivals.stamp([update], 1.0, scanned=False)
    assert (_times(update), arrivals.newest) == ([5], 0)
