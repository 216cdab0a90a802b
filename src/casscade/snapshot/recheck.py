"""Reads rows again of which the snapshot could not know all.

Invariant: a request is answered in the transaction that makes its answer durable, and only by a read that began after
the request was committed; an answer is either what Cassandra shows (cells with their write times, or a liveness for a
row without any), or, for a row that is not shown, that nothing is left of what an earlier read showed.

A row that an INSERT made before capture began stays visible in Cassandra when its last column is deleted or expires;
one that an UPDATE made does not. The snapshot can't tell them apart, so the loader asks here when it matters. A write
of the same moment does no harm: it is in the stream too.

Rows that show what a read showed (`casscade.core.observed`) are asked for after each of their changes, while a request
of the same row waits as one with it. A change behind the read of an answer gives the request a new number, so that
the answer does not remove it.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, Final, NamedTuple, Protocol

from psycopg import Connection, OperationalError, sql

from casscade.commitlog.observations import OBSERVING, encode_observing
from casscade.core import failpoints
from casscade.core.errors import RetryableError
from casscade.core.limits import CHUNK_BYTES_MAX
from casscade.core.part import Part
from casscade.core.position import START
from casscade.schema.faults import OUTDATED, reading
from casscade.snapshot.page import Page
from casscade.snapshot.rows import TableScan
from casscade.snapshot.scanner import SOURCE
from casscade.transport.chunk import Chunk, RecheckProgress

POLL_S: Final = 0.5
"""A row that is wrongly gone comes back within a second or so."""

REQUESTS_MAX: Final = 200
"""Requests read at a time: some hundred point reads, well below a second."""

CLAIM_S: Final = 10
"""Answers are durable within a second; one that is not by then is lost with its process, or read twice for nothing."""


class Request(NamedTuple):
    """A row to be read again, by its serialized keys; of a `static` one the static row of the partition.

    `columns` are the indexes of those whose cells CQL hides and that have changed.
    """

    recheck_id: int
    table_id: uuid.UUID
    partition_key: bytes
    clustering: bytes
    static: bool
    columns: list[int]


class RecheckStore:
    """The requests of one pipeline; every method runs in the caller's transaction."""

    def __init__(self, pipeline: str, schema: str) -> None:
        self._pipeline = pipeline
        self._table = sql.Identifier(schema, "rechecks")

    def claim(self, connection: Connection[Any]) -> list[Request]:
        """The oldest requests that nobody is answering, at most `REQUESTS_MAX`; they are the caller's for `CLAIM_S`."""
        rows = connection.execute(
            sql.SQL(
                "UPDATE {table} SET claimed_until = now() + make_interval(secs => %s) WHERE recheck_id IN "
                "(SELECT recheck_id FROM {table} WHERE pipeline = %s AND claimed_until < now() "
                "ORDER BY recheck_id LIMIT %s FOR UPDATE SKIP LOCKED) "
                "RETURNING recheck_id, table_id, partition_key, clustering, static, columns"
            ).format(table=self._table),
            (CLAIM_S, self._pipeline, REQUESTS_MAX),
            binary=True,
        ).fetchall()
        if failpoints.ARMED and rows:
            failpoints.reach("recheck_claimed")
        return sorted(Request(*row) for row in rows)

    def release(self, connection: Connection[Any], requests: Sequence[Request]) -> None:
        """Give up claims that could not be answered."""
        connection.execute(
            sql.SQL("UPDATE {} SET claimed_until = DEFAULT WHERE recheck_id = ANY(%s)").format(self._table),
            ([request.recheck_id for request in requests],),
        )

    def answered(self, connection: Connection[Any], progress: RecheckProgress) -> None:
        """Remove answered requests; the loader calls it in the transaction of their rows."""
        connection.execute(
            sql.SQL("DELETE FROM {} WHERE recheck_id = ANY(%s)").format(self._table), (list(progress.ids),)
        )
        if failpoints.ARMED:
            failpoints.reach("recheck_answered")


class PointReader(Protocol):
    """Where rows come from: `casscade.snapshot.wire.RawSession`."""

    def prepare(self, query: str, consistency: int) -> Any: ...

    def read(self, statement: Any, key: Sequence[bytes]) -> Page: ...


class Rechecker(Part):
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
        super().__init__("recheck", stop)
        self._reader = reader
        self._scans = scans
        self._store = store
        self._connection = connection
        self._put = put
        self._consistency = consistency
        self._statements: dict[tuple[uuid.UUID, bool], Any] = {}
        self.answered = 0

    def work(self) -> None:
        """Answer what is pending until `stop`."""
        while not self._stop.wait(POLL_S):
            # Without PostgreSQL there is nobody to answer: requests wait there until it is back.
            with suppress(OperationalError):
                while self.step() >= REQUESTS_MAX and not self._stop.is_set():
                    pass

    def step(self) -> int:
        """Answer what is pending now; returns how many requests. A node that is away leaves them for later."""
        with self._connection() as connection:
            requests = self._store.claim(connection)
        mutations: list[bytes] = []
        done: list[int] = []
        size = answered = 0
        for request in requests:
            try:
                mutation = self._read(request)
            except RetryableError as error:
                with self._connection() as connection:
                    self._store.release(connection, requests[requests.index(request) :])
                if error.code == OUTDATED:
                    raise
                break
            done.append(request.recheck_id)
            if mutation is not None:
                mutations.append(mutation)
                size += len(mutation)
            if size >= CHUNK_BYTES_MAX:
                answered += self._send(mutations, done, size)
                mutations, done, size = [], [], 0
        return answered + self._send(mutations, done, size)

    def _send(self, mutations: list[bytes], done: list[int], size: int) -> int:
        if not done:
            return 0
        offsets = list(range(len(mutations)))
        progress = RecheckProgress(tuple(done))
        chunk = Chunk(SOURCE, OBSERVING, START, time.time(), mutations, offsets, size, progress)
        if not self._put(chunk, self._stop):
            return 0
        self.answered += len(done)
        return len(done)

    def _read(self, request: Request) -> bytes | None:
        scan = self._scans.get(request.table_id)
        if scan is None:
            return None
        with reading("reading a row again"):
            which = (request.table_id, request.static)
            statement = self._statements.get(which)
            if statement is None:
                query = scan.static_query if request.static else scan.point_query
                statement = self._statements[which] = self._reader.prepare(query, self._consistency)
            page = self._reader.read(statement, scan.key_values(request.partition_key, request.clustering))
        update = scan.read_again(
            page.rows,
            page.now,
            page.read_at,
            request.recheck_id,
            (request.partition_key, request.clustering),
            request.columns,
            static=request.static,
        )
        return None if update is None else encode_observing(update)
