"""The loader's two threads: one decodes and folds, one writes; a short queue of batches lies between them.

Invariant: a position is acknowledged upstream only after the transaction that made its effect durable; whatever fails
before that is applied again, which changes nothing.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
from psycopg import Connection

from casscade.core.backoff import Backoff
from casscade.core.errors import CasscadeError, FencedError, InvariantError
from casscade.load.batch import Batch, BatchWriter
from casscade.load.batcher import Batcher
from casscade.load.isolation import is_data_error
from casscade.load.observer import Committed, Observer
from casscade.load.stuck import TIMED_OUT, end_stuck_sessions
from casscade.transport.direct import DirectTransport

# Two batches wait while one is written: enough to keep the writer busy, few enough to keep memory flat.
BATCHES_QUEUED_MAX = 2
# Expiry has to show within two seconds of its time.
REAP_INTERVAL_S = 0.5
PURGE_INTERVAL_S = 60.0
_IDLE_WAIT_S = 0.05
# A source that is silent for so long has nothing more just now: its last writes need not wait for batch_ms.
_LINGER_S = 0.02
# SQLSTATE classes that pass by themselves: connection, resources, operator intervention, serialization, locks.
_TRANSIENT_CLASSES = ("08", "53", "57", "58", "40")
_TRANSIENT_STATES = frozenset({"55P03", "25P02", "25P03", "25006"})


def is_transient(error: psycopg.Error) -> bool:
    """Whether trying the same batch again can help."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return state[:2] in _TRANSIENT_CLASSES or state in _TRANSIENT_STATES


class Loader:
    """Takes chunks from the transport until `stop` is set; `failure` says why it ended by itself.

    A source that has another owner ends the loader, or with `on_fenced` only halts it: nothing is applied until
    `discard` was called, after which sources are read again from their positions.
    """

    def __init__(
        self,
        transport: DirectTransport,
        batcher: Batcher,
        writer: BatchWriter,
        connect: Callable[[], Connection[Any]],
        stop: threading.Event,
        observer: Observer,
        on_fenced: Callable[[FencedError], None] | None = None,
    ) -> None:
        self._transport = transport
        self._batcher = batcher
        self._writer = writer
        self._connect = connect
        self._stop = stop
        self._observer = observer
        self._on_fenced = on_fenced
        self._halted = False
        # With the life of the queue that they come from: what was taken in before `discard` is of one that is over.
        self._batches: queue.Queue[tuple[int, Batch]] = queue.Queue(BATCHES_QUEUED_MAX)
        self._connection: Connection[Any] | None = None
        self._backoff = Backoff(random.random)
        self._timed_out = False
        self.failure: BaseException | None = None
        self.beats: dict[str, float] = {"decode": time.monotonic(), "write": time.monotonic()}
        self._threads = [
            threading.Thread(target=self._guard, args=(self._decode,), name="decode", daemon=True),
            threading.Thread(target=self._guard, args=(self._write,), name="write", daemon=True),
        ]

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for both threads to end."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def halted(self) -> bool:
        """Whether it waits for `discard`."""
        return self._halted

    def discard(self) -> None:
        """Forget everything that was taken in and is not applied, and go on.

        The caller is the one who puts chunks into the transport: nothing new may come before this returns.
        """
        self._transport.clear()
        self._halted = False

    def _guard(self, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:
            if self.failure is None:
                self.failure = error
            self._stop.set()

    def _decode(self) -> None:
        batcher = self._batcher
        life = self._transport.life
        while not self._stop.is_set():
            self.beats["decode"] = time.monotonic()
            patience = min(_LINGER_S, batcher.remaining_s()) if batcher.waiting else _IDLE_WAIT_S
            now, chunk = self._transport.take(patience)
            if now != life:
                life = now
                batcher.take()
            if chunk is not None:
                batcher.add(chunk)
            if batcher.full() or (chunk is None and batcher.waiting):
                self._hand_over(life, batcher.take())

    def _hand_over(self, life: int, batch: Batch) -> None:
        while not self._stop.is_set():
            self.beats["decode"] = time.monotonic()
            try:
                self._batches.put((life, batch), timeout=_IDLE_WAIT_S)
            except queue.Full:
                continue
            return

    def _write(self) -> None:
        next_reap = next_purge = time.monotonic()
        while not self._stop.is_set():
            self.beats["write"] = time.monotonic()
            if self.beats["write"] >= next_reap and not self._halted:
                self._persist_owned(self._reap)
                next_reap = time.monotonic() + REAP_INTERVAL_S
            if self.beats["write"] >= next_purge:
                self._persist(self._purge)
                next_purge = time.monotonic() + PURGE_INTERVAL_S
            try:
                life, batch = self._batches.get(timeout=_IDLE_WAIT_S)
            except queue.Empty:
                continue
            if life != self._transport.life or self._halted:
                continue
            if self._persist_owned(partial(self._apply, batch=batch)):
                for source in batch.positions:
                    self._transport.acknowledge(source, self._writer.sources.position(source))
        self._close()

    def _persist_owned(self, work: Callable[[Connection[Any]], None]) -> bool:
        """As `_persist`, for work that proves who owns sources; False when one has another owner (see the class)."""
        try:
            self._persist(work)
        except FencedError as error:
            if self._on_fenced is None:
                raise
            self._halted = True
            self._on_fenced(error)
            return False
        return True

    def _apply(self, connection: Connection[Any], batch: Batch) -> None:
        started = time.monotonic()
        try:
            counts = self._writer.apply(connection, batch)
        except psycopg.Error as error:
            if not is_data_error(error):
                raise
            counts = self._writer.apply_isolated(connection, batch)
        self._observer.committed(
            Committed(
                counts,
                time.time(),
                time.monotonic() - started,
                batch.mutations,
                batch.write_times,
                batch.positions,
            )
        )

    def _reap(self, connection: Connection[Any]) -> None:
        counts = self._writer.reap(connection)
        if counts.expired or counts.dead_letters:
            self._observer.reaped(counts)

    def _purge(self, connection: Connection[Any]) -> None:
        self._writer.purge(connection)

    def _persist(self, work: Callable[[Connection[Any]], None]) -> None:
        """Do `work` until it succeeds or the loader stops; a connection that failed is replaced."""
        while not self._stop.is_set():
            self.beats["write"] = time.monotonic()
            try:
                if self._connection is None:
                    self._connection = self._connect()
                    self._writer.prepare(self._connection)
                if self._timed_out:
                    self._timed_out = False
                    self._free(self._connection)
                work(self._connection)
            except psycopg.Error as error:
                self._close()
                self._timed_out = error.sqlstate in TIMED_OUT
                if not is_transient(error):
                    raise _not_transient(error) from error
                wait = self._backoff.fail()
                self._observer.retrying(error.sqlstate or "connection", wait, self._backoff.failures)
                self._stop.wait(wait)
                continue
            except CasscadeError:
                self._close()
                raise
            if self._backoff.failures:
                self._backoff.succeed()
                self._observer.recovered()
            return

    def _free(self, connection: Connection[Any]) -> None:
        """Before what timed out is tried again: end the sessions that it may have waited for in vain."""
        ended = end_stuck_sessions(connection)
        if ended:
            self._observer.freed(ended)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _not_transient(error: psycopg.Error) -> InvariantError:
    return InvariantError(
        "postgres_refused",
        f"PostgreSQL refused a batch with SQLSTATE {error.sqlstate} ({type(error).__name__})",
        now="the pipeline stops; the batch is not committed and will be applied again",
        hint="casscade check compares the target tables with what is expected",
    )
