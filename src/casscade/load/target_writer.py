"""Everything that is written for one Cassandra table: rows, statics, deletions, expiry, rows that wait.

Invariant: what could not be written is either given to the caller, who sets it aside, or waits in the transaction of
the batch that it came with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import Connection

from casscade.commitlog.observations import decode_any
from casscade.core import failpoints
from casscade.core.errors import BadDataError
from casscade.core.table import TableShape
from casscade.cql.bounds import ClusteringOrder
from casscade.load.ahead import Ahead
from casscade.load.counters import BatchCounts
from casscade.load.deletions import DeletionApplier
from casscade.load.integrity import Violation
from casscade.load.isolation import is_data_error
from casscade.load.letters import DeadLetter, version_of
from casscade.load.raw import Raw
from casscade.load.relation_writer import RelationWriter
from casscade.load.row_letters import rejected_letter, rule_of
from casscade.load.staged import RejectedRow
from casscade.load.waiting import WaitingRow, WaitingRows
from casscade.merge.fold import RowKey, TableFold
from casscade.rules.rewriter import RULED, Rewriter
from casscade.rules.table import TableRules
from casscade.schema.mapping import Target

REAP_ROWS_MAX = 5000


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
        for writer in self.writers:
            writer.lookout.keep_stale = target.conflicts.sets_aside
        self.waiting: WaitingRows | None = None

    @property
    def writers(self) -> list[RelationWriter]:
        """The writers of its relations."""
        return [self.rows] if self.statics is None else [self.rows, self.statics]

    def encode_ahead(self, fold: TableFold) -> Ahead | None:
        """Encode what will surely be written as it is, for `write`; by the thread that made the fold."""
        return None if fold.deletions else self.rows.encode_ahead(fold.rows)

    def write(
        self, connection: Connection[Any], fold: TableFold, now: int, counts: BatchCounts, ahead: Ahead | None = None
    ) -> None:
        """Merge one table's part of a batch; `ahead` is what `encode_ahead` gave for it."""
        for writer in self.writers:
            writer.lookout.findings = fold.findings
        self._begin_counting()
        untouched = self._deletions.apply(connection, fold, now, counts)
        self.rows.write(connection, fold.rows, now, counts, ahead if untouched else None)
        self._count_hidden(counts)
        if self.statics is not None:
            self.statics.write(connection, {(key, b""): row for key, row in fold.statics.items()}, now, counts)
        if failpoints.ARMED:
            failpoints.reach("batch_merged")

    def _begin_counting(self) -> None:
        """Forget what a transaction counted that may have failed."""
        if self.rows.hidden is not None:
            self.rows.hidden.counted = 0

    def _count_hidden(self, counts: BatchCounts) -> None:
        if self.rows.hidden is not None and self.rows.hidden.counted:
            counts.hidden[self.target.table.full_name] += self.rows.hidden.counted

    @property
    def plain_shape(self) -> TableShape:
        """What mutations are decoded by as they come."""
        shape = self.target.table.shape(replicated=True)
        shape.version = self.rows.schema_version or 0
        return shape

    @property
    def shape(self) -> TableShape:
        """What its rows are encoded and decoded by."""
        shape = self.plain_shape
        return shape if self.rules is None else Rewriter(self.rules).shape(shape)

    @property
    def ruled(self) -> bool:
        """Whether rules hide values of it."""
        return self.rules is not None and bool(self.rules.hidden)

    def rejected_letters(self, connection: Connection[Any], shape: TableShape, counts: BatchCounts) -> list[DeadLetter]:
        """The dead letters of the rows that can't be written; those that wait for another row are none yet."""
        letters: list[DeadLetter] = []
        waiting: list[tuple[DeadLetter, str]] = []
        name = self.target.table.full_name
        for row, static in self.take_rejected():
            letter = rejected_letter(row, shape, name, static=static, ruled=self.ruled)
            if isinstance(row.error, Violation) and row.error.awaited and self.waiting is not None:
                waiting.append((letter, row.error.constraint))
            else:
                letters.append(letter)
        if waiting and self.waiting is not None:
            letters += self.waiting.put(connection, waiting)
            counts.waiting[name] = self.waiting.count
        return letters

    def take_rejected(self) -> list[tuple[RejectedRow, bool]]:
        """The rows that could not be written since the last time, and whether each is a static one."""
        taken = [(row, writer.layout.static) for writer in self.writers for row in writer.rejected]
        for writer in self.writers:
            writer.rejected = []
        return taken

    def retry(self, connection: Connection[Any], now: int, counts: BatchCounts) -> list[DeadLetter]:
        """Write the waiting rows whose parents are there; returns the dead letters of those that wait no more."""
        assert self.waiting is not None
        name = self.target.table.full_name
        rows = self.waiting.oldest(connection)
        counts.waiting[name] = self.waiting.count
        if not rows:
            return []
        try:
            with connection.transaction():
                errors = self._write_waiting(connection, rows, now, counts)
        except psycopg.Error as error:
            if not is_data_error(error):
                raise
            errors = {}
            for waiting in rows:
                errors |= self._write_alone(connection, waiting, now, counts)
        done = [waiting for waiting in rows if not _may_wait(waiting, errors.get(waiting.event_id))]
        self.waiting.drop(connection, [waiting.event_id for waiting in done])
        counts.waiting[name] = self.waiting.count
        version = version_of(self.plain_shape)
        return [
            DeadLetter(
                waiting.event_id,
                name,
                wrong.code,
                wrong.what,
                waiting.encoding,
                waiting.mutation,
                schema_version=version,
                rule=rule_of(wrong),
            )
            for waiting in done
            if (wrong := errors.get(waiting.event_id)) is not None
        ]

    def _write_waiting(
        self, connection: Connection[Any], rows: Sequence[WaitingRow], now: int, counts: BatchCounts
    ) -> dict[str, BadDataError]:
        """Write `rows`; returns what is wrong with those that can't be written, by event id."""
        shape = self.shape
        fold = TableFold(shape)
        errors: dict[str, BadDataError] = {}
        keys: dict[str, set[RowKey]] = {}
        for waiting in rows:
            try:
                updates = decode_any(waiting.mutation, waiting.encoding & ~RULED, {shape.id: shape})
            except BadDataError as error:  # the table changed meanwhile
                errors[waiting.event_id] = error
                continue
            keys[waiting.event_id] = {(update.key, row.key) for update in updates for row in update.rows}
            keys[waiting.event_id] |= {(update.key, b"") for update in updates if update.static_row is not None}
            for update in updates:
                fold.add(update)
        counted = BatchCounts()
        self.write(connection, fold, now, counted)
        counts.add(counted)
        rejected = {(row.partition_key, row.row.key): row.error for row, _ in self.take_rejected()}
        for event_id, places in keys.items():
            for place in places & rejected.keys():
                errors[event_id] = rejected[place]
        return errors

    def _write_alone(
        self, connection: Connection[Any], waiting: WaitingRow, now: int, counts: BatchCounts
    ) -> dict[str, BadDataError]:
        """The same for one row, which may be the one that PostgreSQL refuses for a reason that it alone knows."""
        try:
            with connection.transaction():
                return self._write_waiting(connection, [waiting], now, counts)
        except psycopg.Error as error:
            if not is_data_error(error):
                raise
            self.take_rejected()
            what = f"PostgreSQL refuses it with SQLSTATE {error.sqlstate} ({type(error).__name__})"
            return {waiting.event_id: BadDataError(f"postgres_{error.sqlstate}", what)}

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
        self._begin_counting()
        moment = _moment(now)
        limit = Raw(REAP_ROWS_MAX.to_bytes(8, "big"))
        for writer in self.writers:
            for page in writer.read_pages(connection, writer.sql.select_expired(), (moment, limit), REAP_ROWS_MAX + 1):
                if page:
                    items = [(stored.partition_key, stored.row) for stored in page]
                    for partition_key, row in items:
                        writer.doubts.ended(partition_key, row, now)
                    writer.replace(connection, items, now, counts, ended=True)
                    total += len(items)
            if writer.hidden is not None:
                hidden = writer.hidden.expired(connection, moment, REAP_ROWS_MAX)
                if hidden:
                    for partition_key, row in hidden:
                        writer.doubts.ended(partition_key, row, now)
                    writer.replace_hidden(connection, hidden, now, counts, ended=True)
                    total += len(hidden)
        if failpoints.ARMED and total:
            failpoints.reach("reaped")
        self._count_hidden(counts)
        counts.expired += total
        return total


def _moment(second: int) -> Raw:
    """A second of Unix time as a binary timestamptz."""
    return Raw(((second - 946_684_800) * 1_000_000).to_bytes(8, "big", signed=True))


def _may_wait(waiting: WaitingRow, error: BadDataError | None) -> bool:
    return isinstance(error, Violation) and error.awaited and not waiting.overdue


def ranks(targets: Mapping[bytes, TargetWriter]) -> dict[bytes, int]:
    """The order in which tables are written so that parents come before the rows whose foreign keys name them.

    Empty where no foreign keys are; tables that name each other in a circle have some order.
    """
    owners = {
        (writer.relation.schema, writer.relation.name): table_id
        for table_id, target in targets.items()
        for writer in target.writers
    }
    parents = {
        table_id: {
            owners[place]
            for writer in target.writers
            if writer.integrity is not None
            for place in writer.integrity.parents
            if place in owners and owners[place] != table_id
        }
        for table_id, target in targets.items()
    }
    if not any(parents.values()):
        return {}
    found = dict.fromkeys(targets, 0)
    for _ in targets:
        found = {table_id: max((found[parent] + 1 for parent in parents[table_id]), default=0) for table_id in targets}
    return found
