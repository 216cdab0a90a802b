"""A thread that looks from time to time whether something changed that the parts were built on.

Invariant: when a look raises, `failure` says so and `stop` is set; nothing else ends the thread but `stop`.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from typing import Final

from casscade.core.errors import RetryableError
from casscade.core.part import Part

TABLE_TRUNCATED: Final = "table_truncated"
# One point read of a local table a second; with the new start of the parts, a truncation shows within two.
POLL_S: Final = 1.0


class Watch(Part):
    """Calls `look` until `stop`; `failure` is what a look raised."""

    name = "truncations"

    def __init__(self, stop: threading.Event, every_s: float = POLL_S) -> None:
        super().__init__(self.name, stop)
        self._every_s = every_s

    @abstractmethod
    def look(self) -> None:
        """Ask once. Raises what ends this life of the parts."""

    def work(self) -> None:
        """Call `look` again and again."""
        while not self._stop.is_set():
            self.look()
            self._stop.wait(self._every_s)


def truncated() -> RetryableError:
    """What makes the parts be built anew."""
    return RetryableError(
        TABLE_TRUNCATED,
        "A replicated table was truncated",
        now="its copy is emptied, and what was written behind the truncation is applied again",
    )
