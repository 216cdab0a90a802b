"""Reads rows again whose visibility the snapshot could not know for good.

Invariant: a request is answered in the transaction that makes its answer durable; an answer is either what Cassandra
shows (cells with their write times, or a liveness for a row without any), or nothing for a row that is not shown.

A row that an INSERT made before capture began stays visible in Cassandra when its last column is deleted or expires;
one that an UPDATE made does not. The snapshot can't tell them apart, so the loader asks here when it matters. A write
of the same moment does no harm: it is in the stream too.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple, Protocol

from psycopg import Connection, sql

from casscade.commitlog.encoder import encode_mutation
from casscade.core.errors import RetryableError
from casscade.core.position import START
from casscade.schema.faults import translated
from casscade.snapshot.rows import TableScan
from casscade.snapshot.scanner import ENCODING_VERSION, SOURCE
from casscade.snapshot.wire import Page
from casscade.transport.chunk import Chunk, RecheckProgress

POLL_S: Final = 0.5
"""A row that is wrongly gone comes back within a second or so."""

REQUESTS_MAX: Final = 200
"""Requests read at a time: some hundred point reads, well below a second."""


class Request(NamedTuple):
    """A row to be read again, by its serialized keys."""

    recheck_id: int
    table_id: uuid.UUID
    partition_key: bytes
    clustering: bytes


class RecheckStore:
    """The requests of one pipeline; every method runs in the caller's transaction."""

    def __init__(self, pipeline: str, schema: str) -> None:
        self._pipeline = pipeline
        self._table = sql.Identifier(schema, "rechecks")

    def pending(self, connection: Connection[Any], after: int) -> list[Request]:
        """The oldest requests with an id greater than `after`, at most `REQUESTS_MAX`."""
        rows = connection.execute(
            sql.SQL(
                "SELECT recheck_id, table_id, partition_key, clustering FROM {} "
                "WHERE pipeline = %s AND recheck_id > %s ORDER BY recheck_id LIMIT %s"
            ).format(self._table),
            (self._pipeline, after, REQUESTS_MAX),
            binary=True,
        ).fetchall()
        return [Request(*row) for row in rows]

    def answered(self, connection: Connection[Any], progress: RecheckProgress) -> None:
        """Remove answered requests; the loader calls it in the transaction of their rows."""
        connection.execute(
            sql.SQL("DELETE FROM {} WHERE recheck_id = ANY(%s)").format(self._table), (list(progress.ids),)
        )


class PointReader(Protocol):
    """Where rows come from: `casscade.snapshot.wire.RawSession`."""

    def prepare(self, query: str, consistency: int) -> Any: ...

    def read(self, statement: Any, key: Sequence[bytes]) -> Page: ...


class Rechecker:
    """A thread that answers requests until `stop`; `failure` says why it ended by itself."""

    def __init__(
        self,
        reader: PointReader,
        scans: Mapping[uuid.UUID, TableScan],
        store: RecheckStore,
        connection: Callable[[], AbstractContextManager[Any]],
        put: Callable[[Chunk, threading.Event], bool],
        stop: threading.Event,
        consistency: int,
    ) -> None:
        self._reader = reader
        self._scans = scans
        self._store = store
        self._connection = connection
        self._put = put
        self._stop = stop
        self._consistency = consistency
        self._statements: dict[uuid.UUID, Any] = {}
        self._sent = 0
        self.answered = 0
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="recheck", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread, if it was started."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while not self._stop.wait(POLL_S):
                self.step()
        except BaseException as error:
            self.failure = error
            self._stop.set()

    def step(self) -> int:
        """Answer what is pending now; returns how many requests. A node that is away leaves them for later."""
        with self._connection() as connection:
            requests = self._store.pending(connection, self._sent)
        mutations: list[bytes] = []
        done: list[int] = []
        for request in requests:
            try:
                mutations += self._read(request)
            except RetryableError:
                break
            done.append(request.recheck_id)
        if not done:
            return 0
        size = sum(len(mutation) for mutation in mutations)
        offsets = list(range(len(mutations)))
        progress = RecheckProgress(tuple(done))
        chunk = Chunk(SOURCE, ENCODING_VERSION, START, time.time(), mutations, offsets, size, progress)
        if self._put(chunk, self._stop):
            self._sent = done[-1]
            self.answered += len(done)
        return len(done)

    def _read(self, request: Request) -> list[bytes]:
        scan = self._scans.get(request.table_id)
        if scan is None:
            return []
        with translated("reading a row again"):
            statement = self._statements.get(request.table_id)
            if statement is None:
                statement = self._reader.prepare(scan.point_query, self._consistency)
                self._statements[request.table_id] = statement
            page = self._reader.read(statement, scan.key_values(request.partition_key, request.clustering))
        return [encode_mutation([part.update], ENCODING_VERSION) for part in scan.read_page(page.rows, page.now)]
