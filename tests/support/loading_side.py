"""The loading side of a pipeline, driven by hand: chunks in any order, restarts, a snapshot, rechecks.

Invariant: after a restart nothing of the life before is known but what PostgreSQL holds.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

import psycopg
from cassandra import ConsistencyLevel

from casscade.core.position import Position
from casscade.load.batch import BatchWriter
from casscade.load.batcher import Batcher
from casscade.load.contents import Batch
from casscade.load.control import ControlStore
from casscade.load.raw import register
from casscade.load.sources import Sources
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import Target, build_target
from casscade.schema.reader import read_schema
from casscade.snapshot.ranges import split_ring
from casscade.snapshot.recheck import Rechecker, RecheckStore
from casscade.snapshot.rows import TableScan, shows_element_times
from casscade.snapshot.scanner import Scanner, ScanOptions
from casscade.snapshot.store import SnapshotStore, owner_of
from casscade.snapshot.wire import RawSession
from casscade.transport.chunk import Chunk, ReadProgress, RecheckProgress, SnapshotProgress
from tests.support.cdc_reader import Mutation

NAME: Final = "differential"
RANGES: Final = 2
RECHECKS_MAX: Final = 100
_FOR_EVER_S: Final = 1e9
_LOOK_S: Final = 0.01


class LoadingSide:
    """Writes the tables `names` of `keyspace` to a schema of the same name, over connections of its own to `dsn`."""

    def __init__(self, session: Any, dsn: str, keyspace: str, names: Collection[str]) -> None:
        self._session = session
        self._dsn = dsn
        self._keyspace = keyspace
        schema = read_schema(session)
        replicated = [table for table in schema.tables.values() if table.keyspace == keyspace and table.name in names]
        self._shapes = {t.id.bytes: t.shape(replicated=t in replicated) for t in schema.tables.values()}
        self.targets: list[Target] = [build_target(table) for table in replicated]
        self._control = ControlStore(NAME, "casscade")
        self._tasks = SnapshotStore(NAME, "casscade")
        self._rechecks = RecheckStore(NAME, "casscade")
        self._applied = 0
        self.restarts = self.batches = 0
        self.dead_letters: Counter[str] = Counter()
        with self._transaction() as connection:
            self._control.migrate(connection)
            for number, target in enumerate(self.targets):
                for statement in plan_target(target, ExistingSchema(exists=number > 0)):
                    connection.execute(statement.sql.encode())
        self._start()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def restart(self) -> None:
        """A new connection, a new epoch, a new writer."""
        self.restarts += 1
        self.close()
        self._start()

    def apply(self, chunks: list[Chunk], batch_rows: int, rng: random.Random, *, restarts: float = 0.0) -> None:
        """Load the chunks in batches of about that many rows; `restarts` is the chance of one after a batch."""
        batcher = Batcher(lambda: self._shapes, lambda _: False, batch_rows=batch_rows, batch_s=_FOR_EVER_S)
        for chunk in chunks:
            batcher.add(chunk)
            if batcher.full():
                self._write(batcher.take())
                if rng.random() < restarts:
                    self.restart()
        if batcher.waiting:
            self._write(batcher.take())

    def settle(self) -> None:
        """Apply what has expired, and answer the rechecks until none is left."""
        self.dead_letters.update(self._writer.reap(self._connection).dead_letters)
        with closing(RawSession(self._session.cluster)) as reader:
            rechecker = Rechecker(
                reader,
                self._scans(),
                self._rechecks,
                self._transaction,
                self._put,
                threading.Event(),
                ConsistencyLevel.ONE,
            )
            for _ in range(RECHECKS_MAX):
                if not rechecker.step():
                    return
        raise AssertionError(f"still rechecks to answer after {RECHECKS_MAX} rounds")

    def streamed(self, mutations: list[Mutation]) -> Chunk:
        """Mutations of one version as a chunk of the commit log."""
        self._applied += 1
        return Chunk(
            self._keyspace,
            mutations[0][0],
            Position(1, self._applied),
            0.0,
            [mutation for _, mutation in mutations],
            list(range(len(mutations))),
        )

    @contextmanager
    def snapshot(self) -> Iterator[list[Chunk]]:
        """Read all tables while the block runs; afterwards the chunks are in the list."""
        chunks: list[Chunk] = []

        def take(chunk: Chunk, _stop: threading.Event) -> bool:
            chunks.append(chunk)
            return True

        with self._transaction() as connection:
            for target in self.targets:
                self._tasks.create_tasks(connection, target.table.id, target.table.full_name, split_ring(RANGES))
        with closing(RawSession(self._session.cluster)) as reader:
            scanner = Scanner(
                reader,
                self._scans(),
                self._tasks,
                self._transaction,
                take,
                ScanOptions(ConsistencyLevel.ONE, page_rows=20, workers=1),
                owner=owner_of(self._keyspace, self._epoch),
                on_page=lambda _task, _rows: None,
            )
            scanner.start()
            yield chunks
            # Workers end by themselves only when all is durable, and what they read is applied later here.
            while sum(_ends_a_task(chunk) for chunk in chunks) < RANGES * len(self.targets):
                scanner.join(0)
                assert scanner.running, "the scan ended too early"
                time.sleep(_LOOK_S)
            scanner.stop()
            assert scanner.join(_FOR_EVER_S)

    def _scans(self) -> dict[uuid.UUID, TableScan]:
        release = str(self._session.execute("SELECT release_version FROM system.local").one()[0])
        times = shows_element_times(release)
        return {target.table.id: TableScan(target.table, element_times=times) for target in self.targets}

    def _put(self, chunk: Chunk, _stop: threading.Event) -> bool:
        self.apply([chunk], 1, random.Random(0))
        return True

    def _write(self, batch: Batch) -> None:
        counts = self._writer.apply(self._connection, batch)
        self.dead_letters.update(counts.dead_letters)
        self.batches += 1

    def _start(self) -> None:
        self._connection = psycopg.connect(self._dsn, autocommit=True)
        register(self._connection)
        self._epoch, _ = self._control.acquire(self._connection, self._keyspace)
        self._writer = BatchWriter(
            self._control, Sources.single(self._keyspace, self._epoch), commit_progress=self._commit_progress
        )
        for target in self.targets:
            self._writer.add_target(self._connection, target, 3600)
        self._writer.prepare(self._connection)

    def _commit_progress(self, connection: psycopg.Connection[Any], progress: ReadProgress) -> None:
        if isinstance(progress, RecheckProgress):
            self._rechecks.answered(connection, progress)
        elif isinstance(progress, SnapshotProgress):
            self._tasks.commit_progress(connection, progress)

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self._dsn) as connection:
            register(connection)
            yield connection


def _ends_a_task(chunk: Chunk) -> bool:
    return isinstance(chunk.progress, SnapshotProgress) and chunk.progress.done
