"""How fast a snapshot goes on just now, by all who work on it, and how long that will take.

Invariant: a figure comes from the last `WINDOW_S` seconds alone, so that a pause or an outage long ago distorts none.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Collection
from typing import Final, NamedTuple

from casscade.snapshot.store import TableProgress

WINDOW_S: Final = 60.0
SAMPLES_MAX: Final = 600
"""Ten a second at most; older ones leave."""


class Speed(NamedTuple):
    """Rows a second, and the seconds left; None while nothing is known."""

    rows_per_second: float | None
    eta_seconds: float | None


_UNKNOWN: Final = Speed(None, None)


class Pace:
    """Remembers progress; `now` is any clock in seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, dict[uuid.UUID, TableProgress]]] = deque(maxlen=SAMPLES_MAX)

    def add(self, now: float, progress: Collection[TableProgress]) -> None:
        """Note how far all tables are at `now`."""
        self._samples.append((now, {table.table_id: table for table in progress}))
        while len(self._samples) > 2 and self._samples[1][0] < now - WINDOW_S:
            self._samples.popleft()

    def speed(self, table_id: uuid.UUID) -> Speed:
        """Of one table. Rows are taken to be spread evenly over the tokens."""
        found = [(at, sample[table_id]) for at, sample in self._samples if table_id in sample]
        # A table that was started again begins anew.
        for i in range(len(found) - 1, 0, -1):
            if found[i][1].fraction < found[i - 1][1].fraction:
                found = found[i:]
                break
        if not found:
            return _UNKNOWN
        (first_at, first), (last_at, last) = found[0], found[-1]
        if last.fraction >= 1:
            return Speed(0.0, 0.0)
        if last_at <= first_at:
            return _UNKNOWN
        seconds = last_at - first_at
        share = last.fraction - first.fraction
        rate = max(0.0, (last.rows - first.rows) / seconds)
        return Speed(rate, (1 - last.fraction) * seconds / share if share > 0 else None)

    def remaining(self) -> float | None:
        """Seconds until every table is read; None while one is unknown. The tables share the workers."""
        if not self._samples:
            return None
        latest = self._samples[-1][1]
        open_tables = [table_id for table_id, table in latest.items() if table.fraction < 1]
        speeds = [self.speed(table_id) for table_id in open_tables]
        moving = [speed.eta_seconds for speed in speeds if speed.eta_seconds is not None]
        if not open_tables:
            return 0.0
        # Tables are read one after another, each by all: what has not begun yet can't be estimated.
        return max(moving) if len(moving) == len(open_tables) else None
