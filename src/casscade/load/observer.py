"""What the loader tells while it works, and whom.

Invariant: it names no client of any database, so that whoever only listens needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from casscade.core.position import Position
from casscade.load.counters import BatchCounts


@dataclass(frozen=True, slots=True)
class Committed:
    """A batch that is durable: when (Unix seconds), how long it took, its streamed mutations and their write times
    (microseconds).
    """

    counts: BatchCounts
    at: float
    seconds: float
    mutations: int
    write_times: list[int]
    positions: Mapping[str, Position]


class Observer:
    """What the loader tells while it works; every method may be called from its threads."""

    def committed(self, committed: Committed) -> None:
        """A batch was committed."""

    def checkpointed(self, positions: Mapping[str, Position], *, whole: bool) -> None:
        """These positions are durable: a batch's, or with `whole` those of all sources that are owned."""

    def reaped(self, counts: BatchCounts) -> None:
        """Expired rows were applied."""

    def retrying(self, code: str, wait_s: float, failures: int) -> None:
        """PostgreSQL failed with `code`; the same work is tried again after `wait_s`."""

    def recovered(self) -> None:
        """PostgreSQL works again."""

    def freed(self, sessions: int) -> None:
        """Sessions of processes that do not go on were ended, because others waited for their locks."""
