"""An outage of PostgreSQL that outlasts the retries, with the direct transport: chunks wait in the journal.

Invariant: chunks of the commit log are applied in their order: while the journal is read back, new ones wait at the
door. What was taken from the journal stays in it until it is durable in PostgreSQL. What rules hide never gets into it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from casscade.config.load_section import DeadLettersSection
from casscade.core.errors import RetryableError
from casscade.core.position import Position
from casscade.load.contents import Batch
from casscade.observability.logs import get_logger
from casscade.observability.metrics import Metrics
from casscade.pipeline.catalog import Catalog
from casscade.pipeline.hiding import hidden_chunks
from casscade.rules.concealment import excluded_columns
from casscade.rules.hider import Hider
from casscade.transport.chunk import Chunk, JournalProgress, Progress
from casscade.transport.direct import DirectTransport
from casscade.transport.journal import Journal

log = get_logger("casscade.outage")

DIRECTORY: Final = "outage"
_WAIT_S: Final = 0.05
_LOOK_S: Final = 0.2


class Outage:
    """The door of capture and the refuge of the loader (`casscade.load.loader.Refuge`), with the journal between them.

    `start` runs the thread that reads the journal back, at once if an earlier life left something. `failure` says why
    it ended by itself; it then set `stop`.
    """

    def __init__(
        self, journal: Journal, transport: DirectTransport, stop: threading.Event, *, keeps: bool = True
    ) -> None:
        """`keeps`: whether batches are taken at all, else they are waited for."""
        self._keeps = keeps
        self._journal = journal
        self._transport = transport
        self._stop = stop
        self._lock = threading.Lock()
        self._round = 0
        self._away = False
        self._full = False
        # Closed while the journal is read back: what is put then would overtake it.
        self._door = threading.Event()
        self._draining = threading.Event()
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        if journal.waiting:
            self._draining.set()
        else:
            self._door.set()

    def start(self) -> None:
        """Start the thread."""
        if self._journal.waiting:
            log.warning("chunks of an outage wait in the journal: they are applied first", chunks=self._journal.waiting)
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread, and close the journal."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        self._journal.close()

    # For capture: the transport with a door before it.

    def put(self, chunk: Chunk, stop: threading.Event) -> bool:
        """Put a chunk into the transport, once nothing older waits in the journal (see `DirectTransport.put`)."""
        while not self._door.wait(_WAIT_S):
            if stop.is_set():
                return False
        return self._transport.put(chunk, stop)

    def acknowledged(self, source: str) -> Position:
        """What is durable, in PostgreSQL or in the journal."""
        return self._transport.acknowledged(source)

    # For the loader.

    def take(self, batch: Batch, code: str) -> bool:
        """Keep a batch in the journal; what it holds already is only read again later."""
        if not self._keeps:
            return False
        fresh = [chunk for chunk in batch.chunks if not isinstance(chunk.progress, JournalProgress)]
        with self._lock:
            if fresh and not self._append(fresh):
                self._full = True
                return False
            if not self._away:
                log.error("PostgreSQL stays away: chunks wait in the journal until it is back", code=code)
            self._away = True
            self._full = False
            self._round += 1
            self._draining.clear()
            self._door.set()
        return True

    def _append(self, chunks: list[Chunk]) -> bool:
        try:
            kept = self._journal.append(chunks)
        except RetryableError as error:
            log.error("the journal can't be written: what comes waits in the commit log", reason=error.what)
            return False
        if not kept and not self._full:
            log.error("the journal is full: what comes waits in the commit log", bytes=self._journal.bytes_held)
        return kept

    def applied(self, progress: Sequence[Progress]) -> None:
        """Free the journal of what is durable; chunks of an earlier round come once more, so they don't count."""
        with self._lock:
            numbers = [
                each.number for each in progress if isinstance(each, JournalProgress) and each.round == self._round
            ]
            if numbers:
                self._journal.applied(max(numbers) + 1)

    def recovered(self) -> None:
        """PostgreSQL works again: read the journal back."""
        with self._lock:
            self._away = self._full = False
            if self._journal.waiting and not self._draining.is_set():
                self._door.clear()
                self._draining.set()

    # For people.

    def status(self) -> dict[str, Any]:
        """What the status document shows."""
        state = "idle"
        if self._journal.waiting:
            state = "full" if self._full else "draining" if self._draining.is_set() else "filling"
        return {"journal": state, "chunks": self._journal.waiting, "bytes": self._journal.bytes_held}

    def copy(self, metrics: Metrics) -> None:
        """What the metrics show."""
        metrics.set("casscade_journal_bytes", self._journal.bytes_held)
        metrics.set("casscade_journal_waiting_chunks", self._journal.waiting)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self._draining.wait(_LOOK_S):
                    self._drain()
        except BaseException as error:
            self.failure = error
            self._stop.set()

    def _drain(self) -> None:
        """Put everything in the journal into the transport, then open the door; or until the next outage."""
        round_ = self._round
        put = 0
        for number, chunk in self._journal.read():
            own = chunk.own_progress
            waiting = replace(chunk, progress=JournalProgress(round_, number, own))
            while not self._transport.put(waiting, self._stop):
                if self._stop.is_set():
                    return
            put += 1
            if self._round != round_:
                return
        with self._lock:
            if self._round == round_:
                self._draining.clear()
                self._door.set()
                log.info("the journal was read back", chunks=put)


def open_journal(state_directory: Path, letters: DeadLettersSection, catalog: Catalog) -> Journal:
    """The journal of an agent; raises ConfigurationError when it is damaged.

    What the rules of the catalog hide is hidden in what is written to it.
    """
    return Journal(
        state_directory / DIRECTORY,
        bytes_max=letters.journal_bytes,
        free_bytes=letters.disk_free_bytes,
        prepare=lambda chunks: hidden_chunks(catalog_hider(catalog), chunks),
    )


def catalog_hider(catalog: Catalog) -> Hider:
    """What the rules hide, by the schema of this moment."""
    rules = catalog.rules
    return Hider(rules.values(), catalog.tables(), excluded_columns(catalog.written, rules))
