"""What becomes of gaps: `capture.on_gap` decides; a repair is planned between two lives of the parts.

Invariant: ranges are read again only after the position that lies behind the gap is durable, so that whatever was
lost was written before they are read.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg
from psycopg import Connection

from casscade.config import PipelineConfig
from casscade.core import failpoints
from casscade.core.errors import ConfigurationError, RetryableError
from casscade.core.gap import IGNORED, OPEN, READING, Gap
from casscade.core.notice import Notice
from casscade.load.control import ControlStore
from casscade.load.gaps import GapStore
from casscade.observability.logs import get_logger
from casscade.pipeline.database import Database
from casscade.pipeline.gap_repair import GapRepair, Put
from casscade.pipeline.monitor import Monitor
from casscade.pipeline.newest_repair import Newest
from casscade.pipeline.watch import Watch
from casscade.schema.mapping import Target
from casscade.schema.replicas import ranges_of
from casscade.snapshot.gap_repair import read_again
from casscade.snapshot.ranges import TokenRange, split_ring
from casscade.snapshot.rows import TableScan, shows_element_times
from casscade.snapshot.store import SnapshotStore

log = get_logger("casscade.gaps")

GAP_FOUND: Final = "gap_found"


class GapWatch(Watch):
    """Looks every second for gaps that nobody repairs, and renews the repair of this process."""

    def __init__(self, check: Callable[[], None], stop: threading.Event) -> None:
        super().__init__(stop)
        self._check = check

    def look(self) -> None:
        """Look once; raises what `Gaps.check` raises."""
        self._check()


class Gaps:
    """The gaps of one pipeline, as one process sees them."""

    def __init__(self, config: PipelineConfig, database: Database, tasks: SnapshotStore, monitor: Monitor) -> None:
        self._config = config
        self._policy = config.capture.on_gap
        self._database = database
        self._control = ControlStore(config.name, config.postgres.control_schema)
        self._store = GapStore(self._control)
        self._tasks = tasks
        self._monitor = monitor
        self._owner = str(uuid.uuid4())
        self._gaps: list[Gap] = []
        self._found = threading.Event()

    def record(self, connection: Connection[Any], notice: Notice) -> None:
        """Take in what an agent told, in the transaction of the position."""
        if self._store.record(connection, notice):
            self._found.set()

    def repaired(self, connection: Connection[Any], ids: Sequence[int], rows: int, *, done: bool) -> None:
        """Count what a chunk of a repair brings, in the transaction of its rows."""
        self._store.repaired(connection, ids, rows, done=done)

    def plan(self, connection: Connection[Any], session: Any, targets: Sequence[Target], owner: str) -> set[uuid.UUID]:
        """At the start of a life: look for nodes that left, then have the ranges of new gaps read again.

        `owner` names the process, or the source that only one process at a time can have. Returns the tables that are
        being repaired.
        """
        self._found.clear()
        self._owner = owner
        alive = {str(host.host_id) for host in session.cluster.metadata.all_hosts()}
        for source in sorted(self._store.sources(connection) - alive):
            self._store.gone(connection, source)
        self._gaps = []
        if self._policy == "ignore":
            self._ignore(connection, self._store.due(connection))
        elif self._policy == "resnapshot":
            self._gaps = self._store.free(connection, owner)
            for gap in self._gaps:
                if gap.state == OPEN:
                    self._read_again(connection, session, gap, targets)
                self._store.move(connection, [gap.gap_id], READING, owner)
                if failpoints.ARMED:
                    failpoints.reach("gap_planned")
            if self._gaps:
                log.warning("gaps are repaired: ranges are read again, then all rows compared", gaps=len(self._gaps))
        self._report(connection)
        return {target.table.id for gap in self._gaps for target in _concerned(gap, targets)}

    def require_none(self) -> None:
        """With `on_gap: stop`, raise ConfigurationError (`gap_open`) while a gap is open."""
        if self._policy != "stop":
            return
        with self._database.transaction() as connection:
            due = self._store.due(connection)
        if due:
            raise _open(due)

    def repair(
        self,
        cluster: Any,
        session: Any,
        release_version: str,
        newest: Newest,
        put: Put,
        stop: threading.Event,
    ) -> GapRepair | None:
        """The thread that repairs what was planned, not yet started; None when nothing was.

        `newest` has the tables as they are.
        """
        if not self._gaps:
            return None
        tables = {target.table.id for gap in self._gaps for target in _concerned(gap, newest.readable)}
        times = shows_element_times(release_version)
        cellless = self._config.transport.format == "debezium"

        def scan_of(target: Target) -> TableScan:
            return TableScan(target.table, element_times=times, cellless=cellless)

        return GapRepair(
            self._config,
            self._database,
            cluster,
            session,
            self._gaps,
            tables,
            newest,
            scan_of,
            put,
            self._owner,
            stop,
            lambda table: self._monitor.metrics.count("casscade_gap_uncompared_tables_total", table=table),
        )

    def watch(self, stop: threading.Event) -> GapWatch:
        """A thread that looks for gaps, not yet started."""
        return GapWatch(self.check, stop)

    def check(self) -> None:
        """Look once. Raises RetryableError (`gap_found`) when the parts must be built anew for a
        repair, ConfigurationError (`gap_open`) with `on_gap: stop`.
        """
        found = self._found.is_set()
        try:
            with self._database.transaction() as connection:
                self._store.renew(connection, self._owner)
                wanted = found or self._store.abandoned(connection, self._owner)
                due = self._store.due(connection) if wanted else []
                if self._policy == "ignore":
                    self._ignore(connection, due)
                self._report(connection)
        except psycopg.OperationalError:
            return
        if due:
            self._found.clear()
        if due and self._policy == "stop":
            raise _open(due)
        if due and self._policy == "resnapshot":
            raise RetryableError(GAP_FOUND, "Input was lost before it was read", now="its ranges are read again")

    def _ignore(self, connection: Connection[Any], due: Sequence[Gap]) -> None:
        self._store.move(connection, [gap.gap_id for gap in due], IGNORED)
        for gap in due:
            log.error(
                "a gap is ignored: rows may be missing or wrong",
                reason=gap.reason,
                source=gap.source,
                hint="set capture.on_gap: resnapshot, or compare with casscade verify",
            )

    def _read_again(self, connection: Connection[Any], session: Any, gap: Gap, targets: Sequence[Target]) -> None:
        log.error(
            "input was lost",
            reason=gap.reason,
            source=gap.source,
            position=str(gap.position),
            detail=gap.detail,
        )
        pipeline, schema = self._control.pipeline, self._control.schema
        for target in _concerned(gap, targets):
            table = target.table
            held = [TokenRange(*each) for each in ranges_of(session, gap.source, table.keyspace)]
            if not read_again(connection, pipeline, schema, table.id, held):
                ranges = split_ring(self._config.snapshot.ranges_per_table)
                self._tasks.create_tasks(connection, table.id, table.full_name, ranges)

    def _report(self, connection: Connection[Any]) -> None:
        self._monitor.gaps(self._store.newest(connection), self._store.counts(connection))


def _concerned(gap: Gap, targets: Sequence[Target]) -> list[Target]:
    return [target for target in targets if gap.table_id is None or gap.table_id == target.table.id]


def _open(due: Sequence[Gap]) -> ConfigurationError:
    first = due[0]
    more = f", and {len(due) - 1} more" if len(due) > 1 else ""
    return ConfigurationError(
        "gap_open",
        f"input of node {first.source} was lost at {first.position}: {first.reason}, {first.detail}{more}",
        where="capture.on_gap",
        now="the pipeline stops (capture.on_gap: stop); what was read is committed",
        hint="set capture.on_gap: resnapshot to have it repaired, or ignore to go on with rows that may be wrong",
    )
