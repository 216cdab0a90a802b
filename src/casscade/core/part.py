"""A part of a process that works in a thread of its own.

Invariant: whatever ends it by itself is in `failure`, and sets `stop` for all other parts: none dies unnoticed.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class Part(ABC):
    """Its thread runs `work` until that returns, which it does when `stop` is set; `failure` is what it raised."""

    def __init__(self, name: str, stop: threading.Event) -> None:
        self._stop = stop
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def work(self) -> None:
        """All that the thread does."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread, if it was started."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self.failure = error
            self._stop.set()
