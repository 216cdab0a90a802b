"""The capture agent beside a Cassandra node: its commit log goes to Kafka.

Invariant: a segment is deleted only when the brokers hold every mutation of it; an outage of Kafka or Cassandra means
waiting, with the commit log as the buffer.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

from casscade.capture.directory import check_directories
from casscade.capture.follower import Follower
from casscade.capture.position_file import PositionFile
from casscade.capture.sender import Outlet
from casscade.capture.space import SpaceGuard
from casscade.config import PipelineConfig, resolve_tables
from casscade.core.backoff import STABLE_S, Backoff
from casscade.core.errors import KAFKA_UNAVAILABLE, ConfigurationError, RetryableError
from casscade.core.part import Part
from casscade.core.position import START
from casscade.observability.health import State
from casscade.observability.logs import get_logger
from casscade.pipeline.capturing import Capturing
from casscade.pipeline.cassandra import cassandra_settings
from casscade.pipeline.cdc_watch import CdcWatch, may_evict, noting_off
from casscade.pipeline.hiding import ChunkHider, HidingOutlet, hider_of, hides_at_capture
from casscade.pipeline.kafka import kafka_settings, require_own_capture, show_brokers
from casscade.pipeline.local_node import require_local, require_same_source
from casscade.pipeline.monitor import Monitor
from casscade.pipeline.node_limits import space_guard, warn_of_large_mutations
from casscade.pipeline.topic_identity import IDENTITY_JOIN_S, TopicFile, TopicGate, TopicIdentityWatch
from casscade.rules.hider import Hider
from casscade.schema.checks import require_replicable
from casscade.schema.connect import connect, read_node, read_settings, require_cdc_enabled
from casscade.schema.model import assign_indexes
from casscade.schema.reader import read_schema
from casscade.transport.kafka.outlet import KafkaOutlet

log = get_logger("casscade.agent")

POLL_S: Final = 0.1
_SAVE_INTERVAL_S: Final = 1.0
_SPACE_INTERVAL_S: Final = 1.0
# New tables are forwarded from their first mutation on, whatever they are; this ends it for those not replicated.
_SCHEMA_INTERVAL_S: Final = 10.0
_JOIN_TIMEOUT_S: Final = 15.0
# What is under way when the agent is stopped gets this long; the rest is sent again by its next life.
_CLOSE_TIMEOUT_S: Final = 5.0


class CapturedTables:
    """Which tables the agent forwards: those that the configuration selects, and every table it does not know yet."""

    def __init__(self, config: PipelineConfig, session: Any) -> None:
        self._config = config
        self._session = session
        self.replicated: frozenset[bytes] = frozenset()
        self.unwanted: frozenset[bytes] = frozenset()
        self.hider = Hider((), {}, {})

    def refresh(self) -> None:
        """Read the schema; raises ConfigurationError for a table that can't be replicated, RetryableError."""
        snapshot = read_schema(self._session)
        rules = resolve_tables(self._config, [(table.keyspace, table.name) for table in snapshot.tables.values()])
        chosen = [snapshot.find(rule.keyspace, rule.table) for rule in rules]
        for table in chosen:
            assert table is not None
            require_replicable(snapshot, table)
        self.replicated = frozenset(table.id.bytes for table in chosen if table is not None)
        self.unwanted = frozenset(table.id.bytes for table in snapshot.tables.values()) - self.replicated
        if hides_at_capture(self._config):
            tables = [assign_indexes(table, {}) for table in snapshot.tables.values()]
            self.hider = hider_of(self._config, rules, tables)


class Producing(Part):
    """Serves acknowledgements, and keeps the position that they lead to."""

    def __init__(self, outlet: KafkaOutlet, source: str, position: PositionFile, stop: threading.Event) -> None:
        super().__init__("produce", stop)
        self.outlet = outlet
        self._source = source
        self._position = position

    def work(self) -> None:
        """Serve until `stop`; raises RetryableError when the position can't be saved."""
        saved_at = time.monotonic()
        while not self._stop.is_set():
            self.outlet.poll(POLL_S)
            if time.monotonic() - saved_at >= _SAVE_INTERVAL_S:
                saved_at = time.monotonic()
                self.save()

    def save(self) -> None:
        """Keep how far the brokers hold everything; raises RetryableError."""
        acknowledged = self.outlet.acknowledged(self._source)
        if acknowledged != START:
            self._position.save(acknowledged)


@dataclass(slots=True)
class _Parts:
    capturing: Capturing
    producing: Producing
    tables: CapturedTables
    space: SpaceGuard
    identity: TopicIdentityWatch
    cdc_watch: CdcWatch
    stop: threading.Event


