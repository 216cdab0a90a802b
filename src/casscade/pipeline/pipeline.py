"""One pipeline in one process: capture, snapshot and load around the direct transport.

Invariant: capture holds its position before the first range of a snapshot is read; what stops one part stops all,
and nothing is acknowledged after that.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from functools import partial
from typing import Any, Final

import psycopg

from casscade.capture.directory import check_directories, lock_directory
from casscade.capture.follower import Follower
from casscade.config import PipelineConfig
from casscade.deadletter.replayer import Replayer
from casscade.deadletter.store import DeadLetterStore
from casscade.load.arrival import Arrivals, arrival_tables, newest_arrival
from casscade.load.batch import BatchWriter
from casscade.load.batcher import Batcher
from casscade.load.control import ControlStore
from casscade.load.cuts import Cuts
from casscade.load.loader import Loader
from casscade.load.rewriting import rewriting_of
from casscade.load.sources import Sources
from casscade.observability.health import State
from casscade.observability.logs import get_logger
from casscade.pipeline.capturing import Capturing
from casscade.pipeline.cassandra import cassandra_settings
from casscade.pipeline.catalog import Catalog
from casscade.pipeline.cdc_watch import CdcWatch, may_evict, noting_off
from casscade.pipeline.database import Database
from casscade.pipeline.evolution import Evolution
from casscade.pipeline.evolving import evolution_of
from casscade.pipeline.gaps import Gaps
from casscade.pipeline.lives import keep_running
from casscade.pipeline.local_node import require_local, require_same_source
from casscade.pipeline.monitor import Monitor
from casscade.pipeline.node_limits import space_guard
from casscade.pipeline.outage import Outage, open_journal
from casscade.pipeline.postgres_status import SessionShown, session_options
from casscade.pipeline.reading import Reading
from casscade.pipeline.run_parts import JOIN_TIMEOUT_S, RunParts
from casscade.pipeline.snapshots import Snapshots
from casscade.pipeline.truncations import Truncations, TruncationWatch
from casscade.schema.connect import NodeSession, connect, read_node, read_settings, require_cdc_enabled
from casscade.schema.truncations import read_truncations
from casscade.snapshot.store import owner_of
from casscade.transport.direct import DirectTransport

log = get_logger("casscade.pipeline")

_TICK_S: Final = 0.2
_SPACE_INTERVAL_S: Final = 1.0
_ASK_AGAIN_S: Final = 1.0


class Pipeline:
    """Runs one configured pipeline until it is stopped or fails."""

    def __init__(self, config: PipelineConfig, monitor: Monitor) -> None:
        self._config = config
        self._monitor = monitor
        self._stop = threading.Event()
        # What was refused at the start is only told of while the process runs.
        self._strict = True
        self._schema_changes: Counter[str] = Counter()
        self._database = Database(config)
        self._control = ControlStore(config.name, config.postgres.control_schema)
        self._snapshots = Snapshots(config, self._database, monitor)
        self._gaps = Gaps(config, self._database, self._snapshots.tasks, monitor)
        self._truncations = Truncations(config, self._control, self._snapshots.tasks, monitor)
        self._source = ""

    def stop(self) -> None:
        """Ask it to end; may be called by a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Run until `stop`. Raises the CasscadeError that ended it otherwise."""
        self._monitor.health.set("postgres", State.STARTING)
        self._monitor.health.set("cassandra", State.STARTING)
        capture = self._config.capture
        check_directories(capture.cdc_directory, capture.state_directory, capture.commitlog_directory)
        self._database.open()
        cluster, session = connect(cassandra_settings(self._config))
        try:
            live, answers = partial(self._live, cluster, session), self._database.answers
            keep_running(live, self._stop, self._monitor, self._sent_back, answers)
        finally:
            cluster.shutdown()
            self._database.close()

    def _live(self, cluster: Any, session: Any) -> None:
        """One life of the parts: build and watch them; raises what ended it."""
        parts = self._build(cluster, session)
        try:
            self._supervise(parts)
        finally:
            self._shut_down(parts)

    def _sent_back(self) -> bool:
        """Whether the epoch was raised because of a truncation, not because of a second owner."""
        while not self._stop.is_set():
            try:
                with self._database.transaction() as connection:
                    return self._truncations.rewind_due(connection, self._source)
            except psycopg.OperationalError:
                self._stop.wait(_ASK_AGAIN_S)
        return False

    def _build(self, cluster: Any, session: Any) -> RunParts:
        config, monitor = self._config, self._monitor
        address = str(config.cassandra.contact_points[0])
        node = read_node(session, address)
        with noting_off(config.capture.state_directory, node):
            require_cdc_enabled(node)
        require_local(node, config.capture.cdc_directory)
        require_same_source(config.capture.state_directory, node.host_id)
        source = self._source = str(node.host_id)
        catalog = Catalog(config, NodeSession(session, address), self._control)
        # Who can't have the directory must not fence the one who has it.
        with (
            lock_directory(config.capture.cdc_directory),
            noting_off(config.capture.state_directory, node),
            self._database.transaction() as connection,
        ):
            self._control.migrate(connection)
            targets = catalog.resolve(connection, strict=self._strict)
            for statement in catalog.apply(connection):
                log.info("changed PostgreSQL", purpose=statement.purpose)
            epoch, acquired = self._control.acquire(connection, source)
            arrivals = Arrivals(arrival_tables(targets))
            arrivals.resume(newest_arrival(self._control, connection))
            resume = self._truncations.apply(
                connection, lambda host_id: read_truncations(session, host_id), source, targets, acquired
            )
            repaired = self._gaps.plan(connection, session, targets, source)
        self._gaps.require_none()
        journal = open_journal(config.capture.state_directory, config.dead_letters, catalog)
        position = resume.position
        if position >= acquired:
            # What waits in the journal is applied first; its segments may be gone.
            position = max(position, journal.covered(source) or position)
        self._truncations.report(resume.applied)
        log.info(
            "starting", source=source, epoch=epoch, position=str(position), tables=[t.table.full_name for t in targets]
        )
        self._strict = False
        stop = threading.Event()
        evolution = evolution_of(
            config, catalog, self._database, NodeSession(session, address), stop, monitor, self._schema_changes
        )
        transport = DirectTransport(config.load.queue_bytes)
        transport.acknowledge(source, position)
        outage = Outage(journal, transport, stop, keeps=config.load.on_outage == "dead_letter")
        batcher = Batcher(
            catalog.tables,
            evolution.refresh,
            batch_rows=config.load.batch_rows,
            batch_s=config.load.batch_ms / 1000,
            check=evolution.check,
            rewriting=rewriting_of(catalog.rules.values()),
            cuts=Cuts({source: resume.cuts}, resume.reads),
            arrivals=arrivals,
        )
        writer = self._writer(Sources.single(source, epoch, resume.position), catalog, evolution)
        evolution.attach(writer, batcher)
        loader = Loader(
            transport,
            batcher,
            writer,
            self._database.connect,
            stop,
            monitor,
            refuge=outage,
            look=self._database.answers,
            options=session_options(config),
        )
        watch = TruncationWatch(
            lambda: read_truncations(session, node.host_id), resume.newest, lambda: follower.status().position, stop
        )
        settings = read_settings(session, node, address)
        space = space_guard(config, settings, monitor)
        follower = Follower(
            source,
            config.capture.cdc_directory,
            config.capture.state_directory,
            catalog.replicated,
            outage,
            position,
            stop,
            unwanted=catalog.unwanted,
            on_anomaly=monitor.anomaly,
            eager=config.capture.mode == "eager",
            commitlog_directory=config.capture.commitlog_directory,
            poll_s=config.capture.poll_ms / 1000,
            released=watch.released,
            evicting=lambda: may_evict(settings, space),
            halt_on_damage=config.capture.on_corruption == "halt",
        )
        cdc_watch = CdcWatch(session, node, catalog.replicated, follower.losses, stop)
        monitor.watch(follower, transport, batcher)
        for component in ("cassandra", "postgres"):
            monitor.health.set(component, State.OK)
        monitor.show("outage", outage)
        monitor.show("postgres", SessionShown(loader.session))
        reader = None
        if self._snapshots.plan(targets, repaired):
            owner = owner_of(source, epoch)
            release = node.release_version
            reader = Reading(
                lambda: self._snapshots.reader(cluster, release, catalog.readable, transport, owner), evolution
            )
        letters_store = DeadLetterStore(config.name, config.postgres.control_schema)
        replayer = Replayer(letters_store, self._database.transaction, transport.put, stop)
        repair = self._gaps.repair(cluster, session, node.release_version, catalog, transport.put, stop)
        gap_watch = self._gaps.watch(stop)
        return RunParts(
            Capturing(follower, stop),
            loader,
            outage,
            replayer,
            reader,
            evolution,
            repair,
            gap_watch,
            watch,
            cdc_watch,
            space,
            stop,
        )

    def _writer(self, sources: Sources, catalog: Catalog, evolution: Evolution) -> BatchWriter:
        writer = BatchWriter(
            self._control,
            sources,
            commit_progress=self._snapshots.commit_progress,
            record=self._gaps.record,
            dead_letter_percent_max=self._config.load.dead_letter_percent_max,
            catch_up=evolution.catch_up,
        )
        with self._database.transaction() as connection:
            margin_s = self._config.load.tombstone_margin_seconds
            for target in catalog.written:
                rules = catalog.rules.get(target.table.id.bytes)
                version = catalog.version(target)
                wait_ms = self._config.rules.parent_wait_ms
                writer.add_target(connection, target, margin_s, version, rules, wait_ms)
        return writer

    def _supervise(self, parts: RunParts) -> None:
        """Start the parts in their order and watch them; raises what stopped one of them."""
        parts.start()
        next_space = next_progress = 0.0
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
            if parts.reader is not None:
                parts.reader.check(JOIN_TIMEOUT_S)
                if now >= next_progress:
                    next_progress = now + self._snapshots.tick()
            self._stop.wait(_TICK_S)
        parts.raise_failure()

    def _shut_down(self, parts: RunParts) -> None:
        try:
            parts.shut_down()
        finally:
            self._truncations.deleted(parts.follower.counters.newest_deleted)
            for thread in ("decode", "write"):
                self._monitor.health.retire(thread)
