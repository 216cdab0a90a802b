"""A thread that looks every second whether a table was truncated.

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

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="truncations", daemon=True)

    @abstractmethod
    def look(self) -> None:
        """Ask once. Raises RetryableError with code `table_truncated` when the parts must be built anew."""

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
                self._stop.wait(POLL_S)
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
