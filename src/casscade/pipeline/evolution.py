"""Schemas change while data flows: what changed in Cassandra is brought to PostgreSQL, and decoding goes on with it.

Invariant: nothing is decoded with a schema that was not read or recorded; PostgreSQL has a column before the first row
that uses it is handed to the writer, and loaders take a version over from each other before they write again.
Before a chunk is decoded, Cassandra was asked within `CHECK_S` whether its schema is still the one that is known.

Three threads may find a change: the one that decodes (a table or column that it does not know), the one that writes
(another instance recorded a version), and one that looks twice a second whether Cassandra's schema has another version.
Tables that join or are made anew make the parts be built anew; every other change happens between two batches.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import psycopg

from casscade.core.errors import ConfigurationError, RetryableError
from casscade.core.limits import UNKNOWN_TABLES_MAX
from casscade.core.recent import Recent
from casscade.load.batch import BatchWriter
from casscade.load.batcher import Batcher
from casscade.observability.logs import get_logger
from casscade.observability.metrics import Metrics
from casscade.pipeline.catalog import Catalog, as_known, changed
from casscade.pipeline.database import Database
from casscade.pipeline.patience import patiently
from casscade.pipeline.table_plan import LONG_STATEMENTS, TablePlan, sweep
from casscade.rules.concealment import excluded_columns
from casscade.schema.faults import translated
from casscade.schema.model import SchemaSnapshot, Table
from casscade.schema.versions import OPTION, changes

log = get_logger("casscade.schema")

# A point read of a local table; a new column shows within a second or so.
POLL_S: Final = 0.5
# Nodes agree within a second; a node that is down for long must not hold the stream up.
LOOKS_MAX: Final = 10
LOOK_PAUSE_S: Final = 0.2
# One row of a local table; while no node answers, the stream goes on and asks again after a pause.
LOOK_TIMEOUT_S: Final = 1.0
AWAY_S: Final = 5.0
# Where PostgreSQL may not be altered, somebody else may have done it.
ASK_AGAIN_S: Final = 5.0
_VERSION: Final = "SELECT schema_version FROM system.local"
_PEERS: Final = "SELECT schema_version FROM system.peers"
# A change is known this long after it was made at the latest; two of them, a write and its capture take longer.
CHECK_S: Final = 0.05


class Evolution:
    """The changes of one life of a pipeline's parts. `failure` says why they must be built anew; `stop` is set then.

    `reading_stale` is set when tables must be read in Cassandra with other columns than before.
    `counts` has the changes that this process made, by kind. `in_place` is False where decoding can't go on with
    another schema (Debezium's events).
    """

    def __init__(
        self,
        catalog: Catalog,
        database: Database,
        session: Any,
        stop: threading.Event,
        *,
        margin_s: int,
        allowed: bool,
        in_place: bool = True,
        hides: bool = False,
        wait_ms: int = 0,
        check_s: float = CHECK_S,
        clock: Callable[[], float] = time.monotonic,
        counts: Counter[str] | None = None,
    ) -> None:
        self._catalog = catalog
        self._database = database
        self._session = session
        self._stop = stop
        self._margin_s = margin_s
        self._allowed = allowed
        self._in_place = in_place and not hides
        self._hides = hides
        self._wait_ms = wait_ms
        self._lock = threading.RLock()
        self._missing = Recent[bytes](UNKNOWN_TABLES_MAX)
        self._gone: set[uuid.UUID] = set()
        self._version: uuid.UUID | None = None
        self._clock = clock
        self._asked_at = self._checked_at = clock()
        self._check_s = check_s
        self._soon = threading.Event()
        self._writer: BatchWriter | None = None
        self._batcher: Batcher | None = None
        self.counts: Counter[str] = Counter() if counts is None else counts
        self.failure: BaseException | None = None
        self.reading_stale = threading.Event()
        self._thread = threading.Thread(target=self._run, name="schema", daemon=True)

    def attach(self, writer: BatchWriter, batcher: Batcher) -> None:
        """Who goes on with changed tables; before anything starts."""
        self._writer, self._batcher = writer, batcher
        self._adopt()

    def start(self) -> None:
        """Start to look for changes."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread, if it was started."""
        self._soon.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    @property
    def blocked_columns(self) -> int:
        """How many columns PostgreSQL can't take just now."""
        return sum(len(columns) for columns in self._catalog.blocked.values())

    def status(self) -> dict[str, Any]:
        """For the status document."""
        return {"changes": dict(self.counts), "blocked_columns": self.blocked_columns}

    def copy(self, metrics: Metrics) -> None:
        """Into the metrics."""
        for kind, number in list(self.counts.items()):
            metrics.set_total("casscade_schema_applied_changes_total", number, kind=kind)
        metrics.set("casscade_schema_blocked_columns", self.blocked_columns)

    def refresh(self, table_id: bytes) -> bool:
        """Read the schema again because of an unknown table or column; returns whether it was read now.

        A table id that is still missing afterwards is remembered (boundedly), so that the mutations of a dropped
        table do not read the schema one by one. Raises RetryableError when the parts must be built anew.
        """
        with self._lock:
            if table_id in self._missing:
                return False
            before = self._number(table_id)
            patiently(self._stop, self.catch_up)
            if self._number(table_id) > before:
                return True
            for _ in range(LOOKS_MAX):
                versions = patiently(self._stop, self._versions)
                if versions == {self._version}:
                    self._remember_missing(table_id)
                    return False
                # The node that is asked may hear of a change after the one that wrote the mutation.
                if len(versions) == 1:
                    break
                self._stop.wait(LOOK_PAUSE_S)
            patiently(self._stop, self._evolve)
            self._version = versions.pop() if len(versions) == 1 else None
            self._remember_missing(table_id)
            return True

    def _remember_missing(self, table_id: bytes) -> None:
        """All nodes have said their schema, and the table is not in it: it was dropped. Ids are not used twice."""
        if table_id not in self._catalog.tables():
            self._missing.add(table_id)

    def _number(self, table_id: bytes) -> int:
        """The version of a table that decoding goes by; 0 for one that is not known."""
        shape = self._catalog.tables().get(table_id)
        return 0 if shape is None else shape.version

    def _versions(self) -> set[uuid.UUID]:
        """The versions of the schema that the nodes have; one when they agree."""
        with translated("reading the version of the schema"):
            rows = [*self._session.execute(_VERSION), *self._session.execute(_PEERS)]
        return {row[0] for row in rows if row[0] is not None}

    def catch_up(self) -> bool:
        """Go on with the versions that other instances recorded, if there are any; the caller's transaction is over."""
        with self._lock, self._database.transaction() as connection:
            before = {plan.target.table.id: plan for plan in self._catalog.plans}
            # A point read by the primary key of each table.
            newer = self._catalog.newer(connection)
            if any(not self._in_place or before[version.table.id].rules is not None for version in newer):
                raise changed(f"{newer[0].table.full_name} has another schema")
            for version in newer:
                plan = self._catalog.alter(connection, version.table, allowed=self._allowed)
                _require_no_rules(plan)
                self._go_on(before[version.table.id], plan)
            if newer:
                self._catalog.publish()
            return bool(newer)

    def check(self) -> None:
        """Before anything is decoded: look, unless that was just done. Raises as `refresh` does.

        A column that was dropped and added again with another type has the same name in the stream. While chunks come
        one after the other, the thread of this object looks in time, and whoever decodes does not wait for Cassandra.
        """
        age = self._clock() - self._checked_at
        if age >= self._check_s:
            self.look()
        elif age >= self._check_s / 2:
            self._soon.set()

    def look(self) -> None:
        """Ask Cassandra once whether its schema changed, and go on with what did. Raises as `refresh` does."""
        checked_at = self._clock()
        try:
            with translated("reading the version of the schema"):
                rows = self._session.execute(_VERSION, timeout=LOOK_TIMEOUT_S)
                version = next((row[0] for row in rows), None)
        except RetryableError:
            # While Cassandra is away, what its nodes have said is in force.
            self._checked_at = self._clock() + AWAY_S
            return
        due = self.blocked_columns > 0 and self._clock() >= self._asked_at + ASK_AGAIN_S
        if version == self._version and not due:
            self._checked_at = checked_at
            return
        with self._lock:
            self._asked_at = self._clock()
            patiently(self._stop, self._evolve)
            self._version, self._checked_at = version, checked_at

    def _run(self) -> None:
        try:
            for plan in self._catalog.plans:
                patiently(self._stop, partial(self._sweep, plan))
            due = 0.0
            while not self._stop.is_set():
                self.look()
                if self._clock() >= due:
                    patiently(self._stop, self.catch_up)
                    due = self._clock() + POLL_S
                self._soon.wait(POLL_S)
                self._soon.clear()
        except BaseException as error:
            self.failure = error
            self._stop.set()

    def _evolve(self) -> None:
        snapshot = self._catalog.read()
        joined = self._catalog.added(snapshot)
        if joined:
            raise changed(f"{joined[0].full_name} is to be replicated from now on")
        for plan in self._catalog.plans:
            before = plan.target.table
            now = snapshot.tables.get(before.id)
            if now is None:
                self._drop(before)
            elif self._differs(before, now):
                self._alter(plan, now)
                self._catalog.capturable(snapshot, now)
        self._publish(snapshot)

    def _differs(self, before: Table, now: Table) -> bool:
        blocked = before.id.bytes in self._catalog.blocked
        newer = now.altered_at >= before.altered_at
        return blocked or (newer and bool(changes(before, as_known(now, before))))

    def _drop(self, table: Table) -> None:
        if table.id in self._gone:
            return
        with self._database.transaction() as connection:
            if self._catalog.drop(connection, table.id):
                self.counts["table_dropped"] += 1
                log.warning("a table was dropped in Cassandra; its rows are kept", table=table.full_name)
        self._gone.add(table.id)
        self.reading_stale.set()

    def _alter(self, before: TablePlan, table: Table) -> None:
        if not self._in_place or before.rules is not None:
            # Rules are made for the whole life of the parts.
            raise changed(f"The columns of {table.full_name} changed")
        try:
            with self._database.transaction() as connection:
                plan = self._catalog.alter(connection, table, allowed=self._allowed)
        except (ConfigurationError, psycopg.DatabaseError) as error:
            refused = getattr(error, "code", "postgres_refused") == "postgres_refused"
            if isinstance(error, psycopg.OperationalError) or not refused or not self._allowed:
                raise
            # Other tables and columns go on; it is tried again, since rights and dependent views may change.
            reason = error.what if isinstance(error, ConfigurationError) else error.diag.message_primary
            log.error("PostgreSQL refuses a change of schema", table=table.full_name, reason=reason)
            with self._database.transaction() as connection:
                plan = self._catalog.alter(connection, table, allowed=False)
        _require_no_rules(plan)
        self._go_on(before, plan)
        self._tell(plan)
        self._sweep(plan)

    def _go_on(self, before: TablePlan, plan: TablePlan) -> None:
        """Hand the target to the writer before any row of it can be decoded."""
        target = plan.target
        if self._writer is not None:
            self._writer.change_target(target, self._margin_s, self._catalog.version(target), self._wait_ms)
        self._adopt()
        if any(change.kind != OPTION for change in changes(before.target.table, target.table)):
            self.reading_stale.set()

    def _adopt(self) -> None:
        if self._batcher is not None:
            # Where the agent hides what is excluded, it comes hidden.
            excluded = {} if self._hides else excluded_columns(self._catalog.written, self._catalog.rules)
            self._batcher.adopt(excluded, self._catalog.blocked)

    def _sweep(self, plan: TablePlan) -> None:
        """Rows from before a drop are looked at again, by the reaper of whichever loader comes first."""
        if not plan.ends_columns:
            return
        with self._database.transaction() as connection:
            connection.execute(LONG_STATEMENTS)
            rows = sweep(connection, plan)
        log.info("rows from before a drop are looked at again", table=plan.target.table.full_name, rows=rows)

    def _publish(self, snapshot: SchemaSnapshot) -> None:
        self._catalog.publish(snapshot)
        self._missing.forget(self._catalog.tables())

    def _tell(self, plan: TablePlan) -> None:
        table = plan.target.table.full_name
        for change in plan.changes:
            self.counts[change.kind.replace(" ", "_")] += 1
            log.info("the schema changed", table=table, change=change.what, version=self._catalog.version(plan.target))
        for statement in plan.statements:
            log.info("changed PostgreSQL", purpose=statement.purpose)
        for reason in plan.blocked.values():
            log.error("a column is blocked: what is written to it becomes dead letters", table=table, reason=reason)


def _require_no_rules(plan: TablePlan) -> None:
    """A new column may be the first that a pattern matches, and the parts that carry rules out are not there."""
    if plan.rules is not None:
        raise changed(f"Rules concern the columns of {plan.target.table.full_name} from now on")
