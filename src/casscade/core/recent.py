"""A set of bounded size for what need not be remembered for ever.

Invariant: there are never more than `limit` members; what was added first is forgotten first, also if it was added
again since.
"""

from __future__ import annotations

from collections.abc import Container, Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Recent(Generic[T]):
    """The last `limit` members that were added."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._members: dict[T, None] = {}

    def __contains__(self, member: object) -> bool:
        return member in self._members

    def __len__(self) -> int:
        return len(self._members)

    def add(self, *members: T) -> None:
        """Remember these, in their order."""
        self._members |= dict.fromkeys(members)
        while len(self._members) > self._limit:
            del self._members[next(iter(self._members))]

    def forget(self, members: Container[object]) -> None:
        """Remember none of these."""
        for member in [each for each in self._members if each in members]:
            del self._members[member]
