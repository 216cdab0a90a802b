"""A circuit breaker: after some failures in a row nothing is tried for a while, then one attempt decides.

Invariant: while the circuit is open nothing is tried; half-open lets one attempt through, whose end closes the circuit
or opens it again. The clock is handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

# An answer to a light look may end the open time this early; each attempt that fails after one doubles it.
EARLY_S: Final = 5.0


class CircuitState(StrEnum):
    """Closed: everything is tried. Open: nothing is. Half-open: one attempt is under way or may be made."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Circuit:
    """Opens after `failures_max` failures in a row, for `open_s` seconds."""

    def __init__(self, clock: Callable[[], float], *, failures_max: int = 5, open_s: float = 60.0) -> None:
        self._clock = clock
        self._failures_max = failures_max
        self._open_s = open_s
        self._failures = 0
        self._opened_at = 0.0
        self._early = False
        self._early_failures = 0
        self.state = CircuitState.CLOSED
        self.opened = 0
        """How often it went from closed to open."""

    @property
    def wait_s(self) -> float:
        """Seconds until an attempt is let through."""
        if self.state is not CircuitState.OPEN:
            return 0.0
        return max(0.0, self._opened_at + self._open_s - self._clock())

    def allow(self) -> bool:
        """Whether an attempt may be made now; an open circuit becomes half-open when its time is over."""
        if self.state is CircuitState.OPEN and self.wait_s <= 0:
            self.state = CircuitState.HALF_OPEN
            return True
        return self.state is CircuitState.CLOSED

    def answered(self) -> bool:
        """The server answered a light look: lets one attempt through before the time is over.

        False when the circuit is not open, or when attempts after such answers failed too recently.
        """
        early_s = min(self._open_s, EARLY_S * 2.0 ** min(self._early_failures, 30))
        if self.state is not CircuitState.OPEN or self._clock() - self._opened_at < early_s:
            return False
        self.state = CircuitState.HALF_OPEN
        self._early = True
        return True

    def failed(self) -> None:
        """An attempt failed."""
        self._failures += 1
        if self.state is CircuitState.CLOSED and self._failures < self._failures_max:
            return
        if self.state is CircuitState.CLOSED:
            self.opened += 1
        self._early_failures += self._early
        self._early = False
        self.state = CircuitState.OPEN
        self._opened_at = self._clock()

    def succeeded(self) -> None:
        """An attempt succeeded."""
        self._failures = self._early_failures = 0
        self._early = False
        self.state = CircuitState.CLOSED
