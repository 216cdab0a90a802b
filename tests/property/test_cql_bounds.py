"""Rows and range bounds under random input, against `ClusteringComparator.compare` written out."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from casscade.core.mutation import Bound
from casscade.cql.bounds import ClusteringOrder, compare_bound
from casscade.cql.types import CqlType
from casscade.cql.values import encode
from tests.support.examples import examples


@settings(max_examples=examples(200))
@given(st.lists(st.booleans(), min_size=1, max_size=3), st.data())
def test_rows_and_bounds_compare_as_the_comparator_says(flags: list[bool], data: st.DataObject) -> None:
    tiny = CqlType("tinyint")
    order = ClusteringOrder([tiny] * len(flags), flags)
    number = st.integers(-1, 1).map(lambda n: encode(tiny, n))
    row = st.lists(number, min_size=len(flags), max_size=len(flags)).map(tuple)
    bound = st.builds(Bound, st.sampled_from([0, 1, 2, 5, 6, 7]), st.lists(number, max_size=len(flags)))
    left, right = data.draw(row | bound), data.draw(row | bound)
    assert compare_bound(order, left, right) == _compare_slowly(flags, left, right)


def _compare_slowly(flags: list[bool], left: Any, right: Any) -> int:
    """`ClusteringComparator.compare`, written out."""
    ranks = {0: 0, 1: 0, 2: 0, 4: 2, 5: 3, 6: 3, 7: 3}
    sides = {0: -1, 1: -1, 2: -1, 4: 0, 5: 1, 6: 1, 7: 1}
    (left_kind, left_values), (right_kind, right_values) = (
        (place.kind, place.values) if isinstance(place, Bound) else (4, place) for place in (left, right)
    )
    for flag, a, b in zip(flags, left_values, right_values, strict=False):
        first, second = (int.from_bytes(v, "big", signed=True) for v in (a, b))
        if first != second:
            return 1 if (first > second) != flag else -1
    if len(left_values) == len(right_values):
        difference = ranks[left_kind] - ranks[right_kind]
        return (difference > 0) - (difference < 0)
    return sides[left_kind] if len(left_values) < len(right_values) else -sides[right_kind]
