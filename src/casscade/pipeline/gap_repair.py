"""The second half of a gap's repair: once its ranges were read again, every row of its tables is compared.

Invariant: a gap counts as repaired only behind the rows of its repair: the note is in their transaction, or follows
them on the topic. Whatever fails begins again; what was repaired by then is equal and is not touched.

Tables may be altered meanwhile. A comparison reads the columns that its table had when it began: one that loses a
column or renames one makes it begin again. Rows that differ are repaired by the newest version (`NewestRepair`), so
that new columns are neither lost nor taken for deleted. What is written to them comes with the stream.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, suppress
from typing import Any, Final

import psycopg
from cassandra import ConsistencyLevel
from psycopg import Connection

from casscade.commitlog.observations import OBSERVING
from casscade.config import PipelineConfig
from casscade.core import failpoints
from casscade.core.backoff import Backoff
from casscade.core.errors import RetryableError
from casscade.core.gap import COMPARING, Gap
from casscade.core.limits import CHUNK_BYTES_MAX, CHUNK_MUTATIONS_MAX
from casscade.core.part import Part
from casscade.core.position import START
from casscade.load.control import ControlStore
from casscade.load.gaps import GapStore
from casscade.observability.logs import get_logger
from casscade.pipeline.database import Database
from casscade.pipeline.hidden_repair import suspects
from casscade.pipeline.newest_repair import Newest, NewestRepair
from casscade.schema.faults import reading
from casscade.schema.mapping import Relation, Target
from casscade.snapshot.rows import TableScan
from casscade.snapshot.scanner import SOURCE
from casscade.snapshot.store import SnapshotStore
from casscade.snapshot.wire import RawSession
from casscade.transport.chunk import Chunk, RepairProgress
from casscade.verify.compare import compare_table
from casscade.verify.keys import RawKey

log = get_logger("casscade.gaps")

_POLL_S: Final = 0.5
# Rows that differ are read again after this pause: those that were only on their way are equal then, usually.
_SETTLE_S: Final = 0.3

Put = Callable[[Chunk, threading.Event], bool]


class _Stopped(Exception):
    """The process stops."""


class GapRepair(Part):
    """A thread that repairs `gaps` of `tables` (ids); `failure` says why it ended by itself and set `stop`.

    `newest` has the tables as they are, and `scan_of` tells how one is read. Tables that are dropped meanwhile are left
    out. Rules are carried out on what Cassandra shows before it is compared, and rows that their conditions hide are
    compared, too. Tables whose key they hash are read again and not compared; `uncompared` hears of them.
    """

    def __init__(
        self,
        config: PipelineConfig,
        database: Database,
        cluster: Any,
        session: Any,
        gaps: Sequence[Gap],
        tables: Collection[uuid.UUID],
        newest: Newest,
        scan_of: Callable[[Target], TableScan],
        put: Put,
        owner: str,
        stop: threading.Event,
        uncompared: Callable[[str], None],
    ) -> None:
        super().__init__("gap-repair", stop)
        self._uncompared = uncompared
        self._config = config
        self._database = database
        self._cluster = cluster
        self._session = session
        self._gaps = gaps
        self._tables = tables
        self._newest = newest
        self._scan_of = scan_of
        self._compared: set[uuid.UUID] = set()
        self._put = put
        self._owner = owner
        self._control = ControlStore(config.name, config.postgres.control_schema)
        self._store = GapStore(self._control)
        self._tasks = SnapshotStore(config.name, config.postgres.control_schema)
        self._backoff = Backoff(random.random)
        self._mutations: list[bytes] = []
        self._size = 0
        self.rows = 0

    def work(self) -> None:
        """Wait until the tables are read again, then compare."""
        with suppress(_Stopped):
            self._persist(self._wait_read)
            self._persist(self._compare)

    def _persist(self, work: Callable[[], None]) -> None:
        """Do `work` until it succeeds; what passes by itself is waited for."""
        while not self._stop.is_set():
            try:
                work()
            except (RetryableError, psycopg.OperationalError) as error:
                wait = self._backoff.fail()
                reason = error.what if isinstance(error, RetryableError) else type(error).__name__
                log.warning("the repair of a gap is tried again", reason=reason, wait_s=round(wait, 1))
                self._stop.wait(wait)
            else:
                self._backoff.succeed()
                return
        raise _Stopped

    def _wait_read(self) -> None:
        """Wait until the ranges were read again and what was read is durable."""
        while not self._stop.is_set():
            tables = [target.table.id for target in self._targets()]
            with self._database.transaction() as connection:
                if self._tasks.finished(connection, tables):
                    self._store.move(connection, self._ids, COMPARING, self._owner)
                    if failpoints.ARMED:
                        failpoints.reach("gap_read")
                    return
            self._stop.wait(_POLL_S)
        raise _Stopped

    def _targets(self) -> list[Target]:
        return [target for target in self._newest.readable if target.table.id in self._tables]

    @property
    def _ids(self) -> tuple[int, ...]:
        return tuple(gap.gap_id for gap in self._gaps)

    def _compare(self) -> None:
        self._mutations, self._size = [], 0
        consistency = ConsistencyLevel.name_to_value[self._config.cassandra.consistency]
        with (
            closing(RawSession(self._cluster)) as reader,
            closing(self._database.connect()) as connection,
            closing(self._database.connect()) as rows,
        ):
            # All keys of a table are hashed at once, which takes its time.
            connection.execute("SET statement_timeout = 0")
            repair = NewestRepair(self._newest, self._control, connection, rows, reader, self._scan_of, self._stop)
            for target in self._targets():
                if target.table.id not in self._compared:
                    self._compare_table(repair, connection, target, consistency)
                    self._send(done=False)
                    self._compared.add(target.table.id)
        self._send(done=True)
        log.info("gaps repaired", gaps=len(self._gaps), rows=self.rows)

    def _compare_table(
        self, repair: NewestRepair, connection: Connection[Any], target: Target, consistency: int
    ) -> None:
        name = target.table.full_name
        rules = self._newest.rules.get(target.table.id.bytes)
        if rules is not None and rules.hides_keys:
            log.error(
                "lost deletions of a table whose key is hashed are not found",
                table=name,
                hint="docs/rules.md, under Gaps, tells how to begin anew with the table",
            )
            with self._database.transaction() as own:
                self._store.uncompared(own, self._ids, target.table.id, name)
            self._uncompared(name)
            return

        def differs(relation: Relation, key: RawKey) -> None:
            self._add(repair.repair(target.table.id, relation, key))

        result = compare_table(
            self._session,
            connection,
            target,
            consistency=consistency,
            max_examples=0,
            settle_s=_SETTLE_S,
            progress=lambda _rows, _done: self._require_running(),
            rules=rules,
            on_difference=differs,
        )
        hidden = repair.of(target).hidden_rows(target)
        if rules is not None and hidden is not None:
            with reading("comparing hidden rows after a gap"):
                where = (self._session, connection, target, rules, hidden, consistency)
                for key in suspects(*where, self._require_running):
                    differs(target.rows, key)
        log.info("compared after a gap", table=name, rows=result.rows_cassandra, differences=dict(result.kinds))

    def _require_running(self) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _add(self, mutation: bytes | None) -> None:
        self._require_running()
        if mutation is None:
            return
        self._mutations.append(mutation)
        self._size += len(mutation)
        if len(self._mutations) >= CHUNK_MUTATIONS_MAX or self._size >= CHUNK_BYTES_MAX:
            self._send(done=False)

    def _send(self, *, done: bool) -> None:
        mutations, size = self._mutations, self._size
        if not mutations and not done:
            return
        self._mutations, self._size = [], 0
        progress = RepairProgress(self._ids, len(mutations), done)
        offsets = list(range(len(mutations)))
        if not self._put(Chunk(SOURCE, OBSERVING, START, time.time(), mutations, offsets, size, progress), self._stop):
            raise _Stopped
        self.rows += len(mutations)
