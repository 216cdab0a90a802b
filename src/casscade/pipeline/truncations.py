"""TRUNCATE, which is not in the commit log: found in the records of each node, applied between two lives of the parts.

Invariant: a table's relations are emptied while nothing of this source is in flight, in the transaction that sends
every source of the table back to the position of its truncation; what a source wrote behind it is then applied again,
what lies before it is left out, whatever the timestamps are.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg import Connection

from casscade.capture.directory import list_directory
from casscade.config import PipelineConfig
from casscade.core.errors import CasscadeError, RetryableError
from casscade.core.position import NEVER_TRUNCATED, START, Position, Truncation
from casscade.load.control import ControlStore
from casscade.load.truncations import KnownTruncation, TruncationStore
from casscade.observability.logs import get_logger
from casscade.pipeline.monitor import Monitor
from casscade.pipeline.watch import Watch, truncated
from casscade.schema.mapping import Target
from casscade.snapshot.store import SnapshotStore

log = get_logger("casscade.pipeline")

# Nodes truncate at the same time; those that take longer than this cause a round of their own.
PEERS_S: Final = 3.0
_PEERS_PAUSE_S: Final = 0.1
# A restart of a node takes a minute; one that is away for longer keeps segments from being deleted: worth a line.
SILENT_S: Final = 60.0

Read = Callable[[uuid.UUID], dict[uuid.UUID, Truncation]]
Known = Mapping[tuple[str, uuid.UUID], KnownTruncation]


@dataclass(frozen=True, slots=True)
class Applied:
    """A truncation that was applied; `read_again`: segments behind it are gone, so the snapshot reads the table."""

    table: str
    truncation: Truncation
    emptied: bool
    read_again: bool


@dataclass(slots=True)
class Resume:
    """Where a source goes on: `position`, and by table id (16 bytes) up to where its mutations are void."""

    position: Position
    cuts: dict[bytes, Position] = field(default_factory=dict)
    newest: dict[uuid.UUID, Truncation] = field(default_factory=dict)
    applied: list[Applied] = field(default_factory=list)

    @property
    def reads(self) -> dict[bytes, float]:
        """By table id, the Unix time in seconds up to which rows that were read are void (they wait in the journal)."""
        return {table_id.bytes: newest.at_ms / 1000 for table_id, newest in self.newest.items() if newest.at_ms}


class Truncations:
    """Truncations of one pipeline; `read` gives what a node recorded (RetryableError when it does not answer)."""

    def __init__(
        self,
        config: PipelineConfig,
        control: ControlStore,
        tasks: SnapshotStore,
        monitor: Monitor,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._directories = config.capture.cdc_directory, config.capture.commitlog_directory
        self._newest_deleted = -1
        self._snapshot_wanted = config.snapshot.mode != "never"
        self._store = TruncationStore(control)
        self._tasks = tasks
        self._monitor = monitor
        self._clock = clock
        self._sleep = sleep

    def apply(
        self, connection: Connection[Any], read: Read, source: str, targets: Sequence[Target], position: Position
    ) -> Resume:
        """Bring PostgreSQL behind the newest truncations, in the transaction that acquired `source` at `position`.

        Raises RetryableError when the node does not answer, psycopg's errors when a relation can't be emptied.
        """
        found = read(uuid.UUID(source))
        known = self._store.known(connection)
        new: list[Target] = []
        for target in targets:
            table_id = target.table.id
            before = known.get((source, table_id))
            if before is None:
                # What was truncated before anything of it was copied has nothing to undo.
                first = found.get(table_id, NEVER_TRUNCATED)
                self._store.save(connection, source, table_id, first, rewind_due=False)
            elif found.get(table_id, NEVER_TRUNCATED) > before.truncation:
                new.append(target)
        if new:
            self._empty(connection, source, new, self._round(read, source, found, known, new), known)
        return self._resume(connection, source, targets, {target.table.id for target in new}, position)

    def deleted(self, segment: int) -> None:
        """Capture deleted `segment`: 3.11 hands segments over in any order, so that a lower one may still be there."""
        self._newest_deleted = max(self._newest_deleted, segment)

    def rewind_due(self, connection: Connection[Any], source: str) -> bool:
        """Whether another process emptied a table, so that `source` has to go back."""
        return self._store.rewind_due(connection, source)

    def report(self, applied: Sequence[Applied]) -> None:
        """Tell of what was applied, once it is durable."""
        for one in applied:
            if one.emptied:
                self._monitor.truncated(one.truncation.at_ms / 1000)
            log.info(
                "truncated" if one.emptied else "went back behind a truncation",
                table=one.table,
                truncated_at_ms=one.truncation.at_ms,
                position=str(one.truncation.position),
            )
            if one.read_again and self._snapshot_wanted:
                log.warning("segments behind the truncation are gone: the table is read again", table=one.table)
            elif one.read_again:
                log.error(
                    "segments behind the truncation are gone: rows written since may be missing",
                    table=one.table,
                    hint="set snapshot.mode: initial and start again",
                )

    def _round(
        self, read: Read, source: str, found: dict[uuid.UUID, Truncation], known: Known, new: list[Target]
    ) -> dict[str, dict[uuid.UUID, Truncation]]:
        """What all sources of the truncated tables recorded, after a short wait for those that are not done yet.

        Nodes that don't answer are left out: their own process will find the truncation and start another round.
        """
        records = {source: found}
        table_ids = [target.table.id for target in new]
        waiting = {other for other, table_id in known if other != source and table_id in table_ids}
        deadline = self._clock() + PEERS_S
        while waiting:
            for other in sorted(waiting):
                try:
                    records[other] = read(uuid.UUID(other))
                except RetryableError:
                    waiting.discard(other)
                    continue
                if all(
                    records[other].get(table_id, NEVER_TRUNCATED) > known[other, table_id].truncation
                    for table_id in table_ids
                    if (other, table_id) in known
                ):
                    waiting.discard(other)
            if not waiting or self._clock() >= deadline:
                break
            self._sleep(_PEERS_PAUSE_S)
        return records

    def _empty(
        self,
        connection: Connection[Any],
        source: str,
        new: list[Target],
        records: Mapping[str, Mapping[uuid.UUID, Truncation]],
        known: Known,
    ) -> None:
        """Empty what the tables became, once for all sources, which all have to go back; fence the others."""
        self._store.lock(connection, [target.table.id for target in new])
        for target in new:
            relations = [(relation.schema, relation.name) for relation in target.relations]
            self._store.empty(connection, target.table.id, target.table.full_name, relations)
            self._tasks.cancel(connection, target.table.id)
        truncated = {target.table.id for target in new}
        behind = {key: before for key, before in known.items() if key[1] in truncated}
        for (each, table_id), before in behind.items():
            newest = max(before.truncation, records.get(each, {}).get(table_id, NEVER_TRUNCATED))
            self._store.save(connection, each, table_id, newest, rewind_due=True)
        # After the locks of the tables: a writer that waits for one of them does not hold the row of its source yet.
        self._store.fence(connection, sorted({each for each, _ in behind} - {source}))

    def _resume(
        self,
        connection: Connection[Any],
        source: str,
        targets: Sequence[Target],
        emptied: set[uuid.UUID],
        position: Position,
    ) -> Resume:
        """Go back as far as is due, and say what is void."""
        known = self._store.known(connection)
        resume = Resume(position)
        segments = {entry.id for entry in list_directory(*self._directories).segments}
        for target in targets:
            table_id = target.table.id
            mine = known[source, table_id]
            cut = mine.truncation.position
            resume.newest[table_id] = mine.truncation
            if cut > START:
                resume.cuts[table_id.bytes] = cut
            if not mine.rewind_due:
                continue
            whole = cut.segment in segments and cut.segment > self._newest_deleted
            read_again = position > cut and not whole
            if read_again:
                self._tasks.restart(connection, table_id)
            else:
                resume.position = min(resume.position, cut)
            resume.applied.append(Applied(target.table.full_name, mine.truncation, table_id in emptied, read_again))
        if resume.applied:
            self._store.rewound(connection, source, resume.position)
        return resume


class TruncationWatch(Watch):
    """A thread that looks every second whether a table was truncated; it then sets `stop` and says so in `failure`.

    `read` gives the newest truncation of each table at the node, `newest` has those that are applied. `reached` tells
    up to where capture has read: what it had read when a look began that found nothing new may be deleted (`released`).
    """

    def __init__(
        self,
        read: Callable[[], dict[uuid.UUID, Truncation]],
        newest: Mapping[uuid.UUID, Truncation],
        reached: Callable[[], Position],
        stop: threading.Event,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(stop)
        self._read = read
        self._newest = newest
        self._reached = reached
        self._clock = clock
        self._answered_at = clock()
        self._silent = False
        self._released = START

    def released(self) -> Position:
        """Up to where segments hold nothing that a truncation could still ask for."""
        return self._released

    def look(self) -> None:
        """Ask the node once. Raises RetryableError with code `table_truncated` when the parts must go back."""
        reached = self._reached()
        try:
            found = self._read()
        except CasscadeError as error:
            if not self._silent and self._clock() - self._answered_at > SILENT_S:
                self._silent = True
                log.warning("truncations can't be read: segments are kept until the node answers", code=error.code)
            return
        self._answered_at = self._clock()
        self._silent = False
        for table_id, known in self._newest.items():
            if found.get(table_id, NEVER_TRUNCATED) > known:
                raise truncated()
        self._released = reached
