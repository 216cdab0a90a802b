"""One batch, one transaction: rows, tombstones, dead letters, snapshot progress and the position.

Invariant: either all of a batch is visible or nothing; a batch that is applied again changes nothing.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from psycopg import Connection

from casscade.commitlog.encoder import encode_mutation
from casscade.commitlog.observations import OBSERVING, encode_observing, has_observations
from casscade.core.errors import InvariantError
from casscade.core.mutation import PartitionUpdate
from casscade.core.position import Position
from casscade.cql.bounds import ClusteringOrder
from casscade.debezium.decoder import Reread
from casscade.load.catalog import read_composite_oids
from casscade.load.control import ControlStore, DeadLetter
from casscade.load.counters import BatchCounts
from casscade.load.deletions import DeletionApplier
from casscade.load.doubts import doubts_of, request_rechecks
from casscade.load.hidden import HiddenRows
from casscade.load.isolation import Poison, isolate
from casscade.load.layouts import build_layout
from casscade.load.raw import Raw
from casscade.load.relation_writer import RejectedRow, RelationWriter
from casscade.load.row_filter import row_filter
from casscade.load.sources import Sources
from casscade.load.table_lock import TableLock
from casscade.load.tombstones import TombstoneStore
from casscade.merge.fold import Fold, TableFold
from casscade.rules.rewriter import RULED
from casscade.rules.table import TableRules
from casscade.schema.mapping import Relation, Target
from casscade.transport.chunk import Progress

REAP_ROWS_MAX = 5000
# Dead letters that were made from folded rows are encoded as Cassandra 5.0 writes them, or with their observations.
_LETTER_ENCODING = 8


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


class TargetWriter:
    """Everything that is written for one Cassandra table."""

    def __init__(
        self, target: Target, rows: RelationWriter, statics: RelationWriter | None, rules: TableRules | None = None
    ) -> None:
        self.target = target
        self.rules = rules
        self.rows = rows
        self.statics = statics
        clustering = target.table.clustering
        order = ClusteringOrder([column.type for column in clustering], [column.reversed for column in clustering])
        self._deletions = DeletionApplier(rows, statics, order)

    @property
    def writers(self) -> list[RelationWriter]:
        """The writers of its relations."""
        return [self.rows] if self.statics is None else [self.rows, self.statics]

    def write(self, connection: Connection[Any], fold: TableFold, now: int, counts: BatchCounts) -> None:
        """Merge one table's part of a batch."""
        self._deletions.apply(connection, fold, now, counts)
        self.rows.write(connection, fold.rows, now, counts)
        if self.statics is not None:
            self.statics.write(connection, {(key, b""): row for key, row in fold.statics.items()}, now, counts)

    def has_expired(self, connection: Connection[Any], now: int) -> bool:
        """Whether anything expired by `now` that nobody has applied yet."""
        return any(
            connection.execute(writer.sql.exists_expired, (_moment(now),)).fetchone() == (True,)
            or (writer.hidden is not None and writer.hidden.expired(connection, _moment(now), 1))
            for writer in self.writers
        )

    def reap(self, connection: Connection[Any], now: int, counts: BatchCounts) -> int:
        """Apply what expired by `now`; returns how many rows were looked at (`REAP_ROWS_MAX` at most a relation)."""
        total = 0
        moment = _moment(now)
        limit = Raw(REAP_ROWS_MAX.to_bytes(8, "big"))
        for writer in self.writers:
            for page in writer.read_pages(connection, writer.sql.select_expired(), (moment, limit), REAP_ROWS_MAX + 1):
                if page:
                    items = [(stored.partition_key, stored.row) for stored in page]
                    for partition_key, row in items:
                        writer.doubts.ended(partition_key, row, now)
                    writer.replace(connection, items, now, counts)
                    total += len(items)
            if writer.hidden is not None:
                hidden = writer.hidden.expired(connection, moment, REAP_ROWS_MAX)
                if hidden:
                    writer.replace_hidden(connection, hidden, now, counts)
                    total += len(hidden)
        counts.expired += total
        return total


def _moment(second: int) -> Raw:
    """A second of Unix time as a binary timestamptz."""
    return Raw(((second - 946_684_800) * 1_000_000).to_bytes(8, "big", signed=True))


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
        self._commit_progress = commit_progress
        self._clock = clock

    def add_target(
        self,
        connection: Connection[Any],
        target: Target,
        tombstone_margin_s: int,
        columns_numbered: int | None = None,
        rules: TableRules | None = None,
    ) -> None:
        """Make a table writable; its columns must be numbered (`columns_numbered` of them) and its relations exist."""
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
            return RelationWriter(relation, layout, store, columns_numbered, wanted, hidden)

        statics = None if target.statics is None else writer(target.statics)
        self._targets[target.table.id.bytes] = TargetWriter(target, writer(target.rows), statics, rules)

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
                letters.append(self._poison_letter(poison))
            self._finish(connection, batch, counts, letters)
        self.sources.advanced(batch.positions)
        return counts

    def _write(self, connection: Connection[Any], fold: Fold, counts: BatchCounts, letters: list[DeadLetter]) -> None:
        now = int(self._clock())
        for table_id, table in fold.tables.items():
            target = self._targets.get(table_id)
            if target is None:
                raise InvariantError("target_missing", f"No target for table id {uuid.UUID(bytes=table_id)}")
            target.write(connection, table, now, counts)
            letters += self._rejected(target, table)

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
                        self._request_rechecks(connection)
                        self.sources.commit(connection, self.control, {})
        return counts

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
        return purged

    def _rejected(self, target: TargetWriter, fold: TableFold) -> list[DeadLetter]:
        letters: list[DeadLetter] = []
        for writer in target.writers:
            rejected: Sequence[RejectedRow] = writer.rejected
            writer.rejected = []
            for row in rejected:
                update = PartitionUpdate(fold.table, row.partition_key)
                if writer.layout.static:
                    update.static_row = row.row
                else:
                    update.rows = [row.row]
                letters.append(self._letter(target, update, row.error.code, row.error.what))
        return letters

    def _poison_letter(self, poison: Poison) -> DeadLetter:
        table = poison.table
        update = PartitionUpdate(table.table, b"")
        for (partition_key, _), row in table.rows.items():
            update.key, update.rows = partition_key, [row]
        for partition_key, static in table.statics.items():
            update.key, update.static_row = partition_key, static
        for partition_key, deletions in table.deletions.items():
            update.key, update.deletion = partition_key, deletions.deletion
            update.range_tombstones = deletions.ranges
        return self._letter(self._targets[table.table.id], update, poison.code, poison.message)

    def _letter(self, target: TargetWriter, update: PartitionUpdate, code: str, message: str) -> DeadLetter:
        encoding = OBSERVING if has_observations(update) else _LETTER_ENCODING
        encoded = encode_observing(update) if encoding == OBSERVING else encode_mutation([update], encoding)
        event = f"row:{uuid.uuid5(uuid.NAMESPACE_OID, encoded.hex())}"
        if target.rules is not None and target.rules.hidden:
            encoding |= RULED
        return DeadLetter(event, target.target.table.full_name, code, message, encoding, encoded)
