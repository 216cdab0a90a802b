"""The order of rows and range bounds inside a partition.

Invariant: the keys of rows and of bounds of one `ClusteringOrder` sort together, as `ClusteringComparator.compare`
sorts them: value by value, each in its column's direction; where a bound's values are used up, it lies before or
after everything that begins with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from casscade.core.errors import InvariantError
from casscade.core.mutation import (
    EXCL_END_BOUND,
    EXCL_END_INCL_START_BOUNDARY,
    EXCL_START_BOUND,
    INCL_END_BOUND,
    INCL_END_EXCL_START_BOUNDARY,
    INCL_START_BOUND,
    Bound,
)
from casscade.cql.faults import bound_malformed
from casscade.cql.order import NULL_KEY, Edge, order_key
from casscade.cql.types import CqlType

_BEFORE: Final = Edge(-2)
_AFTER: Final = Edge(2)
_ROW: Final = 0
_EDGES: Final = {
    EXCL_END_BOUND: _BEFORE,
    INCL_START_BOUND: _BEFORE,
    EXCL_END_INCL_START_BOUNDARY: _BEFORE,
    INCL_END_EXCL_START_BOUNDARY: _AFTER,
    INCL_END_BOUND: _AFTER,
    EXCL_START_BOUND: _AFTER,
}

Clustering = Sequence[bytes | None]
Key = tuple[Any, ...]


BEFORE_ALL: Final = Bound(INCL_START_BOUND, [])
AFTER_ALL: Final = Bound(INCL_END_BOUND, [])


class ClusteringOrder:
    """The order of one table's rows: built once from its clustering types and directions (True: DESC).

    `row` and `bound` give keys; a row is covered by a range if `bound(start) < row(values) < bound(end)`. Both raise
    `BadDataError` for values that do not fit their types.
    """

    def __init__(self, types: Sequence[CqlType], reversed_flags: Sequence[bool]) -> None:
        if len(types) != len(reversed_flags):
            raise InvariantError("clustering_shape", "each clustering column needs a type and a direction")
        self._functions = [
            order_key(cql_type, descending=flag) for cql_type, flag in zip(types, reversed_flags, strict=True)
        ]

    def row(self, values: Clustering) -> Key:
        """The key of a row's clustering values; all columns are there, None where a compact table has a null."""
        if len(values) != len(self._functions):
            raise InvariantError("clustering_shape", "a row has a value for each clustering column")
        keys = [
            NULL_KEY if value is None else function(value)
            for function, value in zip(self._functions, values, strict=True)
        ]
        keys.append(_ROW)
        return tuple(keys)

    def bound(self, bound: Bound) -> Key:
        """The key of a range bound or boundary."""
        edge = _EDGES.get(bound.kind)
        if edge is None or len(bound.values) > len(self._functions):
            raise bound_malformed(bound.kind, len(bound.values))
        keys: list[Any] = [
            NULL_KEY if value is None else function(value)
            for function, value in zip(self._functions, bound.values, strict=False)
        ]
        keys.append(edge)
        return tuple(keys)

    def key(self, place: Bound | Clustering) -> Key:
        """The key of either."""
        return self.bound(place) if isinstance(place, Bound) else self.row(place)


def clustering_key(types: Sequence[CqlType], reversed_flags: Sequence[bool]) -> Callable[[Sequence[bytes | None]], Key]:
    """The function from a row's clustering values to a key that sorts as Cassandra sorts the rows."""
    return ClusteringOrder(types, reversed_flags).row


def compare_bound(order: ClusteringOrder, left: Bound | Clustering, right: Bound | Clustering) -> int:
    """-1, 0 or 1: where `left` lies against `right`; each is a bound or a row's clustering values."""
    left_key = order.key(left)
    right_key = order.key(right)
    if left_key == right_key:
        return 0
    return -1 if left_key < right_key else 1
