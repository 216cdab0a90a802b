"""Messages that are not the next ones of their partition.

Invariant: no offset of the pipeline's own topic is passed over before the broker, asked once more for it, answered with
a later one.

A client that was told to go to another offset may still hand over what it had fetched before. librdkafka drops that,
since 2.x also from a batch that is just being collected; taking one such message would move the position past those
that were never applied, so that it is not left to that alone.
"""

from __future__ import annotations

from typing import Final

from casscade.observability.logs import get_logger

log = get_logger("casscade.load")

Place = tuple[str, int]
"""A topic and the number of one of its partitions."""

BEFORE: Final = "before"
NEXT: Final = "next"
AGAIN: Final = "again"


class Gaps:
    """Judges offsets; keeps the newest gap of each partition that was seen."""

    def __init__(self) -> None:
        self._seen: dict[Place, tuple[int, int]] = {}

    def judge(self, place: Place, expected: int, offset: int, *, own: bool) -> str:
        """`NEXT`: take it. `BEFORE`: it was handed over already. `AGAIN`: read from `expected` once more.

        Topics of others (not `own`) may be written in transactions, whose ends take offsets.
        """
        if offset == expected:
            return NEXT
        if offset < expected:
            return BEFORE
        if not own:
            return NEXT
        if self._seen.get(place) != (expected, offset):
            self._seen[place] = (expected, offset)
            return AGAIN
        del self._seen[place]
        if expected:
            log.warning("the topic has no messages here", place=f"{place[0]}/{place[1]}", first=expected, next=offset)
        return NEXT
