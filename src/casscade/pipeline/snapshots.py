"""The snapshot's part of a pipeline: its tasks, its workers, the rechecks that it leads to.

Invariant: rows are read only after capture holds its position; a snapshot that is done is never read again.
"""

from __future__ import annotations

import threading
import uuid
from typing import Any, Protocol

import psycopg
from cassandra import ConsistencyLevel
from psycopg import Connection

from casscade.config import PipelineConfig
from casscade.observability.logs import get_logger
from casscade.pipeline.database import Database
from casscade.pipeline.monitor import Monitor
from casscade.schema.mapping import Target
from casscade.snapshot.ranges import split_ring
from casscade.snapshot.recheck import Rechecker, RecheckStore
from casscade.snapshot.rows import TableScan, shows_element_times
from casscade.snapshot.scanner import Scanner, ScanOptions
from casscade.snapshot.store import SnapshotStore
from casscade.snapshot.wire import RawSession
from casscade.transport.chunk import Chunk, Progress, RecheckProgress

log = get_logger("casscade.pipeline")


class SnapshotDoor(Protocol):
    """Where the rows go: the queue of the direct transport, or Kafka."""

    def put(self, chunk: Chunk, stop: threading.Event) -> bool: ...


class Snapshots:
    """Tasks and rechecks of one pipeline in PostgreSQL, whatever reads them."""

    def __init__(self, config: PipelineConfig, database: Database, monitor: Monitor) -> None:
        self._config = config
        self._database = database
        self._monitor = monitor
        self.tasks = SnapshotStore(config.name, config.postgres.control_schema)
        self.rechecks = RecheckStore(config.name, config.postgres.control_schema)
        # Who claims tasks in this life of the parts; nobody before the first.
        self._owner = ""
        # Debezium's events do not tell the cells of multi-cell columns.
        self._cellless = config.transport.format == "debezium"

    @property
    def wanted(self) -> bool:
        """Whether existing rows are to be copied at all."""
        return self._config.snapshot.mode != "never"

    def commit_progress(self, connection: Connection[Any], progress: Progress) -> None:
        """Move what a chunk of a snapshot completes, in the transaction of its rows."""
        if isinstance(progress, RecheckProgress):
            self.rechecks.answered(connection, progress)
        else:
            self.tasks.commit_progress(connection, progress)

    def plan(self, targets: list[Target]) -> list[Target] | None:
        """Make the tasks of tables that have none; returns the tables that are not done.

        None tells that nothing is ever to be read: no existing rows are wanted, and none were copied by an earlier run,
        which would have to be read again when they change. (Rows of events that do not determine them have to, too.)
        """
        with self._database.transaction() as connection:
            if not self.wanted:
                return [] if self.tasks.progress(connection) or self._cellless else None
            for target in targets:
                ranges = split_ring(self._config.snapshot.ranges_per_table)
                self.tasks.create_tasks(connection, target.table.id, target.table.full_name, ranges)
            unfinished = [target for target in targets if not self.tasks.finished(connection, [target.table.id])]
            self._monitor.snapshot(self.tasks.progress(connection))
        return unfinished

    def reader(
        self,
        cluster: Any,
        release_version: str,
        targets: list[Target],
        unfinished: list[Target],
        transport: SnapshotDoor,
        owner: str,
    ) -> SnapshotReader:
        """The threads that read, not yet started; `owner` (`owner_of`) is in the claims of the tasks.

        `release_version` is that of the node that is asked.
        """
        self._owner = owner
        session = RawSession(cluster)
        consistency = ConsistencyLevel.name_to_value[self._config.cassandra.consistency]
        section = self._config.snapshot
        element_times = shows_element_times(release_version)

        def scans(chosen: list[Target]) -> dict[uuid.UUID, TableScan]:
            return {
                target.table.id: TableScan(target.table, element_times=element_times, cellless=self._cellless)
                for target in chosen
            }

        scanner = Scanner(
            session,
            scans(unfinished),
            self.tasks,
            self._database.transaction,
            transport.put,
            ScanOptions(consistency, page_rows=section.page_rows, workers=section.workers),
            owner=owner,
            on_page=lambda _task, _rows: None,
        )
        stop = threading.Event()
        rechecker = Rechecker(
            session,
            scans(targets),
            self.rechecks,
            self._database.transaction,
            transport.put,
            stop,
            consistency,
        )
        return SnapshotReader(session, scanner if unfinished else None, rechecker, stop)

    def finished(self, tables: list[uuid.UUID]) -> bool:
        """Renew the claims and report how far it is; whether all of it is durable. False while PostgreSQL is away."""
        try:
            with self._database.transaction() as connection:
                self.tasks.renew(connection, self._owner)
                progress = self.tasks.progress(connection)
                finished = self.tasks.finished(connection, tables)
        except psycopg.OperationalError:
            return False
        self._monitor.snapshot(progress)
        for table in progress:
            log.info(
                "snapshot",
                table=table.source_name,
                rows=table.rows,
                ranges=f"{table.ranges_done}/{table.ranges_total}",
                percent=round(100 * float(table.fraction), 1),
                eta_seconds=None if table.eta_seconds is None else round(float(table.eta_seconds)),
            )
        return finished


class SnapshotReader:
    """What reads for the snapshot in this life of the pipeline: workers while it is due, rechecks always."""

    def __init__(
        self, session: RawSession, scanner: Scanner | None, rechecker: Rechecker, stop: threading.Event
    ) -> None:
        self._session = session
        self._scanner = scanner
        self._rechecker = rechecker
        self._stop = stop

    @property
    def scanning(self) -> bool:
        """Whether a snapshot is due in this life."""
        return self._scanner is not None

    def start(self) -> None:
        """Start the threads; raises RetryableError or ConfigurationError when Cassandra refuses."""
        self._rechecker.start()
        if self._scanner is not None:
            self._scanner.start()
            log.info("snapshot started")

    def check(self) -> None:
        """Raise what stopped a thread, if something did."""
        if self._rechecker.failure is not None:
            raise self._rechecker.failure
        if self._scanner is not None and not self._scanner.running:
            self._scanner.join()

    def shut_down(self, timeout_s: float) -> None:
        """Stop the threads and wait for them."""
        self._stop.set()
        if self._scanner is not None:
            self._scanner.stop()
            if self._scanner.running:
                self._scanner.join(timeout_s)
        self._rechecker.join(timeout_s)
        self._session.close()
