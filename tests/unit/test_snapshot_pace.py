"""Speed and time left come from the last minute of all who work."""

from __future__ import annotations

import uuid

import pytest

from casscade.snapshot.pace import WINDOW_S, Pace, Speed
from casscade.snapshot.store import TableProgress

ONE, TWO = uuid.uuid4(), uuid.uuid4()


def at(rows: int, fraction: float, table: uuid.UUID = ONE) -> TableProgress:
    return TableProgress(table, "shop.orders", rows, 0, 4, fraction, None)


@pytest.mark.requirement("FR-026")
def test_speed_and_time_left_are_those_between_two_looks() -> None:
    pace = Pace()
    assert pace.speed(ONE) == Speed(None, None)
    pace.add(100.0, [at(1000, 0.1)])
    assert pace.speed(ONE) == Speed(None, None)
    pace.add(110.0, [at(3000, 0.3)])
    rate, left = pace.speed(ONE)
    assert rate == pytest.approx(200)
    assert left == pytest.approx(35)


def test_what_happened_before_the_window_is_forgotten() -> None:
    pace = Pace()
    pace.add(0.0, [at(0, 0.0)])
    for second in range(1000, 1000 + int(WINDOW_S) + 10, 10):
        pace.add(second, [at(second, second / 10_000)])
    rate, _ = pace.speed(ONE)
    assert rate == pytest.approx(1)


def test_a_standstill_has_a_speed_and_no_end() -> None:
    pace = Pace()
    pace.add(0.0, [at(10, 0.5)])
    pace.add(10.0, [at(10, 0.5)])
    assert pace.speed(ONE) == Speed(0.0, None)
    assert pace.remaining() is None


def test_a_table_that_begins_anew_is_measured_from_there() -> None:
    pace = Pace()
    pace.add(0.0, [at(1000, 1.0)])
    pace.add(1.0, [at(0, 0.0)])
    pace.add(3.0, [at(400, 0.5)])
    assert pace.speed(ONE) == Speed(200.0, 2.0)


def test_all_is_over_when_the_last_table_is() -> None:
    pace = Pace()
    assert pace.remaining() is None
    pace.add(0.0, [at(0, 0.0), at(0, 0.0, TWO)])
    pace.add(1.0, [at(1, 0.5), at(1, 0.1, TWO)])
    assert pace.remaining() == pytest.approx(9)
    pace.add(2.0, [at(2, 1.0), at(2, 1.0, TWO)])
    assert pace.remaining() == 0.0
    assert pace.speed(ONE) == Speed(0.0, 0.0)
