"""A process that only reads existing rows: one more worker on the tasks of a pipeline, until none is left.

Invariant: its rows go the way of all others, through the topic, so that each key keeps its one writer; a task is done
only when the brokers hold its rows. Killed at any moment, it or any other worker goes on behind what is durable.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from casscade.config import PipelineConfig
from casscade.core.errors import ConfigurationError
from casscade.load.control import ControlStore
from casscade.observability.logs import get_logger
from casscade.pipeline.cassandra import cassandra_settings
from casscade.pipeline.catalog import Catalog
from casscade.pipeline.database import Database
from casscade.pipeline.hiding import hides_at_capture, hiding_of
from casscade.pipeline.kafka import kafka_settings
from casscade.pipeline.lives import keep_running
from casscade.pipeline.monitor import Monitor
from casscade.pipeline.snapshot_control import SnapshotCommands, choose, require_wanted
from casscade.pipeline.snapshot_outlet import SnapshotOutlet
from casscade.pipeline.snapshots import Snapshots
from casscade.schema.connect import connect, read_node
from casscade.transport.kafka.topic import ensure_topic

log = get_logger("casscade.snapshot")

_TICK_S: Final = 0.2
_JOIN_TIMEOUT_S: Final = 20.0

Tell = Callable[[list[dict[str, Any]]], None]
"""Hears about once a second how far the tables are."""


class SnapshotJob:
    """Reads the tables `names` (all for none) of one pipeline until they are complete, it is stopped or fails."""

    def __init__(self, config: PipelineConfig, names: Sequence[str], tell: Tell) -> None:
        require_wanted(config)
        if config.transport.kind != "kafka":
            raise ConfigurationError(
                "transport_direct",
                "With the direct transport casscade run, which loads the rows, reads them itself",
                where=config.location("transport", "kind"),
                now="nothing was started",
                hint="raise snapshot.workers and restart casscade run; casscade snapshot start reads tables again",
            )
        self._config = config
        self._names = names
        self._tell = tell
        self._settings = kafka_settings(config)
        self._stop = threading.Event()
        self._database = Database(config)
        self._monitor = Monitor(config.name)
        self._snapshots = Snapshots(config, self._database, self._monitor)
        self._name = f"job-{uuid.uuid4()}"
        self.complete = False

    def stop(self) -> None:
        """Ask it to end after the pages in hand; may be called by a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Run until the tables are complete (`complete` says so) or `stop`. Raises the CasscadeError that ended it."""
        self._database.open()
        try:
            with self._database.transaction() as connection:
                SnapshotCommands(self._config, self._database).require_control(connection)
            cluster, session = connect(cassandra_settings(self._config))
            try:
                keep_running(lambda: self._live(cluster, session), self._stop, self._monitor)
            finally:
                cluster.shutdown()
        finally:
            self._database.close()

    def _live(self, cluster: Any, session: Any) -> None:
        """One life of the parts: returns when the tables are complete or `stop` was called; raises what ended it."""
        release_version = read_node(session).release_version
        control = ControlStore(self._config.name, self._config.postgres.control_schema)
        with self._database.transaction() as connection:
            catalog = Catalog(self._config, session, control)
            targets = catalog.resolve(connection)
        hide = hiding_of(targets, catalog.rules).hide if hides_at_capture(self._config) else None
        targets = choose(self._config, targets, self._names)
        ensure_topic(self._settings)
        self._snapshots.plan(targets)
        stop = threading.Event()
        outlet = SnapshotOutlet(self._settings, self._database, self._snapshots.commit_progress, stop, hide)
        owner = f"{self._name}#{uuid.uuid4()}"
        reader = self._snapshots.job(cluster, release_version, targets, outlet, owner)
        tables = {target.table.full_name for target in targets}
        next_tick = 0.0
        try:
            outlet.start()
            reader.start()
            while not self._stop.is_set() and not stop.is_set() and reader.check():
                if time.monotonic() >= next_tick:
                    next_tick = time.monotonic() + self._report(tables)
                self._stop.wait(_TICK_S)
            self._report(tables)
        finally:
            try:
                reader.shut_down(_JOIN_TIMEOUT_S)
            finally:
                stop.set()
                outlet.close(_JOIN_TIMEOUT_S)
        if outlet.failure is not None:
            raise outlet.failure
        self.complete = not self._stop.is_set()

    def _report(self, tables: Collection[str]) -> float:
        """Renew the claims and tell how far `tables` are; returns the seconds until that is due again."""
        due = self._snapshots.tick()
        self._tell([table for table in self._monitor.status()["snapshot"] if table["table"] in tables])
        return due
