"""TRUNCATE where mutations come through Kafka: one loader finds it, empties the table once, and all go back.

Invariant: a table is emptied in the transaction that sends every partition back to before the truncation, under new
epochs; a loader that does not know of it yet can't take a partition over again before it was built anew.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg import Connection

from casscade.core.errors import RetryableError
from casscade.core.position import NEVER_TRUNCATED, START, Position, Truncation
from casscade.load.control import ControlStore
from casscade.load.cuts import Cuts
from casscade.load.truncations import KnownTruncation, TruncationStore
from casscade.observability.logs import get_logger
from casscade.pipeline.monitor import Monitor
from casscade.pipeline.truncations import PEERS_S
from casscade.pipeline.watch import Watch, truncated
from casscade.schema.mapping import Target
from casscade.schema.truncations import read_truncations
from casscade.snapshot.store import SnapshotStore

log = get_logger("casscade.load")

# Messages carry the time at which an agent sent them, by the clock of its node, which may have been set back since.
CLOCK_MARGIN_S: Final = 300.0
# The name under which the time up to which rows that were read are void is kept.
READS: Final = "reads"
_PAUSE_S: Final = 0.1

Key = tuple[str, uuid.UUID]
Known = Mapping[Key, KnownTruncation]
Read = Callable[[], dict[str, dict[uuid.UUID, Truncation]]]
"""The newest truncations by table id, of each node that answers, by its host id."""


@dataclass(slots=True)
class TopicResume:
    """What is void, and the newest truncations that were taken into account."""

    cuts: Cuts
    newest: dict[Key, Truncation]
    emptied: list[str] = field(default_factory=list)


class TopicTruncations:
    """Truncations of one pipeline; `offsets_at` gives, for a Unix time, the position of each partition (by its source
    name) from which on all messages are newer.
    """

    def __init__(
        self,
        control: ControlStore,
        tasks: SnapshotStore,
        monitor: Monitor,
        offsets_at: Callable[[float], dict[str, Position]],
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = TruncationStore(control)
        self._tasks = tasks
        self._monitor = monitor
        self._offsets_at = offsets_at
        self._clock = clock
        self._sleep = sleep

    def apply(self, connection: Connection[Any], read: Read, targets: Sequence[Target]) -> TopicResume:
        """Bring PostgreSQL behind the newest truncations, in one transaction of a loader that owns no partition yet."""
        tables = {target.table.id: target for target in targets}
        known = self._store.known(connection)
        found = self._found(read, tables)
        for key, truncation in found.items():
            if key not in known:
                # What was truncated before this node was seen first has nothing to undo.
                self._store.save(connection, *key, truncation, rewind_due=False)
        new = {table_id for _, table_id in _newer(found, known)}
        if new:
            truncated_tables = [tables[table_id] for table_id in new]
            self._empty(connection, truncated_tables, self._settled(read, tables, found, known, new), known)
        return self._resume(connection, tables, [tables[table_id].table.full_name for table_id in new])

    def _found(self, read: Read, tables: Collection[uuid.UUID]) -> dict[Key, Truncation]:
        """For each node and table the newest truncation, or that there was none."""
        return {
            (host, table_id): records.get(table_id, NEVER_TRUNCATED)
            for host, records in read().items()
            for table_id in tables
        }

    def require_unchanged(self, connection: Connection[Any], newest: Mapping[Key, Truncation]) -> None:
        """Raise RetryableError (`table_truncated`) when another loader emptied a table since `newest` was read."""
        for key, known in self._store.known(connection).items():
            if known.truncation > newest.get(key, NEVER_TRUNCATED):
                raise truncated()

    def report(self, resume: TopicResume) -> None:
        """Tell of what was applied, once it is durable."""
        for table in resume.emptied:
            self._monitor.truncated(self._clock())
            log.info("truncated", table=table)

    def _settled(
        self, read: Read, tables: Collection[uuid.UUID], found: dict[Key, Truncation], known: Known, new: set[uuid.UUID]
    ) -> dict[Key, Truncation]:
        """The records of all nodes, after a short wait for those that have not truncated yet."""
        waited = 0.0
        while waited < PEERS_S:
            newer = _newer(found, known)
            if all(key in newer for key in found if key[1] in new and key in known):
                break
            self._sleep(_PAUSE_S)
            waited += _PAUSE_S
            found = {**found, **self._found(read, tables)}
        return found

    def _empty(
        self, connection: Connection[Any], new: list[Target], found: Mapping[Key, Truncation], known: Known
    ) -> None:
        oldest_ms = min(
            truncation.at_ms
            for key, truncation in _newer(found, known).items()
            if key[1] in {target.table.id for target in new}
        )
        offsets = self._offsets_at(oldest_ms / 1000 - CLOCK_MARGIN_S)
        self._store.lock(connection, [target.table.id for target in new])
        now_ms = int(self._clock() * 1000)
        for target in new:
            relations = [(relation.schema, relation.name) for relation in target.relations]
            self._store.empty(connection, target.table.id, target.table.full_name, relations)
            self._tasks.cancel(connection, target.table.id)
            for (host, table_id), truncation in found.items():
                if table_id == target.table.id:
                    self._store.save(connection, host, table_id, truncation, rewind_due=False)
            reads = Truncation(START, now_ms)
            self._store.save(connection, READS, target.table.id, reads, rewind_due=False)
        # In one order in all processes, and after the locks of the tables, as writers do it.
        for source in sorted(offsets):
            self._store.go_back(connection, source, offsets[source])

    def _resume(
        self, connection: Connection[Any], tables: Mapping[uuid.UUID, Target], emptied: list[str]
    ) -> TopicResume:
        logs: dict[str, dict[bytes, Position]] = {}
        reads: dict[bytes, float] = {}
        newest: dict[Key, Truncation] = {}
        for (host, table_id), known in self._store.known(connection).items():
            newest[host, table_id] = known.truncation
            if table_id not in tables:
                continue
            if host == READS:
                reads[table_id.bytes] = known.truncation.at_ms / 1000
            elif known.truncation.position > START:
                logs.setdefault(host, {})[table_id.bytes] = known.truncation.position
        return TopicResume(Cuts(logs, reads), newest, emptied)


def _newer(found: Mapping[Key, Truncation], known: Known) -> dict[Key, Truncation]:
    return {key: truncation for key, truncation in found.items() if key in known and truncation > known[key].truncation}


class TopicWatch(Watch):
    """A thread that looks every second whether a table was truncated; it then sets `stop` and says so in `failure`.

    Only the loader that `leads` asks the nodes, so that they are not asked by all of them.
    """

    def __init__(
        self, read: Read, newest: Mapping[Key, Truncation], leads: Callable[[], bool], stop: threading.Event
    ) -> None:
        super().__init__(stop)
        self._read = read
        self._newest = newest
        self._leads = leads

    def look(self) -> None:
        """Ask the nodes once. Raises RetryableError with code `table_truncated` when the parts must be built anew."""
        if not self._leads():
            return
        for host, records in self._read().items():
            for table_id, truncation in records.items():
                if truncation > self._newest.get((host, table_id), truncation):
                    raise truncated()


def read_all_truncations(session: Any, *, foreign: bool) -> dict[str, dict[uuid.UUID, Truncation]]:
    """What the nodes that answer recorded; nothing where the mutations don't tell where in the log they lie."""
    found: dict[str, dict[uuid.UUID, Truncation]] = {}
    for host in [] if foreign else session.cluster.metadata.all_hosts():
        if host.is_up:
            with suppress(RetryableError):
                found[str(host.host_id)] = read_truncations(session, host.host_id)
    return found
