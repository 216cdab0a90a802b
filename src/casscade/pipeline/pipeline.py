"""One pipeline in one process: capture, snapshot and load around the direct transport.

Invariant: capture holds its position before the first range of a snapshot is read; what stops one part stops all,
and nothing is acknowledged after that.
"""

from __future__ import annotations

import socket
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Final

from cassandra import ConsistencyLevel

from casscade.capture.follower import Follower
from casscade.capture.space import SpaceGuard
from casscade.config import PipelineConfig
from casscade.core.errors import RetryableError
from casscade.core.position import Position
from casscade.load.batch import BatchWriter
from casscade.load.batcher import Batcher
from casscade.load.control import ControlStore
from casscade.load.loader import Loader
from casscade.observability.health import State
from casscade.observability.logs import get_logger
from casscade.pipeline.catalog import Catalog
from casscade.pipeline.database import Database
from casscade.pipeline.monitor import Monitor
from casscade.schema.connect import CassandraSettings, connect, read_node, require_cdc_enabled
from casscade.schema.mapping import Target
from casscade.snapshot.ranges import split_ring
from casscade.snapshot.rows import TableScan, require_scannable
from casscade.snapshot.scanner import Scanner, ScanOptions
from casscade.snapshot.store import SnapshotStore
from casscade.snapshot.wire import RawSession
from casscade.transport.direct import DirectTransport

log = get_logger("casscade.pipeline")

_TICK_S: Final = 0.2
_SPACE_INTERVAL_S: Final = 1.0
_PROGRESS_INTERVAL_S: Final = 1.0
_JOIN_TIMEOUT_S: Final = 15.0


@dataclass(slots=True)
class Parts:
    """What runs; built anew when the schema of a replicated table changed."""

    follower: Follower
    loader: Loader
    scanner: Scanner | None
    raw_session: RawSession | None
    space: SpaceGuard
    stop: threading.Event
    capture_thread: threading.Thread
    snapshot_tables: list[uuid.UUID]
    capture_failure: list[BaseException] = field(default_factory=list)


def cassandra_settings(config: PipelineConfig) -> CassandraSettings:
    """The `cassandra` section as the driver's settings."""
    section = config.cassandra
    return CassandraSettings(
        contact_points=tuple(str(point) for point in section.contact_points),
        local_datacenter=section.local_datacenter,
        port=section.port,
        consistency=section.consistency,
        username=section.username,
        password=section.password,
        request_timeout_s=section.request_timeout_ms / 1000,
    )


