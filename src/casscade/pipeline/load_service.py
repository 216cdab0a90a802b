"""One loader of a pipeline whose transport is Kafka: a member of its group, as many as there are.

Invariant: what is read from a partition goes on from the position that PostgreSQL holds, under the newest epoch; a
loader that lost a partition can't commit anything of it.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from functools import partial
from typing import Any, Final

from casscade.config import PipelineConfig
from casscade.deadletter.replayer import Replayer
from casscade.deadletter.store import DeadLetterStore
from casscade.debezium.decoder import EventDecoder
from casscade.debezium.limits import limits
from casscade.load.arrival import Arrivals, arrival_tables
from casscade.load.batch import BatchWriter
from casscade.load.batcher import Batcher
from casscade.load.control import ControlStore
from casscade.load.loader import Loader
from casscade.load.rewriting import rewriting_of
from casscade.load.sources import Sources
from casscade.load.topics import KnownTopic, TopicStore
from casscade.observability.health import State
from casscade.observability.logs import get_logger
from casscade.pipeline.cassandra import cassandra_settings
from casscade.pipeline.catalog import Catalog
from casscade.pipeline.database import Database
from casscade.pipeline.evolution import Evolution
from casscade.pipeline.evolving import evolution_of
from casscade.pipeline.gaps import Gaps
from casscade.pipeline.hiding import hides_at_capture, hiding_of
from casscade.pipeline.kafka import debezium_topics, kafka_settings, letter_settings, show_brokers
from casscade.pipeline.lives import keep_running
from casscade.pipeline.load_parts import JOIN_TIMEOUT_S, Consuming, LoadParts
from casscade.pipeline.monitor import Monitor
from casscade.pipeline.partitions import Partitions
from casscade.pipeline.postgres_status import SessionShown, session_options
from casscade.pipeline.reading import Reading
from casscade.pipeline.snapshot_outlet import SnapshotOutlet
from casscade.pipeline.snapshots import Snapshots
from casscade.pipeline.topic_identity import TopicGate, TopicIdentityWatch
from casscade.pipeline.topic_outage import Resubmitter, TopicOutage
from casscade.pipeline.topic_truncations import TopicTruncations, TopicWatch, read_all_truncations
from casscade.schema.connect import connect, read_node
from casscade.transport.direct import DirectTransport
from casscade.transport.kafka.offsets import offsets_at, source_name
from casscade.transport.kafka.source import KafkaSource
from casscade.transport.kafka.topic import beginnings, ensure_topic

log = get_logger("casscade.load")

_TICK_S: Final = 0.2


class LoadService:
    """Runs one loader until it is stopped or fails."""

    def __init__(self, config: PipelineConfig, monitor: Monitor) -> None:
        self._config = config
        self._monitor = monitor
        self._settings = kafka_settings(config)
        # Debezium keys its messages by row, so that the rows of a partition are not those of one loader.
        self._foreign = config.transport.format == "debezium"
        self._stop = threading.Event()
        # What was refused at the start is only told of while the process runs.
        self._strict = True
        self._schema_changes: Counter[str] = Counter()
        self._database = Database(config)
        self._control = ControlStore(config.name, config.postgres.control_schema)
        self._topics = TopicStore(self._control)
        self._gate = TopicGate(self._settings)
        self._snapshots = Snapshots(config, self._database, monitor)
        self._gaps = Gaps(config, self._database, self._snapshots.tasks, monitor)
        self._truncations = TopicTruncations(
            self._control, self._snapshots.tasks, monitor, lambda seconds: offsets_at(self._settings, seconds)
        )
        # Claims of snapshot tasks: those of another life of this process end with their lease.
        self._name = f"loader-{uuid.uuid4()}"

    def stop(self) -> None:
        """Ask it to end; may be called by a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Run until `stop`. Raises the CasscadeError that ended it otherwise."""
        for component in ("postgres", "cassandra", "kafka"):
            self._monitor.health.set(component, State.STARTING)
        self._database.open()
        cluster, session = connect(cassandra_settings(self._config))
        try:
            live, answers = partial(self._live, cluster, session), self._database.answers
            keep_running(live, self._stop, self._monitor, answers=answers)
        finally:
            cluster.shutdown()
            self._database.close()

    def _live(self, cluster: Any, session: Any) -> None:
        """One life of the parts: build and watch them; raises what ended it."""
        parts = self._build(cluster, session)
        try:
            parts.start()
            self._supervise(parts)
        finally:
            try:
                parts.shut_down()
            finally:
                for thread in parts.beats():
                    self._monitor.health.retire(thread)

    def _build(self, cluster: Any, session: Any) -> LoadParts:
        config, monitor = self._config, self._monitor
        node = read_node(session)
        first = source_name(self._settings.topic, 0)
        hides = hides_at_capture(config)
        read = partial(read_all_truncations, session, foreign=self._foreign)
        catalog = Catalog(config, session, self._control, hidden_before=hides)
        with self._database.transaction() as connection:
            self._control.migrate(connection)
            targets = catalog.resolve(connection, strict=self._strict)
            for statement in catalog.apply(connection):
                log.info("changed PostgreSQL", purpose=statement.purpose)
            resume = self._truncations.apply(connection, read, targets)
            repaired = self._gaps.plan(connection, session, targets, self._name)
        self._gaps.require_none()
        self._truncations.report(resume)
        tables = [target.table for target in targets]
        topic = self._topic()
        keeps = config.load.on_outage == "dead_letter" and not self._foreign
        letters = letter_settings(config)
        if keeps:
            ensure_topic(letters, reached=True)
        self._strict = False
        stop = threading.Event()
        where = (config, catalog, self._database, session, stop, monitor, self._schema_changes)
        evolution = evolution_of(*where, in_place=not self._foreign, hides=hides)
        transport = DirectTransport(config.load.queue_bytes)
        arrivals = Arrivals(arrival_tables(targets))
        batcher = Batcher(
            catalog.tables,
            evolution.refresh,
            batch_rows=config.load.batch_rows,
            batch_s=config.load.batch_ms / 1000,
            check=evolution.check,
            rewriting=None if hides else rewriting_of(catalog.rules.values()),
            cuts=resume.cuts,
            events=EventDecoder(tables, catalog.numbers()) if self._foreign else None,
            arrivals=arrivals,
        )
        sources = Sources()
        writer = self._writer(sources, catalog, evolution)
        evolution.attach(writer, batcher)
        loader: Loader
        partitions = Partitions(
            self._database,
            self._control,
            sources,
            lambda: loader,
            stop,
            lambda connection: self._truncations.require_unchanged(connection, resume.newest),
            {source_name(self._settings.topic, number): topic.beginning(number) for number in range(topic.partitions)},
            arrivals,
        )
        outage = TopicOutage(letters, sources, self._name, stop, keeps=keeps)
        loader = Loader(
            transport,
            batcher,
            writer,
            self._database.connect,
            stop,
            monitor,
            on_fenced=partitions.fenced,
            refuge=outage,
            look=self._database.answers,
            options=session_options(config),
        )
        foreign = debezium_topics(config, tables)
        for table in tables if foreign else []:
            for limit in limits(table):
                log.warning("events do not carry all of a table", table=table.full_name, limit=limit)
        source = KafkaSource(self._settings, partitions, transport, stop, foreign, topic.partitions)
        hide = hiding_of(targets, catalog.rules).hide if hides else None
        outlet = SnapshotOutlet(self._settings, self._database, self._snapshots.commit_progress, stop, hide)
        schema = config.postgres.control_schema
        resubmitter = None
        if keeps:
            resubmitter = Resubmitter(self._settings, letters, self._database, schema, config.name, stop)
            monitor.show("resubmissions", resubmitter)
        # Debezium's messages are none for Casscade's own topic; its loaders keep each other out of a table anyway.
        put = transport.put if self._foreign else outlet.put
        replayer = Replayer(DeadLetterStore(config.name, schema), self._database.transaction, put, stop)
        monitor.watch_load(source, transport, batcher)
        for component in ("postgres", "cassandra", "kafka"):
            monitor.health.set(component, State.OK)
        monitor.show("outage", outage)
        monitor.show("postgres", SessionShown(loader.session))
        reader = None
        if self._snapshots.plan(targets, repaired):
            owner = f"{self._name}#{uuid.uuid4()}"
            read_again = partial(self._snapshots.reader, cluster, node.release_version)
            reader = Reading(lambda: read_again(catalog.readable, outlet, owner), evolution)
        repair = self._gaps.repair(cluster, session, node.release_version, catalog, outlet.put, stop)
        gap_watch = self._gaps.watch(stop)
        log.info("starting", topic=self._settings.topic, tables=[target.table.full_name for target in targets])
        watch = TopicWatch(
            read,
            resume.newest,
            lambda: first in sources.names(),
            stop,
        )
        identity = TopicIdentityWatch(self._settings, topic.id, stop)
        return LoadParts(
            Consuming(source, stop),
            loader,
            outlet,
            outage,
            resubmitter,
            replayer,
            reader,
            evolution,
            repair,
            gap_watch,
            watch,
            identity,
            stop,
        )

    def _topic(self) -> KnownTopic:
        """The topic, checked; the first loader of the pipeline keeps what it found."""
        name = self._settings.topic
        with self._database.transaction() as connection:
            known = self._topics.known(connection, name)
        shape = self._gate.ensure("" if known is None else known.id)
        if known is None:
            found = KnownTopic(shape.id, shape.partitions, beginnings(self._settings, shape.partitions))
            with self._database.transaction() as connection:
                known = self._topics.save(connection, name, found)
        if shape.partitions > known.partitions:
            log.warning(
                "the topic has more partitions than at first: keys that moved are applied one batch at a time",
                topic=name,
                partitions=shape.partitions,
                partitions_at_first=known.partitions,
            )
        return known

    def _writer(self, sources: Sources, catalog: Catalog, evolution: Evolution) -> BatchWriter:
        writer = BatchWriter(
            self._control,
            sources,
            alone=self._foreign,
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

    def _supervise(self, parts: LoadParts) -> None:
        """Watch the parts until one ends or this process is to; raises what stopped a thread that reads tables."""
        next_progress = 0.0
        while not self._stop.is_set() and not parts.stop.is_set():
            now = time.monotonic()
            for thread, beat in parts.beats().items():
                if now - beat < 1.0:
                    self._monitor.health.beat(thread)
            show_brokers(self._monitor.health, parts.source.reach.down_seconds)
            if not any(lag.events for lag in parts.source.lag()):
                self._monitor.health.progressed()
            if parts.reader is not None:
                parts.reader.check(JOIN_TIMEOUT_S)
                if now >= next_progress:
                    next_progress = now + self._snapshots.tick()
            self._stop.wait(_TICK_S)