class Agent:
    """Runs one agent until it is stopped or fails."""

    def __init__(self, config: PipelineConfig, monitor: Monitor) -> None:
        self._config = config
        self._monitor = monitor
        require_own_capture(config)
        self._settings = kafka_settings(config)
        self._gate = TopicGate(self._settings)
        self._stop = threading.Event()
        # It outlives the parts, since the growth of the last minutes makes its forecast.
        self._space: SpaceGuard | None = None

    def stop(self) -> None:
        """Ask it to end; may be called by a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Run until `stop`. Raises the CasscadeError that ended it otherwise."""
        for component in ("cassandra", "kafka"):
            self._monitor.health.set(component, State.STARTING)
        check_directories(self._config.capture.cdc_directory, self._config.capture.state_directory)
        cluster, session = connect(cassandra_settings(self._config))
        backoff = Backoff(random.random)
        try:
            while not self._stop.is_set():
                started = time.monotonic()
                try:
                    self._live(session)
                except RetryableError as error:
                    if time.monotonic() - started > STABLE_S:
                        backoff.succeed()
                    wait = backoff.fail()
                    log.warning("the agent begins again", reason=error.what, wait_s=round(wait, 1))
                    if error.code == KAFKA_UNAVAILABLE:
                        self._monitor.health.set("kafka", State.DOWN, error.what)
                    self._pause(wait)
        finally:
            cluster.shutdown()

    def _pause(self, wait_s: float) -> None:
        """Wait, while `cdc_raw` fills up."""
        until = time.monotonic() + wait_s
        while (left := until - time.monotonic()) > 0 and not self._stop.wait(min(left, _SPACE_INTERVAL_S)):
            if self._space is not None:
                self._monitor.space(self._space.check())

    def _live(self, session: Any) -> None:
        """One life of the parts: until `stop`, or what one of them raised."""
        parts = self._build(session)
        threads = (parts.capturing, parts.producing, parts.identity, parts.cdc_watch)
        for part in threads:
            part.start()
        try:
            self._supervise(parts)
        finally:
            parts.stop.set()
            parts.capturing.join(_JOIN_TIMEOUT_S)
            parts.producing.join(_JOIN_TIMEOUT_S)
            parts.identity.join(IDENTITY_JOIN_S)
            parts.cdc_watch.join(_JOIN_TIMEOUT_S)
            parts.producing.outlet.close(_CLOSE_TIMEOUT_S)
            parts.producing.save()
        for part in threads:
            if part.failure is not None:
                raise part.failure

    def _build(self, session: Any) -> _Parts:
        config, monitor = self._config, self._monitor
        address = str(config.cassandra.contact_points[0])
        node = read_node(session, address)
        require_local(node, config.capture.cdc_directory)
        require_same_source(config.capture.state_directory, node.host_id)
        settings = read_settings(session, node, address)
        warn_of_large_mutations(settings)
        source = str(node.host_id)
        tables = CapturedTables(config, session)
        with noting_off(config.capture.state_directory, node):
            require_cdc_enabled(node)
            tables.refresh()
        if self._space is None:
            self._space = space_guard(config, settings, monitor)
        topic_file = TopicFile(config.capture.state_directory, self._settings.topic)
        topic = self._gate.ensure(topic_file.load())
        topic_file.save(topic.id)
        stored = PositionFile(config.capture.state_directory, source)
        position = stored.load()
        outlet = KafkaOutlet(self._settings)
        hider = ChunkHider(lambda: tables.hider, tables.refresh)
        door: Outlet = HidingOutlet(outlet, hider) if hides_at_capture(config) else outlet
        stop = threading.Event()
        space = self._space
        follower = Follower(
            source,
            config.capture.cdc_directory,
            config.capture.state_directory,
            lambda: tables.replicated,
            door,
            position,
            stop,
            unwanted=lambda: tables.unwanted,
            on_anomaly=monitor.anomaly,
            eager=config.capture.mode == "eager",
            commitlog_directory=config.capture.commitlog_directory,
            poll_s=config.capture.poll_ms / 1000,
            evicting=lambda: may_evict(settings, space),
            halt_on_damage=config.capture.on_corruption == "halt",
        )
        follower.losses.is_kept = lambda _: stored.saved > START
        cdc_watch = CdcWatch(session, node, lambda: tables.replicated, follower.losses, stop)
        hider.skip = follower.counters.skip
        monitor.watch_agent(follower, outlet)
        for component in ("cassandra", "kafka"):
            monitor.health.set(component, State.OK)
        log.info(
            "starting",
            source=source,
            position=str(position),
            topic=self._settings.topic,
            partitions=topic.partitions,
            tables=len(tables.replicated),
        )
        identity = TopicIdentityWatch(self._settings, topic.id, stop)
        producing = Producing(outlet, source, stored, stop)
        return _Parts(Capturing(follower, stop), producing, tables, self._space, identity, cdc_watch, stop)

    def _supervise(self, parts: _Parts) -> None:
        monitor = self._monitor
        next_space = 0.0
        next_schema = time.monotonic() + _SCHEMA_INTERVAL_S
        while not self._stop.is_set() and not parts.stop.is_set():
            now = time.monotonic()
            show_brokers(monitor.health, parts.producing.outlet.down_seconds)
            if parts.capturing.follower.status().caught_up:
                monitor.health.progressed()
            if now >= next_space:
                monitor.space(parts.space.check())
                next_space = now + _SPACE_INTERVAL_S
            if now >= next_schema:
                self._refresh(parts.tables)
                next_schema = now + _SCHEMA_INTERVAL_S
            self._stop.wait(POLL_S)

    def _refresh(self, tables: CapturedTables) -> None:
        """See new tables; while Cassandra is away, or one can't be replicated, what is known stays in force."""
        try:
            tables.refresh()
        except RetryableError as error:
            self._monitor.health.set("cassandra", State.DOWN, error.what)
        except ConfigurationError as error:
            log.error("a table can't be replicated", code=error.code, reason=error.what)
        else:
            self._monitor.health.set("cassandra", State.OK)