class Pipeline:
    """Runs one configured pipeline until it is stopped or fails."""

    def __init__(self, config: PipelineConfig, monitor: Monitor) -> None:
        self._config = config
        self._monitor = monitor
        self._stop = threading.Event()
        self._database = Database(config)
        self._control = ControlStore(config.name, config.postgres.control_schema)
        self._snapshots = SnapshotStore(config.name, config.postgres.control_schema)
        # Claims of snapshot tasks carry it: a restart on the same host frees what its earlier life left behind.
        self._owner = f"{config.name}@{socket.gethostname()}"

    def stop(self) -> None:
        """Ask it to end; may be called by a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Run until `stop`. Raises the CasscadeError that ended it otherwise."""
        self._monitor.health.set("postgres", State.STARTING)
        self._monitor.health.set("cassandra", State.STARTING)
        self._database.open()
        cluster, session = connect(cassandra_settings(self._config))
        try:
            while not self._stop.is_set():
                parts = self._build(cluster, session)
                try:
                    self._supervise(parts)
                except RetryableError as error:
                    log.warning("the parts are built anew", code=error.code, reason=error.what)
                finally:
                    self._shut_down(parts)
        finally:
            cluster.shutdown()
            self._database.close()

    def _build(self, cluster: Any, session: Any) -> Parts:
        config, monitor = self._config, self._monitor
        node = read_node(session, str(config.cassandra.contact_points[0]))
        require_cdc_enabled(node)
        source = str(node.host_id)
        catalog = Catalog(config, session, self._control)
        with self._database.transaction() as connection:
            self._control.migrate(connection)
            targets = catalog.resolve(connection)
            for statement in catalog.apply(connection):
                log.info("changed PostgreSQL", purpose=statement.purpose)
            epoch, position = self._control.acquire(connection, source)
        monitor.health.set("cassandra", State.OK)
        monitor.health.set("postgres", State.OK)
        log.info(
            "starting", source=source, epoch=epoch, position=str(position), tables=[t.table.full_name for t in targets]
        )
        stop = threading.Event()
        transport = DirectTransport(config.load.queue_bytes)
        transport.acknowledge(source, position)
        batcher = Batcher(
            catalog.tables,
            catalog.refresh,
            batch_rows=config.load.batch_rows,
            batch_s=config.load.batch_ms / 1000,
        )
        writer = self._writer(source, epoch, position, targets)
        loader = Loader(transport, batcher, writer, self._database.connect, stop, monitor)
        follower = Follower(
            source,
            config.capture.cdc_directory,
            config.capture.state_directory,
            catalog.replicated,
            transport,
            position,
            stop,
            unwanted=catalog.unwanted,
            on_anomaly=monitor.anomaly,
        )
        monitor.watch(follower, transport, batcher)
        scanner, raw_session = self._scanner(cluster, targets, transport, node.release_version)
        failures: list[BaseException] = []
        thread = threading.Thread(target=_guarded(follower, failures, stop), name="capture", daemon=True)
        space = SpaceGuard(config.capture.cdc_directory, None, monitor.space_crossed)
        tables = [target.table.id for target in targets]
        return Parts(follower, loader, scanner, raw_session, space, stop, thread, tables, failures)

    def _writer(self, source: str, epoch: int, position: Position, targets: list[Target]) -> BatchWriter:
        writer = BatchWriter(self._control, source, epoch, commit_progress=self._snapshots.commit_progress)
        writer.position = position
        with self._database.transaction() as connection:
            for target in targets:
                writer.add_target(connection, target, self._config.load.tombstone_margin_seconds)
        return writer

    def _scanner(
        self, cluster: Any, targets: list[Target], transport: DirectTransport, release_version: str
    ) -> tuple[Scanner | None, RawSession | None]:
        config = self._config
        if config.snapshot.mode == "never":
            return None, None
        with self._database.transaction() as connection:
            for target in targets:
                ranges = split_ring(config.snapshot.ranges_per_table)
                self._snapshots.create_tasks(connection, target.table.id, target.table.full_name, ranges)
            unfinished = [t for t in targets if not self._snapshots.finished(connection, [t.table.id])]
            # Raising rolls the tasks back: a table that can't be read leaves no half-planned snapshot.
            for target in unfinished:
                require_scannable(target.table, release_version)
            if not unfinished:
                self._monitor.snapshot(self._snapshots.progress(connection))
                return None, None
        raw_session = RawSession(cluster)
        scanner = Scanner(
            raw_session,
            {target.table.id: TableScan(target.table) for target in unfinished},
            self._snapshots,
            self._database.transaction,
            transport.put,
            ScanOptions(
                ConsistencyLevel.name_to_value[config.cassandra.consistency],
                page_rows=config.snapshot.page_rows,
                workers=config.snapshot.workers,
            ),
            owner=self._owner,
            on_page=lambda _task, _rows: None,
        )
        return scanner, raw_session

    def _supervise(self, parts: Parts) -> None:
        """Start the parts in their order and watch them; raises what stopped one of them."""
        parts.loader.start()
        parts.capture_thread.start()
        if parts.scanner is not None:
            parts.scanner.start()
            log.info("snapshot started")
        next_space = next_progress = 0.0
        snapshot_open = parts.scanner is not None
        while not self._stop.is_set() and not parts.stop.is_set():
            now = time.monotonic()
            for thread, beat in parts.loader.beats.items():
                if now - beat < 1.0:
                    self._monitor.health.beat(thread)
            if parts.follower.status().caught_up:
                self._monitor.health.progressed()
            if now >= next_space:
                self._monitor.space(parts.space.check())
                next_space = now + _SPACE_INTERVAL_S
            if snapshot_open and now >= next_progress:
                snapshot_open = self._snapshot_open(parts)
                next_progress = now + _PROGRESS_INTERVAL_S
            self._stop.wait(_TICK_S)
        for failure in (parts.loader.failure, *parts.capture_failure):
            if failure is not None:
                raise failure

    def _snapshot_open(self, parts: Parts) -> bool:
        """Report the progress; False when the snapshot is durable as a whole."""
        assert parts.scanner is not None
        if not parts.scanner.running:
            parts.scanner.join()
        with self._database.transaction() as connection:
            progress = self._snapshots.progress(connection)
            finished = self._snapshots.finished(connection, parts.snapshot_tables)
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
        return not finished

    def _shut_down(self, parts: Parts) -> None:
        parts.stop.set()
        if parts.scanner is not None:
            parts.scanner.stop()
        parts.loader.join(_JOIN_TIMEOUT_S)
        if parts.capture_thread.ident is not None:
            parts.capture_thread.join(_JOIN_TIMEOUT_S)
        if parts.scanner is not None and parts.scanner.running:
            parts.scanner.join(_JOIN_TIMEOUT_S)
        if parts.raw_session is not None:
            parts.raw_session.close()
        for thread in ("decode", "write"):
            self._monitor.health.retire(thread)


def _guarded(follower: Follower, failures: list[BaseException], stop: threading.Event) -> Any:
    def run() -> None:
        try:
            follower.run()
        except BaseException as error:
            failures.append(error)
            stop.set()

    return run
