"""Token ranges of Murmur3Partitioner.

Invariant: the ranges of one split are disjoint, in order, and cover every token that a partition can have.

The ring is cut at its minimum, so that no range wraps around: `token(...) > start AND token(...) <= end` holds for
each of them. No partition has the minimum itself as its token (`Murmur3Partitioner.normalize`).
"""

from __future__ import annotations

import itertools
from typing import Final, NamedTuple

from casscade.core.errors import InvariantError

TOKEN_MIN: Final = -(1 << 63)
TOKEN_MAX: Final = (1 << 63) - 1


class TokenRange(NamedTuple):
    """The tokens in (start, end]."""

    start: int
    end: int


def split_ring(count: int) -> list[TokenRange]:
    """The whole ring as `count` ranges whose lengths differ by at most one token."""
    if count < 1:
        raise InvariantError("snapshot_ranges", f"a ring can't be split into {count} ranges")
    bounds = [TOKEN_MIN + ((TOKEN_MAX - TOKEN_MIN) * i) // count for i in range(count + 1)]
    return [TokenRange(start, end) for start, end in itertools.pairwise(bounds)]
