"""The loader's two threads: one decodes and folds, one writes; a short queue of batches lies between them.

Invariant: a position is acknowledged upstream only after the transaction that made its effect durable, or after a
refuge holds durably what PostgreSQL does not take; whatever fails before that is applied again, which changes nothing.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import psycopg
from psycopg import Connection

from casscade.core.errors import FencedError
from casscade.load.batch import BatchWriter
from casscade.load.batcher import Batcher
from casscade.load.contents import Batch
from casscade.load.counters import BatchCounts
from casscade.load.isolation import is_data_error
from casscade.load.observer import Committed, Observer
from casscade.load.session import Listener, Outcome, PostgresSession, SessionOptions, Work
from casscade.transport.chunk import JournalProgress, Progress
from casscade.transport.direct import DirectTransport

# Two batches wait while one is written: enough to keep the writer busy, few enough to keep memory flat.
BATCHES_QUEUED_MAX = 2
# Expiry has to show within two seconds of its time.
REAP_INTERVAL_S = 0.5
PURGE_INTERVAL_S = 60.0
# Sources of which nothing came are committed this often too: it tells that all works, and that they are still ours.
CHECKPOINT_INTERVAL_S = 10.0
_IDLE_WAIT_S = 0.05
# A source that is silent for so long has nothing more just now: its last writes need not wait for batch_ms.
_LINGER_S = 0.02


class Refuge(Protocol):
    """Where batches go whose time for retries is over, until PostgreSQL is back. Called by the writing thread."""

    def take(self, batch: Batch, code: str) -> bool:
        """Keep a batch durably; False when there is no room: then it is waited for."""

    def applied(self, progress: Sequence[Progress]) -> None:
        """What came back from here is durable in PostgreSQL."""

    def recovered(self) -> None:
        """PostgreSQL works again."""


class Loader:
    """Takes chunks from the transport until `stop` is set; `failure` says why it ended by itself.

    `refuge` keeps what PostgreSQL did not take in all the time for retries; without one the loader tries on for ever.
    `look` tells whether PostgreSQL answers at all (see `PostgresSession`).

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
        *,
        refuge: Refuge | None = None,
        look: Callable[[], bool] = lambda: True,
        options: SessionOptions | None = None,
    ) -> None:
        self._transport = transport
        self._batcher = batcher
        self._writer = writer
        self._refuge = refuge
        self._stop = stop
        self._observer = observer
        self._on_fenced = on_fenced
        self._halted = False
        # With the life of the queue that they come from: what was taken in before `discard` is of one that is over.
        self._batches: queue.Queue[tuple[int, Batch]] = queue.Queue(BATCHES_QUEUED_MAX)
        self.session = PostgresSession(
            connect, writer.prepare, look, stop, _Relay(observer, refuge), options or SessionOptions(), beat=self._beat
        )
        self._checkpoint_at = time.monotonic() + CHECKPOINT_INTERVAL_S
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
                batch = batcher.take()
                self._writer.encode_ahead(batch)
                self._hand_over(life, batch)

    def _hand_over(self, life: int, batch: Batch) -> None:
        while not self._stop.is_set():
            self.beats["decode"] = time.monotonic()
            try:
                self._batches.put((life, batch), timeout=_IDLE_WAIT_S)
            except queue.Full:
                continue
            return

    def _beat(self) -> None:
        self.beats["write"] = time.monotonic()

    def _write(self) -> None:
        next_reap = next_purge = time.monotonic()
        while not self._stop.is_set():
            self._beat()
            now = self.beats["write"]
            if now >= next_reap and not self._halted:
                self._owned(self._try(self._reap))
                next_reap = time.monotonic() + REAP_INTERVAL_S
            if now >= next_purge:
                self._try(self._purge)()
                next_purge = time.monotonic() + PURGE_INTERVAL_S
            if now >= self._checkpoint_at and not self._halted:
                self._owned(self._try(self._checkpoint))
            try:
                life, batch = self._batches.get(timeout=_IDLE_WAIT_S)
            except queue.Empty:
                continue
            if life != self._transport.life or self._halted:
                continue
            self._owned(partial(self._settle, batch))
        self.session.close()

    def _try(self, work: Work) -> Callable[[], None]:
        """One attempt, if PostgreSQL may be asked at all: what is left undone is done next time."""

        def attempt() -> None:
            if self.session.due():
                self.session.attempt(work)

        return attempt

    def _owned(self, work: Callable[[], None]) -> None:
        """Do work that proves who owns sources; halts when one has another owner (see the class)."""
        try:
            work()
        except FencedError as error:
            if self._on_fenced is None:
                raise
            self._halted = True
            self._on_fenced(error)

    def _settle(self, batch: Batch) -> None:
        """Apply a batch, or bring it to where it waits for PostgreSQL; what is neither comes again from its source."""
        outcome = self.session.run(partial(self._apply, batch=batch), give_up=self._refuge is not None)
        if outcome is Outcome.SPENT and not self._give_up(batch):
            outcome = self.session.run(partial(self._apply, batch=batch), give_up=False)
        if outcome is Outcome.DONE:
            for source in batch.positions:
                self._transport.acknowledge(source, self._writer.sources.position(source))

    def _give_up(self, batch: Batch) -> bool:
        """The time for retries is over: the batch becomes dead letters. False when they can't be kept anywhere.

        What has waited before, and fails again although PostgreSQL works, goes to the table of dead letters.
        """
        assert self._refuge is not None
        state = self.session.state()
        again = any(isinstance(progress, JournalProgress) for progress in batch.progress)
        if again and not self.session.lost and self.session.attempt(partial(self._set_aside, batch=batch)):
            return True
        if not self._refuge.take(batch, state.code):
            return False
        for source, position in batch.positions.items():
            self._transport.acknowledge(source, position)
        return True

    def _apply(self, connection: Connection[Any], batch: Batch) -> None:
        started = time.monotonic()
        try:
            counts = self._writer.apply(connection, batch)
        except psycopg.Error as error:
            if not is_data_error(error):
                raise
            counts = self._writer.apply_isolated(connection, batch)
        self._tell(batch, counts, started)

    def _set_aside(self, connection: Connection[Any], batch: Batch) -> None:
        started = time.monotonic()
        state = self.session.state()
        self._tell(batch, self._writer.set_aside(connection, batch, state.code, state.failures), started)

    def _tell(self, batch: Batch, counts: BatchCounts, started: float) -> None:
        if self._refuge is not None:
            self._refuge.applied(batch.progress)
        seconds = time.monotonic() - started
        self._observer.committed(
            Committed(counts, time.time(), seconds, batch.mutations, batch.write_times, batch.positions)
        )
        self._observer.checkpointed(batch.positions, whole=False)

    def _checkpoint(self, connection: Connection[Any]) -> None:
        self._writer.checkpoint(connection)
        self._checkpoint_at = time.monotonic() + CHECKPOINT_INTERVAL_S
        sources = self._writer.sources
        positions = {source: sources.position(source) for source in sources.names()}
        self._observer.checkpointed(positions, whole=True)

    def _reap(self, connection: Connection[Any]) -> None:
        counts = self._writer.reap(connection)
        if counts.postponed:  # perhaps for one that was stopped within its batch
            self.session.free(connection)
        if counts.expired or counts.dead_letters or counts.postponed or counts.waiting:
            self._observer.reaped(counts)

    def _purge(self, connection: Connection[Any]) -> None:
        self._writer.purge(connection)


class _Relay(Listener):
    """Tells the observer and the refuge."""

    def __init__(self, observer: Observer, refuge: Refuge | None) -> None:
        self._observer = observer
        self._refuge = refuge

    def retrying(self, code: str, wait_s: float, failures: int) -> None:
        self._observer.retrying(code, wait_s, failures)

    def recovered(self) -> None:
        self._observer.recovered()
        if self._refuge is not None:
            self._refuge.recovered()

    def freed(self, sessions: int) -> None:
        self._observer.freed(sessions)
