"""What time it is, for the decision that something with a TTL has ended.

Invariant: nothing ends because one clock alone is ahead: of the clocks of this host and of PostgreSQL's the one that is
behind counts, and a jump of either changes nothing until both were looked at. What ended once does not come back, so
that late is harmless and early is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from psycopg import Connection


class Clock:
    """Unix time in seconds, carried on by a steady clock from the last `look` at both others."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._steady = steady
        self._base = wall() - steady()

    def __call__(self) -> float:
        """Now."""
        return self._base + self._steady()

    def look(self, connection: Connection[Any]) -> None:
        """Ask PostgreSQL; done for each new connection, and once a minute beside the purge of tombstones."""
        row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        assert row is not None
        self._base = min(self._wall(), float(row[0])) - self._steady()
