"""Rows that a loader reads for a snapshot or again go to Kafka too, so that each key keeps its one writer.

Invariant: progress is committed in PostgreSQL only after the brokers hold the rows that it stands for.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import psycopg
from psycopg import Connection

from casscade.observability.logs import get_logger
from casscade.pipeline.database import Database
from casscade.transport.chunk import Chunk, ReadProgress
from casscade.transport.kafka.client import KafkaSettings
from casscade.transport.kafka.outlet import KafkaOutlet

log = get_logger("casscade.load")

_POLL_S: Final = 0.05
# Progress that one transaction commits: as much as came meanwhile; each entry is some bytes.
_PROGRESS_MAX: Final = 1000
_CLOSE_TIMEOUT_S: Final = 5.0


class SnapshotOutlet:
    """Produces chunks of snapshots and rechecks; `put` may be called by any thread, one at a time is served.

    `hide` takes out of a chunk what must not get into Kafka. `failure` says why it ended by itself; it then set `stop`.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        database: Database,
        commit_progress: Callable[[Connection[Any], ReadProgress], None],
        stop: threading.Event,
        hide: Callable[[Chunk], list[Chunk]] | None,
    ) -> None:
        self._outlet = KafkaOutlet(settings)
        self._hide = hide
        self._database = database
        self._commit_progress = commit_progress
        self._stop = stop
        self._producing = threading.Lock()
        self._done: queue.SimpleQueue[ReadProgress] = queue.SimpleQueue()
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="snapshot-produce", daemon=True)

    def start(self) -> None:
        """Start the thread that serves acknowledgements."""
        self._thread.start()

    def put(self, chunk: Chunk, stop: threading.Event) -> bool:
        """Produce a chunk; False when `stop` was set before there was room."""
        progress = chunk.progress
        # Dead letters that are replayed are settled by the loader that applies them.
        done = partial(self._done.put, progress) if isinstance(progress, ReadProgress) else None
        *notes, shown = [chunk] if self._hide is None else self._hide(chunk)
        with self._producing:
            return all(self._outlet.put(each, stop) for each in notes) and self._outlet.put(shown, stop, done)

    def close(self, timeout_s: float) -> None:
        """End the thread and the producer; what is not acknowledged yet is read again by the next life."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        self._outlet.close(_CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._outlet.poll(_POLL_S)
                self._commit()
        except BaseException as error:
            self.failure = error
            self._stop.set()

    def _commit(self) -> None:
        """Commit the progress of what is acknowledged; an outage of PostgreSQL only delays it."""
        done: list[ReadProgress] = []
        while len(done) < _PROGRESS_MAX and not self._done.empty():
            done.append(self._done.get())
        if not done:
            return
        try:
            with self._database.transaction() as connection:
                for progress in done:
                    self._commit_progress(connection, progress)
        except psycopg.OperationalError as error:
            log.warning("PostgreSQL failed, progress is kept for later", code=error.sqlstate or "connection")
            for progress in done:
                self._done.put(progress)
            self._stop.wait(1.0)
