"""Which Kafka partitions this loader owns, and how they come and go.

Invariant: a partition that was given up is not committed any more by this process, whatever is still in flight; one
that was drained has nothing in flight.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import psycopg
from psycopg import Connection

from casscade.core import failpoints
from casscade.core.backoff import Backoff
from casscade.core.errors import FencedError, RetryableError
from casscade.core.position import START, Position
from casscade.load.arrival import Arrivals, newest_arrival
from casscade.load.control import ControlStore
from casscade.load.loader import Loader
from casscade.load.sources import Sources
from casscade.observability.logs import get_logger
from casscade.pipeline.database import Database

log = get_logger("casscade.load")

# Within the time that the group waits for a member to give partitions up (`max.poll.interval.ms`, 5 minutes); a
# PostgreSQL that does not answer within it gets them applied by the next owner.
DRAIN_TIMEOUT_S: Final = 15.0
_LOOK_S: Final = 0.02


class Partitions:
    """Asked by `KafkaSource` (see its `Owner`); `fenced` may be called by the thread of the loader."""

    def __init__(
        self,
        database: Database,
        control: ControlStore,
        sources: Sources,
        loader: Callable[[], Loader],
        stop: threading.Event,
        require_unchanged: Callable[[Connection[Any]], None],
        beginnings: Mapping[str, Position] | None = None,
        arrivals: Arrivals | None = None,
    ) -> None:
        """`require_unchanged` raises RetryableError when the parts must be built anew before a partition is read;
        `beginnings` tell from where a partition is read of which nothing was applied, by default its offset 0;
        `arrivals` learn of each partition what its owners before gave out."""
        self._database = database
        self._control = control
        self._sources = sources
        self._loader = loader
        self._stop = stop
        self._require_unchanged = require_unchanged
        self._beginnings = beginnings or {}
        self._arrivals = arrivals or Arrivals()
        self._lock = threading.Lock()
        self._fenced: list[str] = []
        self._drained: set[str] = set()

    def acquire(self, source: str) -> Position:
        """Take a partition over; waits while PostgreSQL is away, since nothing can be loaded then.

        Raises RetryableError when the process is stopped meanwhile.
        """
        backoff = Backoff(random.random)
        while not self._stop.is_set():
            try:
                with self._database.transaction() as connection:
                    self._require_unchanged(connection)
                    epoch, position = self._control.acquire(connection, source)
                    if self._arrivals.tables:
                        self._arrivals.resume(newest_arrival(self._control, connection))
            except psycopg.OperationalError as error:
                wait = backoff.fail()
                log.warning(
                    "PostgreSQL failed, a partition is taken over later",
                    source=source,
                    code=error.sqlstate or "connection",
                    wait_s=round(wait, 1),
                )
                self._stop.wait(wait)
                continue
            position = max(position, self._beginnings.get(source, START))
            self._sources.own(source, epoch, position)
            if failpoints.ARMED:
                failpoints.reach("partition_acquired")
            log.info("took a partition over", source=source, epoch=epoch, position=position.offset)
            return position
        raise RetryableError("stopping", "The process stops while it takes a partition over")

    def drain(self, handed: Mapping[str, Position]) -> None:
        """Wait until `handed` is committed, or the time is over."""
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        waiting = {source for source, end in handed.items() if self._sources.position(source) < end}
        while waiting and time.monotonic() < deadline and not self._stop.is_set() and not self._fenced:
            time.sleep(_LOOK_S)
            waiting = {source for source in waiting if self._sources.position(source) < handed[source]}
        self._drained = handed.keys() - waiting

    def release(self, sources: Sequence[str]) -> bool:
        """Give partitions up; whether everything in flight was thrown away with what is left of them."""
        owned = set(self._sources.names())
        leaving = [source for source in sources if source in owned]
        for source in leaving:
            self._sources.disown(source)
            log.info("gave a partition up", source=source)
            if failpoints.ARMED:
                failpoints.reach("partition_released")
        given_up = self._loader().halted or not self._drained.issuperset(leaving)
        self._drained = set()
        if given_up:
            self._loader().discard()
        return given_up

    def interrupted(self) -> Sequence[str] | None:
        """Partitions that have another owner, once."""
        with self._lock:
            if not self._fenced:
                return None
            fenced, self._fenced = self._fenced, []
        with suppress(psycopg.OperationalError), self._database.transaction() as connection:
            self._require_unchanged(connection)
        return fenced

    def fenced(self, error: FencedError) -> None:
        """The loader met a newer epoch and halted."""
        log.warning("another loader took a partition over", source=error.where)
        with self._lock:
            self._fenced.append(error.where)

    def applied(self, source: str) -> Position:
        """The committed position."""
        return self._sources.position(source)
