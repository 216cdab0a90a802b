"""The threads that read tables for the snapshot, begun anew when the tables have other columns.

Invariant: one reader runs at a time, and the next one reads with the newest targets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from casscade.core.errors import ConfigurationError
from casscade.pipeline.evolution import Evolution
from casscade.pipeline.snapshots import SnapshotReader

# Cassandra refuses a column that was dropped a moment ago; what it goes on to refuse is no matter of time.
REFUSALS_MAX: Final = 20


class Reading:
    """The reader of one life of the parts; `make` makes one for the targets as they are."""

    def __init__(self, make: Callable[[], SnapshotReader], evolution: Evolution) -> None:
        self._make = make
        self._evolution = evolution
        self._reader = make()
        self._refusals = 0

    def start(self) -> None:
        """Start the threads; raises RetryableError or ConfigurationError when Cassandra refuses."""
        self._reader.start()

    def check(self, timeout_s: float) -> None:
        """Raise what stopped a thread, if something did; begin anew if the schema changed."""
        try:
            self._reader.check()
        except ConfigurationError as error:
            self._refusals += 1
            if error.code != "cassandra_refused" or self._refusals > REFUSALS_MAX:
                raise
            self._evolution.look()
            self._evolution.reading_stale.set()
        if self._evolution.reading_stale.is_set():
            self._evolution.reading_stale.clear()
            self._reader.shut_down(timeout_s)
            self._reader = self._make()
            self._reader.start()

    def shut_down(self, timeout_s: float) -> None:
        """Stop the threads and wait for them."""
        self._reader.shut_down(timeout_s)
