"""The snapshot's part of a pipeline: its tasks, its workers, the rechecks that it leads to.

Invariant: rows are read only after capture holds its position; a snapshot that is done is read again only when its
tasks are started again, which may happen while the pipeline runs.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Collection
from typing import Any, Final, Protocol

import psycopg
from cassandra import ConsistencyLevel
from psycopg import Connection

from casscade.config import PipelineConfig
from casscade.load.control import ControlStore
from casscade.load.gaps import GapStore
from casscade.observability.logs import get_logger
from casscade.pipeline.database import Database
from casscade.pipeline.monitor import Monitor
from casscade.schema.mapping import Target
from casscade.snapshot.pace import Pace
from casscade.snapshot.ranges import split_ring
from casscade.snapshot.recheck import Rechecker, RecheckStore
from casscade.snapshot.rows import TableScan, shows_element_times
from casscade.snapshot.scanner import Scanner, ScanOptions
from casscade.snapshot.store import SnapshotStore, TableProgress
from casscade.snapshot.wire import RawSession
from casscade.transport.chunk import Chunk, ReadProgress, RecheckProgress, RepairProgress

log = get_logger("casscade.pipeline")

PROGRESS_S: Final = 1.0
"""How often claims are renewed and progress is told while tables are read: well below the lease of a claim."""

IDLE_S: Final = 5.0
"""The same while nothing is to be read."""


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
        self._pace = Pace()
        # Tables of this life: tasks of dropped ones stay open for ever.
        self._tables: frozenset[uuid.UUID] = frozenset()
        self._open = False
        self.rechecks = RecheckStore(config.name, config.postgres.control_schema)
        self.gaps = GapStore(ControlStore(config.name, config.postgres.control_schema))
        # Who claims tasks in this life of the parts; nobody before the first.
        self._owner = ""
        self._repairing = False
        # Debezium's events do not tell the cells of multi-cell columns.
        self._cellless = config.transport.format == "debezium"

    @property
    def wanted(self) -> bool:
        """Whether existing rows are to be copied at all."""
        return self._config.snapshot.mode != "never"

    def commit_progress(self, connection: Connection[Any], progress: ReadProgress) -> None:
        """Move what a chunk of a snapshot completes, in the transaction of its rows."""
        if isinstance(progress, RecheckProgress):
            self.rechecks.answered(connection, progress)
        elif isinstance(progress, RepairProgress):
            self.gaps.repaired(connection, progress.ids, progress.rows, done=progress.done)
        else:
            self.tasks.commit_progress(connection, progress)

    def plan(self, targets: list[Target], repaired: Collection[uuid.UUID] = ()) -> bool:
        """Make the tasks of tables that have none; returns whether anything is ever to be read.

        Nothing is when no existing rows are wanted, and none were copied by an earlier run, which would have to be read
        again when they change. (Rows of events that do not determine them have to, too.) Tables in `repaired` (ids) are
        read whatever is wanted, because of a gap.
        """
        self._tables = frozenset(target.table.id for target in targets)
        self._repairing = bool(repaired)
        with self._database.transaction() as connection:
            if not self.wanted:
                if not self.tasks.progress(connection) and not self._cellless:
                    return False
                targets = [target for target in targets if target.table.id in repaired]
            for target in targets:
                ranges = split_ring(self._config.snapshot.ranges_per_table)
                self.tasks.create_tasks(connection, target.table.id, target.table.full_name, ranges)
            self._report(self.tasks.progress(connection))
        return True

    def reader(
        self,
        cluster: Any,
        release_version: str,
        targets: list[Target],
        transport: SnapshotDoor,
        owner: str,
    ) -> SnapshotReader:
        """The threads that read, not yet started; `owner` (`owner_of`) is in the claims of the tasks.

        `release_version` is that of the node that is asked.
        """
        session = RawSession(cluster)
        scans = self._scans(targets, release_version)
        stop = threading.Event()
        rechecker = Rechecker(
            session,
            scans,
            self.rechecks,
            self._database.transaction,
            transport.put,
            stop,
            self._consistency,
        )
        scanner = (
            self._scanner(session, scans, transport, owner, endless=True) if self.wanted or self._repairing else None
        )
        return SnapshotReader(session, scanner, rechecker, stop)

    def job(
        self, cluster: Any, release_version: str, targets: list[Target], transport: SnapshotDoor, owner: str
    ) -> SnapshotReader:
        """The threads of a process that only reads tasks of `targets`, until all are done; the rest as for `reader`."""
        session = RawSession(cluster)
        scanner = self._scanner(session, self._scans(targets, release_version), transport, owner, endless=False)
        return SnapshotReader(session, scanner, None, threading.Event())

    def _scans(self, targets: list[Target], release_version: str) -> dict[uuid.UUID, TableScan]:
        element_times = shows_element_times(release_version)
        return {
            target.table.id: TableScan(target.table, element_times=element_times, cellless=self._cellless)
            for target in targets
        }

    @property
    def _consistency(self) -> int:
        return int(ConsistencyLevel.name_to_value[self._config.cassandra.consistency])

    def _scanner(
        self,
        session: RawSession,
        scans: dict[uuid.UUID, TableScan],
        transport: SnapshotDoor,
        owner: str,
        *,
        endless: bool,
    ) -> Scanner:
        self._owner = owner
        section = self._config.snapshot
        options = ScanOptions(
            self._consistency,
            page_rows=section.page_rows,
            workers=section.workers,
            rows_per_second=section.rows_per_second,
            endless=endless,
        )
        return Scanner(
            session,
            scans,
            self.tasks,
            self._database.transaction,
            transport.put,
            options,
            owner=owner,
            on_page=lambda _task, _rows: None,
        )

    def tick(self) -> float:
        """Renew the claims and report how far all tables are; returns the seconds until it is due again.

        Nothing is reported while PostgreSQL is away.
        """
        try:
            with self._database.transaction() as connection:
                self.tasks.renew(connection, self._owner)
                progress = self.tasks.progress(connection)
        except psycopg.OperationalError:
            return PROGRESS_S
        was_open = self._open
        self._report(progress)
        if was_open or self._open:
            for table in self._own(progress):
                self._log(table)
        return PROGRESS_S if self._open else IDLE_S

    def _report(self, progress: list[TableProgress]) -> None:
        own = self._own(progress)
        self._open = self.wanted and any(table.fraction < 1 and not table.paused for table in own)
        self._pace.add(time.monotonic(), own)
        self._monitor.snapshot(progress, self._pace)

    def _own(self, progress: list[TableProgress]) -> list[TableProgress]:
        return [table for table in progress if table.table_id in self._tables]

    def _log(self, table: TableProgress) -> None:
        speed = self._pace.speed(table.table_id)
        log.info(
            "snapshot",
            table=table.source_name,
            rows=table.rows,
            ranges=f"{table.ranges_done}/{table.ranges_total}",
            percent=round(100 * float(table.fraction), 1),
            rows_per_second=None if speed.rows_per_second is None else round(speed.rows_per_second),
            eta_seconds=None if speed.eta_seconds is None else round(speed.eta_seconds),
            paused=table.paused,
        )


class SnapshotReader:
    """What reads in this life of the process: workers for the tasks, and one who answers rechecks, where wanted."""

    def __init__(
        self, session: RawSession, scanner: Scanner | None, rechecker: Rechecker | None, stop: threading.Event
    ) -> None:
        self._session = session
        self._scanner = scanner
        self._rechecker = rechecker
        self._stop = stop

    def start(self) -> None:
        """Start the threads."""
        if self._rechecker is not None:
            self._rechecker.start()
        if self._scanner is not None:
            self._scanner.start()

    def check(self) -> bool:
        """Whether workers are at work; raises what stopped a thread, if something did."""
        if self._rechecker is not None and self._rechecker.failure is not None:
            raise self._rechecker.failure
        if self._scanner is not None and not self._scanner.running:
            self._scanner.join()
            return False
        return self._scanner is not None

    def shut_down(self, timeout_s: float) -> None:
        """Stop the threads and wait for them."""
        self._stop.set()
        if self._scanner is not None:
            self._scanner.stop()
            if self._scanner.running:
                self._scanner.join(timeout_s)
        if self._rechecker is not None:
            self._rechecker.join(timeout_s)
        self._session.close()
