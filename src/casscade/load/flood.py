"""A flood of dead letters: so many that the fault is not in single records.

Invariant: the decision is about the mutations of the last `WINDOW_ITEMS`, and needs `LETTERS_MIN` letters at least; a
batch that would make it a flood is not counted, because it is not committed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from casscade.core.errors import InvariantError
from casscade.load.blocked import BLOCKED
from casscade.load.letters import DeadLetter
from casscade.transport.chunk import Chunk

# Two seconds at 10,000/s: long enough that one bad partition is no flood, short enough to stop within seconds.
WINDOW_ITEMS: Final = 20_000
# A few bad records in a quiet hour are no flood, whatever their share.
LETTERS_MIN: Final = 500


class FloodGuard:
    """Knows how many of the last items became dead letters; `percent_max` of 100 allows everything."""

    def __init__(self, percent_max: int) -> None:
        self._percent_max = percent_max
        self._batches: deque[tuple[int, int]] = deque()
        self._items = 0
        self._letters = 0

    def check(self, items: int, letters: int) -> None:
        """Raise InvariantError (`dead_letter_flood`) when a batch of `items` with `letters` among them is too much."""
        letters = max(0, letters)
        of, bad = self._items + max(items, letters), self._letters + letters
        if not letters or bad < LETTERS_MIN or bad * 100 <= of * self._percent_max:
            return
        raise InvariantError(
            "dead_letter_flood",
            f"{bad} of the last {of} rows and mutations can't be applied, more than {self._percent_max} percent",
            now="the pipeline stops; the batch is not committed and will be applied again",
            hint="casscade dlq list shows the causes; when they are understood, raise load.dead_letter_percent_max",
        )

    def committed(self, items: int, letters: int) -> None:
        """A batch is durable."""
        items = max(items, letters)
        self._batches.append((items, letters))
        self._items += items
        self._letters += letters
        while self._batches and self._items - self._batches[0][0] >= WINDOW_ITEMS:
            old_items, old_letters = self._batches.popleft()
            self._items -= old_items
            self._letters -= old_letters


def unforeseen(chunks: Iterable[Chunk], letters: Iterable[DeadLetter]) -> int:
    """How many letters may be a flood: not what is applied again, nor what is written to blocked columns."""
    found = sum(letter.code != BLOCKED for letter in letters)
    return max(0, found - sum(len(chunk.own_ids) for chunk in chunks))
