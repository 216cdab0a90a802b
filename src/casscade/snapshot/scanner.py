"""Reads the existing rows of tables by token range and puts them on the transport as mutations.

Invariant: a chunk's progress names a token only when every row up to it is in this or an earlier chunk of the task,
so that a task killed at any moment goes on behind it and loses nothing; what is read twice merges to the same.

It runs beside the stream, with no window in between: capture must hold its first position before the first range is
read. A write is then either in the stream, or was acknowledged before and thus visible to a read at QUORUM; most are
both, which does no harm (see `casscade.snapshot.rows`). Workers are threads; a full transport makes them wait.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from psycopg import OperationalError

from casscade.commitlog.observations import OBSERVING
from casscade.core import failpoints
from casscade.core.errors import RetryableError
from casscade.core.limits import CHUNK_BYTES_MAX, CHUNK_MUTATIONS_MAX
from casscade.core.position import Position
from casscade.schema.faults import OUTDATED, reading
from casscade.snapshot.page import Page
from casscade.snapshot.plain import EncodedPart
from casscade.snapshot.rows import TableScan
from casscade.snapshot.store import ALL, SnapshotStore, SnapshotTask
from casscade.transport.chunk import Chunk, SnapshotProgress

SOURCE: Final = "snapshot"

ATTEMPTS_MAX: Final = 10
# A node that is altering a table takes moments; after that the schema has to be read again.
OUTDATED_ATTEMPTS_MAX: Final = 3
"""Tries of one page: with pauses of 0.5 s doubled up to 30 s, a node has about two minutes to come back."""

PAUSE_SECONDS_FIRST: Final = 0.5
PAUSE_SECONDS_MAX: Final = 30.0

LOOK_AGAIN_S: Final = 1.0
"""While nothing can be claimed: tasks may be made, a pause may end, those of a process that died fall to others."""

PAUSE_CHECK_S: Final = 1.0
"""How often a worker looks between two pages whether its table was paused: one small read a second in each process."""

PAGE_ROWS_FIRST: Final = 100
"""Rows of a table's first page, before anything is known of their size."""

PAGE_BYTES_MAX: Final = 4 * CHUNK_BYTES_MAX
"""A page of more bytes makes the next one shorter, so that wide rows don't fill the memory of workers x page_rows."""


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """`consistency` is the driver's number; `rows_per_second` bounds all workers together, None does not.

    `endless` workers look for tasks until they are stopped; others end when every task is done, whoever did it.
    """

    consistency: int
    page_rows: int = 1000
    workers: int = 2
    rows_per_second: float | None = None
    endless: bool = False


class PageSource(Protocol):
    """Where pages come from: `casscade.snapshot.wire.RawSession`."""

    def prepare(self, query: str, consistency: int) -> Any: ...

    def fetch(self, statement: Any, bounds: tuple[int, int], rows: int, paging_state: bytes | None) -> Page: ...


class ChunkBuilder:
    """Turns the partitions of one task into chunks, and knows how far they are complete."""

    def __init__(self, task: SnapshotTask) -> None:
        self._task = task
        self._complete = task.last_token
        self._token = task.last_token
        self._rows = 0
        self._sent = 0
        self._read_at = 0.0
        self._mutations: list[bytes] = []
        self._size = 0

    def add(self, parts: list[EncodedPart], read_at: float) -> Iterator[Chunk]:
        """Take the mutations of a page that was asked for at `read_at` (Unix time); yields chunks as they fill."""
        # Not the time of sending: rows that were read before a truncation are void, whenever they are sent.
        self._read_at = read_at
        for part in parts:
            if part.token != self._token:
                # Partitions come by token: a new one ends the last. Two partitions may share a token.
                self._complete = self._token
                self._token = part.token
            self._mutations.append(part.mutation)
            self._size += len(part.mutation)
            self._rows += part.rows
            if len(self._mutations) >= CHUNK_MUTATIONS_MAX or self._size >= CHUNK_BYTES_MAX:
                yield self.flush(done=False)

    def flush(self, *, done: bool) -> Chunk:
        """What was collected since the last chunk; with `done` the whole range is complete."""
        if done:
            self._complete = self._task.range_end
        offsets = list(range(self._sent, self._sent + len(self._mutations)))
        self._sent += len(self._mutations)
        chunk = Chunk(
            SOURCE,
            OBSERVING,
            Position(self._task.task_id, self._sent),
            self._read_at,
            self._mutations,
            offsets,
            self._size,
            SnapshotProgress(self._task.task_id, self._complete, self._rows, done),
        )
        self._mutations = []
        self._size = 0
        self._rows = 0
        return chunk


