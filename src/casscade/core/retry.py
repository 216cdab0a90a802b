"""How often and for how long work that failed for a passing reason is tried again.

Invariant: the clock and the randomness are handed in; work is given up only after `for_s` seconds of failures in a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from casscade.core.backoff import Backoff


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Waits of `first_s`, twice that, and so on up to `longest_s` seconds, for `for_s` seconds in all."""

    first_s: float = 1.0
    longest_s: float = 60.0
    for_s: float = 300.0


class Retries:
    """The failures in a row of one kind of work."""

    def __init__(self, policy: RetryPolicy, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._backoff = Backoff(random, first_s=policy.first_s, longest_s=policy.longest_s)
        self._since: float | None = None
        self._next_at = 0.0

    @property
    def failures(self) -> int:
        """How many failures came since the last success."""
        return self._backoff.failures

    @property
    def failing_s(self) -> float:
        """Seconds since the first of these failures; 0.0 when there is none."""
        return 0.0 if self._since is None else self._clock() - self._since

    @property
    def spent(self) -> bool:
        """Whether the time for retries is over."""
        return self._since is not None and self.failing_s >= self._policy.for_s

    @property
    def wait_s(self) -> float:
        """Seconds until the next try."""
        return 0.0 if self._since is None else max(0.0, self._next_at - self._clock())

    def fail(self) -> float:
        """Count a failure; returns the seconds to wait, which end with the time for retries if that is sooner."""
        now = self._clock()
        if self._since is None:
            self._since = now
        wait = self._backoff.fail()
        left = self._since + self._policy.for_s - now
        if left > 0:
            wait = min(wait, left)
        self._next_at = now + wait
        return wait

    def succeed(self) -> None:
        """The work was done."""
        self._backoff.succeed()
        self._since = None
