"""How long to wait before the next try.

Invariant: the wait grows to its maximum and stays there; randomness is handed in, so that tests are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

STABLE_S: Final = 60.0
"""What ran for so long was sound: its next failure is a first one again."""


class Backoff:
    """1, 2, 4, 8 … seconds up to `longest_s`, each shortened by up to a quarter so that instances spread out."""

    def __init__(self, random: Callable[[], float], *, first_s: float = 1.0, longest_s: float = 60.0) -> None:
        self._random = random
        self._first_s = first_s
        self._longest_s = longest_s
        self.failures = 0

    def fail(self) -> float:
        """Count a failure; returns the seconds to wait before the next try."""
        wait = min(self._longest_s, self._first_s * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return wait * (1.0 - 0.25 * self._random())

    def succeed(self) -> None:
        """Start again with the shortest wait."""
        self.failures = 0
