"""Token ranges cover the ring without gaps or overlaps."""

from __future__ import annotations

import itertools

import pytest

from casscade.core.errors import InvariantError
from casscade.snapshot.ranges import TOKEN_MAX, TOKEN_MIN, split_ring


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 1000, 4096])
def test_ranges_join_and_are_of_equal_length(count: int) -> None:
    ranges = split_ring(count)
    assert len(ranges) == count
    assert ranges[0].start == TOKEN_MIN
    assert ranges[-1].end == TOKEN_MAX
    assert all(left.end == right.start for left, right in itertools.pairwise(ranges))
    lengths = {token_range.end - token_range.start for token_range in ranges}
    assert max(lengths) - min(lengths) <= 1


def test_no_ranges_are_refused() -> None:
    with pytest.raises(InvariantError):
        split_ring(0)
