"""A thread that looks from time to time whether something changed that the parts were built on.

Invariant: when a look raises, `failure` says so and `stop` is set; nothing else ends the thread but `stop`.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Final

from casscade.core.errors import RetryableError

TABLE_TRUNCATED: Final = "table_truncated"
# One point read of a local table a second; with the new start of the parts, a truncation shows within two.
POLL_S: Final = 1.0


class Watch(ABC):
    """Calls `look` until `stop`; `failure` is what a look raised."""

    name = "truncations"

    def __init__(self, stop: threading.Event, every_s: float = POLL_S) -> None:
        self._stop = stop
        self._every_s = every_s
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    @abstractmethod
    def look(self) -> None:
        """Ask once. Raises what ends this life of the parts."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread, if it was started."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.look()
                self._stop.wait(self._every_s)
        except BaseException as error:
            self.failure = error
            self._stop.set()


def truncated() -> RetryableError:
    """What makes the parts be built anew."""
    return RetryableError(
        TABLE_TRUNCATED,
        "A replicated table was truncated",
        now="its copy is emptied, and what was written behind the truncation is applied again",
    )
