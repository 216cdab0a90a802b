"""One batch, one transaction: rows, tombstones, dead letters, snapshot progress and the position.

Invariant: either all of a batch is visible or nothing; a batch that is applied again changes nothing.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from psycopg import Connection

from casscade.core.errors import InvariantError
from casscade.core.mutation import PartitionUpdate
from casscade.core.position import Position
from casscade.core.table import TableShape
from casscade.debezium.decoder import Reread
from casscade.load.catalog import read_composite_oids
from casscade.load.constraints import read_constraints
from casscade.load.control import ControlStore, DeadLetter
from casscade.load.counters import BatchCounts
from casscade.load.doubts import doubts_of, request_rechecks
from casscade.load.hidden import HiddenRows
from casscade.load.integrity import Violation
from casscade.load.isolation import isolate
from casscade.load.layouts import build_layout
from casscade.load.letters import letter_of, poison_update, rejected_update
from casscade.load.relation_writer import RelationWriter
from casscade.load.row_filter import row_filter
from casscade.load.sources import Sources
from casscade.load.table_lock import TableLock
from casscade.load.target_writer import REAP_ROWS_MAX, TargetWriter, ranks
from casscade.load.tombstones import TombstoneStore
from casscade.load.waiting import WaitingRows
from casscade.merge.fold import Fold
from casscade.rules.table import TableRules
from casscade.schema.mapping import Relation, Target
from casscade.transport.chunk import Progress

CommitProgress = Callable[[Connection[Any], Progress], None]


def no_snapshot(_connection: Connection[Any], progress: Progress) -> None:
    """For writers that never see a snapshot."""
    raise InvariantError("snapshot_unexpected", f"{type(progress).__name__} came to a writer without a snapshot")


@dataclass(slots=True)
class Batch:
    """What is to be committed together: a fold, what could not be decoded, and how far that brings each source.

    `mutations` counts the streamed ones; `write_times` has a write time (microseconds) of each that tells one, for the
    latency. `rereads` are rows that events of Debezium's did not determine. `alone`: other writers must stay out of its
    tables, because a key of it may be theirs.
    """

    fold: Fold
    positions: dict[str, Position] = field(default_factory=dict)
    progress: list[Progress] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    rereads: list[Reread] = field(default_factory=list)
    write_times: list[int] = field(default_factory=list)
    mutations: int = 0
    alone: bool = False


class BatchWriter:
    """Applies batches over one connection for the sources that it owns, each fenced by its epoch.

    `alone`: whether other writers must stay out of the tables of every batch; with Kafka each partition key has one
    owner, so that only what goes over all keys (expiry) and batches with misplaced keys need the table for themselves.
    """

    def __init__(
        self,
        control: ControlStore,
        sources: Sources,
        *,
        alone: bool = True,
        commit_progress: CommitProgress = no_snapshot,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.control = control
        self.sources = sources
        self._alone = alone
        self._lock = TableLock(control)
        self._targets: dict[bytes, TargetWriter] = {}
        self._ranks: dict[bytes, int] = {}
        self._commit_progress = commit_progress
        self._clock = clock

    def add_target(
        self,
        connection: Connection[Any],
        target: Target,
        tombstone_margin_s: int,
        columns_numbered: int | None = None,
        rules: TableRules | None = None,
        parent_wait_ms: int = 0,
    ) -> None:
        """Make a table writable; its columns must be numbered (`columns_numbered` of them) and its relations exist.

        A row whose foreign key names a row that is not there waits for it `parent_wait_ms`.
        """
        keep_seconds = target.table.gc_grace_seconds + tombstone_margin_s

        oids = read_composite_oids(connection, target)

        def writer(relation: Relation) -> RelationWriter:
            number = self.control.target_number(
                connection, target.table, (relation.schema, relation.name), static=relation.static
            )
            store = TombstoneStore(self.control, number, keep_seconds)
            wanted = None if relation.static else row_filter(rules, target.table)
            hidden = None if wanted is None else HiddenRows(self.control, number)
            layout = build_layout(target, relation, oids, rules)
            constraints = read_constraints(connection, relation)
            return RelationWriter(relation, layout, store, columns_numbered, wanted, hidden, constraints)

        statics = None if target.statics is None else writer(target.statics)
        made = TargetWriter(target, writer(target.rows), statics, rules)
        if any(each.integrity is not None and each.integrity.parents for each in made.writers):
            number = made.rows.tombstones.target_no
            made.waiting = WaitingRows(self.control, number, parent_wait_ms)
        self._targets[target.table.id.bytes] = made
        self._ranks = ranks(self._targets)

    def prepare(self, connection: Connection[Any]) -> None:
        """Ready a new connection: staging tables, knowledge of tombstones."""
        with connection.transaction():
            for target in self._targets.values():
                for writer in target.writers:
                    writer.prepare(connection)

    @contextmanager
    def _transaction(self, connection: Connection[Any], tables: Iterable[bytes], *, alone: bool) -> Iterator[None]:
        """A transaction on `tables` (ids), with `alone` the only writer there; `_write` reports unknown ones."""
        with connection.transaction():
            touched = [self._targets[table_id] for table_id in tables if table_id in self._targets]
            self._lock.take(connection, [target.writers for target in touched], alone=alone)
            for target in touched:
                for writer in target.writers:
                    writer.begin()
            yield

    def apply(self, connection: Connection[Any], batch: Batch) -> BatchCounts:
        """Commit one batch; raises FencedError, psycopg errors, or InvariantError for an unknown table."""
        counts = BatchCounts()
        letters = list(batch.dead_letters)
        with self._transaction(connection, batch.fold.tables, alone=self._alone or batch.alone):
            self._write(connection, batch.fold, counts, letters)
            self._finish(connection, batch, counts, letters)
        self.sources.advanced(batch.positions)
        return counts

    def apply_isolated(self, connection: Connection[Any], batch: Batch) -> BatchCounts:
        """Commit a batch that failed with a data error: what PostgreSQL refuses becomes dead letters, alone.

        Raises what `apply` raises, and InvariantError when too much is refused (see `casscade.load.isolation`).
        """
        counts = BatchCounts()
        letters = list(batch.dead_letters)

        def write(part: Fold, counted: BatchCounts) -> None:
            kept = len(letters)
            try:
                self._write(connection, part, counted, letters)
            except BaseException:
                del letters[kept:]
                raise

        with self._transaction(connection, batch.fold.tables, alone=self._alone or batch.alone):
            for poison in isolate(connection, batch.fold, write, counts):
                update = poison_update(poison)
                target = self._targets[poison.table.table.id]
                letters.append(self._letter(target, update, poison.code, poison.message))
            self._finish(connection, batch, counts, letters)
        self.sources.advanced(batch.positions)
        return counts

    def _write(self, connection: Connection[Any], fold: Fold, counts: BatchCounts, letters: list[DeadLetter]) -> None:
        now = int(self._clock())
        tables = list(fold.tables.items())
        if self._ranks:
            tables.sort(key=lambda item: self._ranks.get(item[0], 0))
        for table_id, table in tables:
            target = self._targets.get(table_id)
            if target is None:
                raise InvariantError("target_missing", f"No target for table id {uuid.UUID(bytes=table_id)}")
            target.write(connection, table, now, counts)
            letters += self._rejected(connection, target, table.table)

    def _finish(
        self, connection: Connection[Any], batch: Batch, counts: BatchCounts, letters: list[DeadLetter]
    ) -> None:
        """The rest of the transaction: dead letters, snapshot progress, the positions."""
        if letters:
            self.control.set_aside(connection, letters)
            counts.dead_letters.update(letter.code for letter in letters)
        self._request_rechecks(connection)
        for table_id, doubts in doubts_of(batch.rereads).items():
            request_rechecks(self.control, connection, uuid.UUID(bytes=table_id), doubts, static=False)
            counts.rereads += len(doubts)
        for progress in batch.progress:
            self._commit_progress(connection, progress)
        self.sources.commit(connection, self.control, batch.positions)

    def reap(self, connection: Connection[Any]) -> BatchCounts:
        """Apply what expired by now in all tables, each in a transaction of its own."""
        counts = BatchCounts()
        for table_id, target in self._targets.items():
            looked_at = REAP_ROWS_MAX if target.has_expired(connection, int(self._clock())) else 0
            while looked_at >= REAP_ROWS_MAX:
                with self._transaction(connection, (table_id,), alone=True):
                    looked_at = target.reap(connection, int(self._clock()), counts)
                    if looked_at:
                        letters = self._rejected(connection, target, target.shape)
                        looked_at -= len(letters)
                        self._close(connection, counts, letters)
            if target.waiting is not None and target.waiting.some:
                with self._transaction(connection, (table_id,), alone=True):
                    letters = target.retry(connection, int(self._clock()), counts)
                    self._close(connection, counts, letters)
        return counts

    def _close(self, connection: Connection[Any], counts: BatchCounts, letters: list[DeadLetter]) -> None:
        """The rest of a transaction that no batch began."""
        if letters:
            self.control.set_aside(connection, letters)
            counts.dead_letters.update(letter.code for letter in letters)
        self._request_rechecks(connection)
        self.sources.commit(connection, self.control, {})

    def _request_rechecks(self, connection: Connection[Any]) -> None:
        for table_id, target in self._targets.items():
            for writer in target.writers:
                doubts = writer.doubts.take()
                # The key that is known here is a hash: there is nothing to read by it.
                if doubts and (target.rules is None or not target.rules.hides_keys):
                    request_rechecks(
                        self.control, connection, uuid.UUID(bytes=table_id), doubts, static=writer.layout.static
                    )

    def purge(self, connection: Connection[Any]) -> int:
        """Forget tombstones whose time is over; returns how many."""
        with connection.transaction():
            purged = self.control.purge(connection)
        for target in self._targets.values():
            for writer in target.writers:
                writer.tombstones.refresh(connection)
            if target.waiting is not None:
                target.waiting.some = True  # another process may have left some
        return purged

    def _rejected(self, connection: Connection[Any], target: TargetWriter, shape: TableShape) -> list[DeadLetter]:
        """The dead letters of the rows that can't be written; those that wait for another row are none yet."""
        letters: list[DeadLetter] = []
        waiting: list[tuple[DeadLetter, str]] = []
        for rejected, static in target.take_rejected():
            update = rejected_update(rejected, shape, static=static)
            letter = self._letter(target, update, rejected.error.code, rejected.error.what)
            if isinstance(rejected.error, Violation) and rejected.error.awaited and target.waiting is not None:
                waiting.append((letter, rejected.error.constraint))
            else:
                letters.append(letter)
        if waiting and target.waiting is not None:
            letters += target.waiting.put(connection, waiting)
        return letters

    def _letter(self, target: TargetWriter, update: PartitionUpdate, code: str, message: str) -> DeadLetter:
        ruled = target.rules is not None and bool(target.rules.hidden)
        return letter_of(update, target.target.table.full_name, code, message, ruled=ruled)
