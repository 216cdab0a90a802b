"""One batch, one transaction: rows, tombstones, dead letters, snapshot progress and the position.

Invariant: either all of a batch is visible or nothing; a batch that is applied again changes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

from psycopg import Connection

from casscade.core import failpoints
from casscade.core.errors import InvariantError
from casscade.load.ahead import Ahead
from casscade.load.arrival import save_arrival
from casscade.load.catalog import read_composite_oids
from casscade.load.clock import Clock
from casscade.load.conflicts import ConflictLedger
from casscade.load.constraints import read_constraints
from casscade.load.contents import Batch
from casscade.load.control import ControlStore
from casscade.load.counters import BatchCounts
from casscade.load.doubts import doubts_of, request_rechecks
from casscade.load.flood import FloodGuard, unforeseen
from casscade.load.hidden import HiddenRows
from casscade.load.isolation import isolate
from casscade.load.layouts import build_layout
from casscade.load.letters import RETRIES_EXHAUSTED, DeadLetter, letter_of
from casscade.load.progress import CommitProgress, Record, no_record, no_snapshot
from casscade.load.reaper import Reaper
from casscade.load.relation_writer import RelationWriter
from casscade.load.row_filter import row_filter
from casscade.load.row_letters import poison_letter
from casscade.load.sources import Sources
from casscade.load.table_lock import TableLock, with_newest
from casscade.load.target_changes import TargetChanges
from casscade.load.target_writer import TargetWriter, ranks
from casscade.load.tombstones import TombstoneStore
from casscade.load.trail import Follower, followed
from casscade.load.waiting import WaitingRows
from casscade.merge.fold import Fold
from casscade.rules.table import TableRules
from casscade.schema.mapping import Relation, Target
from casscade.transport.chunk import JournalProgress, ReplayProgress


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
        record: Record = no_record,
        dead_letter_percent_max: int = 100,
        catch_up: Callable[[], object] | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.control = control
        self._flood = FloodGuard(dead_letter_percent_max)
        self.sources = sources
        self._alone = alone
        self._lock = TableLock(control)
        self._targets: dict[bytes, TargetWriter] = {}
        self._ranks: dict[bytes, int] = {}
        self._conflicts = ConflictLedger()
        self._changes = TargetChanges(self._targets, self.add_target)
        self._catch_up = catch_up
        self._commit_progress = commit_progress
        self._record = record
        self._clock = clock or Clock()
        self._reaper = Reaper(
            self._targets, partial(self._transaction, alone=True), self._close, lambda: int(self._clock())
        )

    def add_target(
        self,
        connection: Connection[Any],
        target: Target,
        tombstone_margin_s: int,
        schema_version: int | None = None,
        rules: TableRules | None = None,
        parent_wait_ms: int = 0,
    ) -> None:
        """Make a table writable, as of a version of it; its columns must be numbered and its relations exist.

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
            return RelationWriter(relation, layout, store, schema_version, wanted, hidden, constraints)

        statics = None if target.statics is None else writer(target.statics)
        made = TargetWriter(target, writer(target.rows), statics, rules)
        if any(each.integrity is not None and each.integrity.parents for each in made.writers):
            made.waiting = WaitingRows(self.control, made.rows.tombstones.target_no, parent_wait_ms)
        self._targets[target.table.id.bytes] = made
        self._ranks = ranks(self._targets)

    def target(self, table_id: bytes) -> TargetWriter:
        """The writer of a table that was added."""
        return self._targets[table_id]

    def change_target(self, target: Target, tombstone_margin_s: int, schema_version: int, wait_ms: int = 0) -> None:
        """Go on with another version of a table without rules, from the next transaction on; any thread."""
        self._changes.put(target.table.id.bytes, (target, tombstone_margin_s, schema_version, None, wait_ms))

    def prepare(self, connection: Connection[Any]) -> None:
        """Ready a new connection: staging tables, knowledge of tombstones."""
        with connection.transaction():
            for writer in (writer for target in self._targets.values() for writer in target.writers):
                writer.prepare(connection)
        self._look_at_clocks(connection)

    def _look_at_clocks(self, connection: Connection[Any]) -> None:
        if isinstance(self._clock, Clock):
            self._clock.look(connection)

    @contextmanager
    def _transaction(self, connection: Connection[Any], tables: Iterable[bytes], *, alone: bool) -> Iterator[None]:
        """A transaction on `tables` (ids), with `alone` the only writer there; `_write` reports unknown ones."""
        self._changes.carry_out(connection)
        with connection.transaction():
            touched = [self._targets[table_id] for table_id in tables if table_id in self._targets]
            self._lock.take(connection, [target.writers for target in touched], alone=alone)
            for writer in (writer for target in touched for writer in target.writers):
                writer.begin()
            yield
            if failpoints.ARMED:
                failpoints.reach("before_commit")
        if failpoints.ARMED:
            failpoints.reach("committed")

    def encode_ahead(self, batch: Batch) -> None:
        """Encode what can be before `apply`; for the thread that made the batch."""
        for table_id, fold in batch.fold.tables.items():
            target = self._targets.get(table_id)
            ahead = None if target is None else target.encode_ahead(fold)
            if ahead is not None:
                batch.ahead[table_id] = ahead

    def apply(self, connection: Connection[Any], batch: Batch) -> BatchCounts:
        """Commit one batch; raises FencedError, psycopg errors, or InvariantError for an unknown table."""
        return with_newest(lambda: self._apply(connection, batch), self._catch_up)

    def _apply(self, connection: Connection[Any], batch: Batch) -> BatchCounts:
        counts = BatchCounts()
        letters = list(batch.dead_letters)
        # For the first try only: the rows of a batch that is tried again may hold what was stored.
        ahead, batch.ahead = batch.ahead, {}
        with self._transaction(connection, batch.fold.tables, alone=self._alone or batch.alone):
            self._write(connection, batch.fold, counts, letters, ahead)
            self._finish(connection, batch, counts, letters)
        self._committed(batch, letters)
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
            tables = ((table_id, self._targets[table_id]) for table_id in batch.fold.tables)
            followers: dict[Follower, tuple[bytes, bool]] = {
                writer: (table_id, writer.layout.static) for table_id, target in tables for writer in target.writers
            }
            with followed(connection, followers) as trail:
                found = isolate(connection, batch.fold, write, counts, partial(trail.suspect, connection))
            for poison in found:
                target = self._targets[poison.table.table.id]
                letters.append(poison_letter(poison, target.target.table.full_name, ruled=target.ruled))
            self._finish(connection, batch, counts, letters)
        self._committed(batch, letters)
        return counts

    def set_aside(self, connection: Connection[Any], batch: Batch, cause: str, retries: int) -> BatchCounts:
        """Commit a batch whose time for retries is over, all of it as dead letters; `cause` is the last code."""
        counts = BatchCounts()
        shapes = {table_id: target.plain_shape for table_id, target in self._targets.items()}
        message = f"PostgreSQL failed with {cause} until the time for retries was over"
        letters = [
            batch.shown(replace(letter_of(chunk, index, RETRIES_EXHAUSTED, message, shapes), retries=retries))
            for chunk in batch.chunks
            for index in range(len(chunk.mutations))
        ]
        refused = {event for chunk in batch.chunks for event, _, _ in chunk.refused}
        letters += [letter for letter in batch.dead_letters if letter.event_id in refused]
        with connection.transaction():
            self._store(connection, batch, counts, letters)
        self.sources.advanced(batch.positions)
        return counts

    def checkpoint(self, connection: Connection[Any]) -> None:
        """Commit the positions as they are: proof that this process works, and still owns its sources."""
        with connection.transaction():
            self.sources.commit(connection, self.control, {})

    def _committed(self, batch: Batch, letters: Sequence[DeadLetter]) -> None:
        self._flood.committed(batch.items, unforeseen(batch.chunks, letters))
        self._conflicts.committed()
        self.sources.advanced(batch.positions)

    def _write(
        self,
        connection: Connection[Any],
        fold: Fold,
        counts: BatchCounts,
        letters: list[DeadLetter],
        ahead: Mapping[bytes, Ahead] = MappingProxyType({}),
    ) -> None:
        now = int(self._clock())
        tables = list(fold.tables.items())
        if self._ranks:
            tables.sort(key=lambda item: self._ranks.get(item[0], 0))
        for table_id, table in tables:
            target = self._targets.get(table_id)
            if target is None:
                raise InvariantError("target_missing", f"No target for table id {uuid.UUID(bytes=table_id)}")
            target.write(connection, table, now, counts, ahead.get(table_id))
            letters += target.rejected_letters(connection, table.table, counts)

    def _finish(
        self, connection: Connection[Any], batch: Batch, counts: BatchCounts, letters: list[DeadLetter]
    ) -> None:
        """The rest of the transaction: dead letters, snapshot progress, the positions."""
        self._flood.check(batch.items, unforeseen(batch.chunks, letters))
        self._request_rechecks(connection)
        for table_id, doubts in doubts_of(batch.rereads).items():
            request_rechecks(self.control, connection, uuid.UUID(bytes=table_id), doubts, static=False)
            counts.rereads += len(doubts)
        for notice in batch.notices:
            self._record(connection, notice)
        lost = self._conflicts.count(batch.fold, self._facts, counts)
        save_arrival(self.control, connection, batch.positions, batch.arrived)
        self._store(connection, batch, counts, [*letters, *lost])

    def _facts(self, table_id: bytes) -> tuple[Target, bool]:
        writer = self._targets[table_id]
        return writer.target, writer.ruled

    def _store(
        self, connection: Connection[Any], batch: Batch, counts: BatchCounts, letters: Sequence[DeadLetter]
    ) -> None:
        replayed: list[int] = []
        for progress in batch.progress:
            own = progress.inner if isinstance(progress, JournalProgress) else progress
            if isinstance(own, ReplayProgress):
                replayed += own.ids
            elif own is not None:
                self._commit_progress(connection, own)
        if letters or replayed:
            settled = self.control.letters.settle(connection, letters, replayed)
            counts.settled(settled)
        self.sources.commit(connection, self.control, batch.positions)

    def reap(self, connection: Connection[Any]) -> BatchCounts:
        """Apply what expired by now in all tables, each in transactions of its own; see `casscade.load.reaper`."""
        return with_newest(lambda: self._reaper.reap(connection), self._catch_up)

    def _close(self, connection: Connection[Any], counts: BatchCounts, letters: Sequence[DeadLetter]) -> None:
        """The rest of a transaction that no batch began."""
        if letters:
            counts.settled(self.control.letters.settle(connection, letters, ()))
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
        self._look_at_clocks(connection)
        with connection.transaction():
            purged = self.control.purge(connection)
            if failpoints.ARMED:
                failpoints.reach("purged")
        for target in self._targets.values():
            for writer in target.writers:
                writer.tombstones.refresh(connection)
            if target.waiting is not None:
                target.waiting.some = True  # another process may have left some
        return purged