class RateLimit:
    """Paces rows over all workers; `wait` returns when as many rows may follow as were announced."""

    def __init__(self, rows_per_second: float | None) -> None:
        self._rate = rows_per_second
        self._lock = threading.Lock()
        self._free_at = 0.0

    def wait(self, rows: int, stop: threading.Event) -> None:
        """Wait for what earlier rows have used up, then book `rows` more."""
        if self._rate is None:
            return
        with self._lock:
            now = time.monotonic()
            start = max(now, self._free_at)
            self._free_at = start + rows / self._rate
        stop.wait(start - now)


class Scanner:
    """Workers that claim tasks; `start`, then `join`. Tables that are paused are left alone until they are resumed.

    `join` raises what stopped a worker.
    """

    def __init__(
        self,
        pages: PageSource,
        scans: Mapping[uuid.UUID, TableScan],
        store: SnapshotStore,
        connection: Callable[[], AbstractContextManager[Any]],
        put: Callable[[Chunk, threading.Event], bool],
        options: ScanOptions,
        *,
        owner: str,
        on_page: Callable[[SnapshotTask, int], None],
    ) -> None:
        """`connection` opens a transaction on PostgreSQL and commits it at the end of the block.

        `put` waits for room and returns False when the stop event was set meanwhile (`DirectTransport.put`).
        `on_page` hears of every page: its task and its rows.
        """
        self._pages = pages
        self._scans = scans
        self._store = store
        self._connection = connection
        self._put = put
        self._options = options
        self._owner = owner
        self._on_page = on_page
        self._limit = RateLimit(options.rows_per_second)
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._statements: dict[uuid.UUID, Any] = {}
        self._paused: frozenset[str] = frozenset()
        self._paused_read_at = float("-inf")
        # A page is at most what the rate allows in a second, so that a pause is seen soon however low it is.
        rate = options.rows_per_second
        self._page_rows_max = options.page_rows if rate is None else max(1, min(options.page_rows, int(rate)))
        self._page_rows = {table_id: min(PAGE_ROWS_FIRST, self._page_rows_max) for table_id in scans}
        self._threads = [
            threading.Thread(target=self._work, name=f"snapshot-{i}", daemon=True) for i in range(options.workers)
        ]

    def start(self) -> None:
        """Free the claims of earlier lives and start the workers."""
        with self._connection() as connection:
            self._store.reset_claims(connection, self._owner)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask the workers to end after their page; their tasks go back and are resumed later."""
        self._stop.set()

    @property
    def running(self) -> bool:
        """Whether any worker is at work."""
        return any(thread.is_alive() for thread in self._threads)

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the workers; False when some still run. Raises the first error that stopped one."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        if self._failures:
            raise self._failures[0]
        return not self.running

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                task = self._claim()
                if task is None:
                    if not self._options.endless and self._finished():
                        return
                    self._stop.wait(LOOK_AGAIN_S)
                    continue
                if failpoints.ARMED:
                    failpoints.reach("snapshot_claimed")
                complete = False
                try:
                    complete = self._scan(task)
                finally:
                    if not complete:
                        self._release(task)
        except BaseException as error:
            self._failures.append(error)
            self._stop.set()

    def _claim(self) -> SnapshotTask | None:
        """The next task, or None when nothing is left or the scanner was stopped; waits while PostgreSQL is away."""
        pause = PAUSE_SECONDS_FIRST
        while True:
            try:
                with self._connection() as connection:
                    return self._store.claim(connection, self._owner, self._scans.keys())
            except (OperationalError, RetryableError):
                if self._stop.wait(pause):
                    return None
                pause = min(pause * 2, PAUSE_SECONDS_MAX)

    def _finished(self) -> bool:
        try:
            with self._connection() as connection:
                return self._store.finished(connection, self._scans.keys())
        except (OperationalError, RetryableError):
            return False  # asked again, when PostgreSQL is back

    def _release(self, task: SnapshotTask) -> None:
        """Give the task back; without PostgreSQL the claim of a stopped scanner stays, and its next start frees it."""
        while True:
            with suppress(OperationalError, RetryableError), self._connection() as connection:
                self._store.release(connection, task.task_id, self._owner)
                if failpoints.ARMED:
                    failpoints.reach("snapshot_released")
                return
            if self._stop.wait(PAUSE_SECONDS_FIRST):
                return

    def _is_paused(self, task: SnapshotTask) -> bool:
        """Whether the table was paused, as read within the last second or when PostgreSQL answered last."""
        now = time.monotonic()
        if now - self._paused_read_at >= PAUSE_CHECK_S:
            self._paused_read_at = now
            with suppress(OperationalError, RetryableError), self._connection() as connection:
                self._paused = self._store.paused(connection)
        return ALL in self._paused or self._scans[task.table_id].table.full_name in self._paused

    def _statement(self, table_id: uuid.UUID) -> Any:
        """The prepared statement of a table; two workers may prepare it at once, which is the same one."""
        if table_id not in self._statements:
            self._statements[table_id] = self._pages.prepare(self._scans[table_id].query, self._options.consistency)
        return self._statements[table_id]

    def _scan(self, task: SnapshotTask) -> bool:
        """Read the rest of a task; False when it was stopped or paused before the end."""
        scan = self._scans[task.table_id]
        builder = ChunkBuilder(task)
        paging_state: bytes | None = None
        while not self._stop.is_set() and not self._is_paused(task):
            page_rows = self._page_rows[task.table_id]
            page = self._fetch(task, page_rows, paging_state)
            if page is None:
                return False
            paging_state = page.paging_state
            self._on_page(task, page.count)
            self._page_rows[task.table_id] = next_page_rows(page_rows, len(page.data), self._page_rows_max)
            for chunk in builder.add(scan.encode_page(page), page.read_at / 1e6):
                if not self._put(chunk, self._stop):
                    return False
            if not self._put(builder.flush(done=paging_state is None), self._stop):
                return False
            self._limit.wait(page.count, self._stop)
            if paging_state is None:
                return True
        return False

    def _fetch(self, task: SnapshotTask, rows: int, paging_state: bytes | None) -> Page | None:
        """One page, tried again while Cassandra does not answer; None when stopped meanwhile."""
        pause = PAUSE_SECONDS_FIRST
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                with reading(f"reading {self._scans[task.table_id].table.full_name}"):
                    statement = self._statement(task.table_id)
                    return self._pages.fetch(statement, (task.last_token, task.range_end), rows, paging_state)
            except RetryableError as error:
                if attempt == (OUTDATED_ATTEMPTS_MAX if error.code == OUTDATED else ATTEMPTS_MAX):
                    raise
                # Spread the workers, so that they don't all come back to a node that was overloaded at once.
                if self._stop.wait(pause * random.uniform(0.5, 1.0)):  # noqa: S311
                    return None
                pause = min(pause * 2, PAUSE_SECONDS_MAX)
        return None


def next_page_rows(rows: int, size: int, rows_max: int) -> int:
    """How many rows to ask for after a page of `rows` that held `size` bytes: half when large, else slowly up."""
    if size > PAGE_BYTES_MAX:
        return max(1, rows // 2)
    return min(rows_max, rows * 2) if size < PAGE_BYTES_MAX // 4 else rows
