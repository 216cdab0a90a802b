"""A bounded set: what was added first goes first."""

from __future__ import annotations

from casscade.core.recent import Recent


def test_what_was_added_first_is_forgotten_first() -> None:
    recent = Recent[int](3)
    recent.add(1, 2)
    recent.add(1)
    recent.add(3, 4)
    assert [number in recent for number in (1, 2, 3, 4)] == [False, True, True, True]
    assert len(recent) == 3


def test_one_call_may_bring_more_than_there_is_room_for() -> None:
    recent = Recent[int](2)
    recent.add(*range(10))
    assert [number for number in range(10) if number in recent] == [8, 9]


def test_what_is_forgotten_makes_room() -> None:
    recent = Recent[int](2)
    recent.add(1, 2)
    recent.forget([2, 7])
    recent.add(3)
    assert [number in recent for number in (1, 2, 3)] == [True, False, True]
