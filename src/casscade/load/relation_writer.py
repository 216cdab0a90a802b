"""One target relation: a fold's rows are staged, compared, merged and written, inside the caller's transaction.

Invariant: after `write` the relation and its tombstones together hold the join of what they held and of the rows
given; what was written before is read only where SQL could not decide.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from psycopg import Connection, sql

from casscade.commitlog.encoder import clustering_key
from casscade.core.keys import canonical_key
from casscade.core.mutation import Row
from casscade.load import staged as ops
from casscade.load.ahead import Ahead, AheadEncoder, Piece
from casscade.load.constraints import Constraint
from casscade.load.copy_encoder import RowEncoder
from casscade.load.counters import BatchCounts
from casscade.load.doubts import Doubts, only_read
from casscade.load.hidden import HiddenRows, hidden_row
from casscade.load.integrity import integrity_of
from casscade.load.layout import INEXACT_POLICIES, RowLayout
from casscade.load.lookout import Lookout
from casscade.load.merge_sql import TargetSql
from casscade.load.raw import fields
from casscade.load.row_filter import RowFilter
from casscade.load.row_reader import StoredRow, read_row
from casscade.load.staged import RejectedRow, StagedRows, UnseenRow
from casscade.load.staging import NO_PIECES, copy_rows
from casscade.load.tombstones import RowTombstone, TombstoneStore, row_key, row_of
from casscade.load.trail import Trail
from casscade.merge.fold import RowKey
from casscade.merge.paths import unify_paths
from casscade.merge.row import is_empty, merge_rows
from casscade.schema.mapping import Relation

RowItem = tuple[bytes, Row]
# In the order of `_execute_decisions`.
_UPSERTING = (ops.OP_DOMINATE, ops.OP_INSERT, ops.OP_RENEW, ops.OP_PATCH, ops.OP_PUT_IF_ABSENT)


class RelationWriter:
    """Writes rows of one relation over one connection at a time.

    `prepare` must run once on each new connection. `schema_version` is the version of the table that the layout was
    made for; None where nobody else changes it. `rejected` has rows that PostgreSQL can't hold, `doubts` what Cassandra
    may show although it is not visible here; the caller takes care of both in the same transaction. `hidden` has the
    state of rows that are not `wanted`; both are None where all rows are.
    """

    def __init__(
        self,
        relation: Relation,
        layout: RowLayout,
        tombstones: TombstoneStore,
        schema_version: int | None = None,
        wanted: RowFilter | None = None,
        hidden: HiddenRows | None = None,
        constraints: Sequence[Constraint] = (),
    ) -> None:
        self.relation = relation
        self.hidden = hidden
        self.schema_version = schema_version
        self.layout = layout
        self.tombstones = tombstones
        stage = f"casscade_stage_{tombstones.target_no}"
        self.sql = self._plain_sql = TargetSql(relation, stage, observable=layout.observable)
        self._noting_sql: TargetSql | None = None
        self._trail: Trail | None = None
        self.integrity = integrity_of(relation, stage, constraints)
        self.rejected: list[RejectedRow] = []
        self.doubts = Doubts()
        self.covered: set[RowKey] = set()
        self.lookout = Lookout(layout)
        self._encoder = RowEncoder(layout, wanted, checked=bool(constraints))
        self._ahead = None if layout.exact or self._encoder.judged else AheadEncoder(layout)
        self._stage_used = True

    def prepare(self, connection: Connection[Any]) -> None:
        """Create the staging table of a new connection and look for tombstones."""
        connection.execute(self.sql.create_stage)
        self.tombstones.refresh(connection)

    def begin(self) -> None:
        """A transaction begins: the staging table is empty, as every commit and rollback leaves it."""
        self.rejected = []
        self._stage_used = False

    def follow(self, trail: Trail | None) -> None:
        """From now on leave a trail, or none."""
        if self._noting_sql is None:
            self._noting_sql = self._plain_sql.noting()
        self._trail, self.sql = trail, self._plain_sql if trail is None else self._noting_sql

    def encode_ahead(self, rows: dict[RowKey, Row]) -> Ahead | None:
        """Encode what can be encoded before `write`; None where nothing can. Any thread, but one at a time."""
        return None if self._ahead is None else self._ahead.encode_ahead(rows)

    def write(
        self,
        connection: Connection[Any],
        rows: dict[RowKey, Row],
        now: int,
        counts: BatchCounts,
        ahead: Ahead | None = None,
    ) -> None:
        """Merge `rows` into the relation; `now` is the second at which expiry is judged.

        `ahead` is what `encode_ahead` gave for the same rows, which nobody has changed since.
        """
        if not rows:
            return
        self._encoder.inexact = [0] * len(INEXACT_POLICIES)
        items = [(key[0], row) for key, row in rows.items()] if ahead is None else ahead.items
        if self.layout.loose_paths:
            for _, row in items:
                unify_paths(row, self.layout.loose_paths, self.layout.older_ties)
        answers = {id(row) for _, row in items if only_read(row)} if self.layout.observable else set()
        if self.layout.observable:
            self._doubt_new(items, now)
        met = self._meet_tombstones(connection, items, now) if self.tombstones.rows_exist else set()
        uncovered = set() if self.hidden is None else self._meet_hidden(connection, items, now)
        # Rows that met something are others now.
        pieces = {} if ahead is None or ahead.layout is not self.layout or met or uncovered else ahead.pieces
        staged = self._stage(connection, items, now, merged=False, pieces=pieces)
        undecided = sum(staged.counts[op] for op in _UPSERTING) + len(staged.unseen) + len(staged.deferred)
        undecided -= self._execute_decisions(connection, staged)
        if staged.counts[ops.OP_DELETE]:
            removed = connection.execute(self.sql.delete).rowcount
            counts.removed += removed
            undecided -= removed
        merged: dict[int, RowItem] = self._merge_stored(connection, items, now) if undecided else {}
        for ordinal in staged.deferred:
            merged.setdefault(ordinal, items[ordinal])
        if self.layout.counters:
            for partition_key, row in items:
                self.doubts.contested(partition_key, row, covered=(partition_key, row.key) in self.covered)
        if self.covered:
            self._doubt_covered(items, merged, met)
        unseen = [(items[ordinal], row) for ordinal, row in staged.unseen.items() if ordinal not in merged]
        for (partition_key, row), _ in unseen:
            if id(row) not in answers:
                self._doubt(partition_key, row)
        still_hidden = self._put_tombstones(connection, unseen)
        if merged:
            still_hidden |= self.replace(
                connection, list(merged.values()), now, counts, truncate=False, answers=answers
            )
        met -= still_hidden
        if self.rejected and (met or uncovered):
            # the row stays out of the table, so that what hides it must stay too
            rejected = {row_key(each.partition_key, each.row.key) for each in self.rejected}
            met -= rejected
            uncovered -= rejected
        if met:
            self.tombstones.drop_rows(connection, list(met))
        if self.hidden is not None:
            self.hidden.drop(connection, list(uncovered - self.hidden.written))
        counts.rows += len(items)
        counts.merged += len(merged)
        counts.fast += len(items) - len(merged)
        for policy, values in zip(INEXACT_POLICIES, self._encoder.inexact, strict=True):
            if values:
                counts.inexact[self.relation.full_name, policy] += values

    def replace(
        self,
        connection: Connection[Any],
        items: list[RowItem],
        now: int,
        counts: BatchCounts,
        *,
        truncate: bool = True,
        ended: bool = False,
        answers: Collection[int] = (),
    ) -> set[bytes]:
        """Write rows that hold all their stored state already; returns the tombstone keys of those now unseen.

        `ended`: something in them ended; one that may not be written as it is now stays, and is not looked at again.
        `answers` has the ids of rows of which a read just told that they are not there (see `write`).
        """
        staged = self._stage(connection, items, now, merged=True, truncate=truncate)
        if staged.counts[ops.OP_UPSERT]:
            if self.integrity is not None:
                for ordinal, violation in self.integrity.check(connection, ended=ended).items():
                    self.rejected.append(RejectedRow(*items[ordinal], violation))
            connection.execute(self.sql.upsert)
        if not staged.counts[ops.OP_REMOVE]:
            return set()
        counts.removed += connection.execute(self.sql.remove).rowcount
        if staged.hidden:
            self._hide(connection, items, staged)
        removed = [(items[ordinal], encoded) for ordinal, encoded in staged.unseen.items()]
        for (partition_key, row), _ in removed:
            if id(row) not in answers:
                self._doubt(partition_key, row)
        return self._put_tombstones(connection, removed)

    def replace_hidden(
        self, connection: Connection[Any], items: list[RowItem], now: int, counts: BatchCounts, *, ended: bool = False
    ) -> None:
        """As `replace`, for rows that are hidden until now and that changed: those that match now are shown."""
        hidden = self.hidden
        assert hidden is not None
        hidden.begin()
        kept = len(self.rejected)
        self.replace(connection, items, now, counts)
        left = {row_key(each.partition_key, each.row.key) for each in self.rejected[kept:]}
        keys = {row_key(partition_key, row.key) for partition_key, row in items}
        hidden.drop(connection, list(keys - hidden.written - left))
        if ended and left:
            hidden.settle(connection, list(left))

    def _hide(self, connection: Connection[Any], items: list[RowItem], staged: StagedRows) -> None:
        assert self.hidden is not None, "a filter has a place for what it hides"
        self.hidden.put(connection, [hidden_row(*items[n], unseen) for n, unseen in staged.hidden.items()])

    def _meet_hidden(self, connection: Connection[Any], items: list[RowItem], now: int) -> set[bytes]:
        """Merge the state of rows that do not match until now into the new rows; returns the keys that were met."""
        hidden = self.hidden
        assert hidden is not None
        hidden.begin()
        by_key = {row_key(item[0], item[1].key): item for item in items}
        return self._meet(by_key, [RowTombstone(*found) for found in hidden.find(connection, list(by_key))], now)

    def clustering_key(self, clustering: list[bytes | None]) -> bytes:
        """What identifies a row within its partition (`Row.key` once it is folded)."""
        layout = self.layout
        if layout.loose_clusterings:
            return canonical_key(clustering, layout.loose_clusterings)
        return clustering_key(clustering, layout.clustering_lengths)

    def read_pages(
        self, connection: Connection[Any], query: sql.Composed, parameters: tuple[Any, ...], page_rows: int
    ) -> Iterator[list[StoredRow]]:
        """The stored rows that `query` finds, in pages; rows written meanwhile do not show up in later pages."""
        connection.execute(sql.SQL("DECLARE casscade_rows NO SCROLL CURSOR FOR ") + query, parameters)
        fetch = sql.SQL("FETCH FORWARD {} FROM casscade_rows").format(page_rows)
        while True:
            page = [read_row(self.layout, found) for found in fields(connection.execute(fetch, binary=True))]
            yield page
            if len(page) < page_rows:
                break
        connection.execute("CLOSE casscade_rows")

    def _meet_tombstones(self, connection: Connection[Any], items: list[RowItem], now: int) -> set[bytes]:
        """Merge the state of rows that are not visible into the new rows; returns the keys that were met."""
        by_key = {row_key(item[0], item[1].key): item for item in items}
        return self._meet(by_key, self.tombstones.find_rows(connection, list(by_key)), now)

    def _meet(self, by_key: Mapping[bytes, RowItem], stored_rows: Iterable[RowTombstone], now: int) -> set[bytes]:
        met: set[bytes] = set()
        for tombstone in stored_rows:
            partition_key, row = by_key[tombstone.key]
            stored = row_of(tombstone, row)
            self._join(partition_key, row, stored, now)
            met.add(tombstone.key)
        return met

    def _join(self, partition_key: bytes, row: Row, stored: Row, now: int) -> None:
        """Merge what is stored of a new row into it, after a look at both."""
        self.lookout.look(partition_key, stored, row)
        doubtful = self.doubts.met(row, stored, now, covered=(partition_key, row.key) in self.covered)
        merge_rows(row, stored, self.layout.older_ties)
        if self.layout.loose_paths:
            unify_paths(row, self.layout.loose_paths, self.layout.older_ties)
        if doubtful:
            self.doubts.columns(partition_key, row, doubtful)

    def _doubt(self, partition_key: bytes, row: Row) -> None:
        """Note a row without values that may have a liveness; one that was deleted as a whole has not."""
        if row.liveness_unknown and (row.cells or row.complex is not None):
            self.doubts.liveness(partition_key, row)

    def _doubt_new(self, items: list[RowItem], now: int) -> None:
        """What a read showed and a change of the same column came in one batch: which was first?"""
        for partition_key, row in items:
            if row.observed is not None:
                self.doubts.columns(partition_key, row, self.doubts.met(row, None, now))

    def _doubt_covered(self, items: list[RowItem], merged: dict[int, RowItem], met: set[bytes]) -> None:
        """A first observation of a row of which no state is stored meets an older deletion over it."""
        for ordinal, (partition_key, row) in enumerate(items):
            if ordinal in merged or (partition_key, row.key) not in self.covered:
                continue
            if row.observed is not None and row_key(partition_key, row.key) not in met:
                self.doubts.changed(partition_key, row)
        self.covered = set()

    def _stage(
        self,
        connection: Connection[Any],
        items: list[RowItem],
        now: int,
        *,
        merged: bool,
        truncate: bool = True,
        pieces: Mapping[int, Piece] = NO_PIECES,
    ) -> StagedRows:
        """Copy rows to the staging table, with their places in `items` as ordinals; keep those that are rejected."""
        staged = StagedRows()
        if self._trail is not None:
            self._trail.staged(self, items, staged)
        if truncate and self._stage_used:
            connection.execute(self.sql.truncate)
        self._stage_used = True
        copy_rows(connection, self.sql.copy, self._encoder, items, staged, now, merged=merged, pieces=pieces)
        self.rejected += [RejectedRow(*items[ordinal], error) for ordinal, error in staged.rejected.items()]
        return staged

    def _execute_decisions(self, connection: Connection[Any], staged: StagedRows) -> int:
        """Run the statements of the operations in use; returns how many rows they wrote."""
        written = 0
        statements = (self.sql.dominate, self.sql.insert, self.sql.renew, self.sql.patch, self.sql.put_if_absent)
        for op, statement in zip(_UPSERTING, statements, strict=True):
            if staged.counts[op]:
                written += connection.execute(statement).rowcount
        return written

    def _merge_stored(self, connection: Connection[Any], items: list[RowItem], now: int) -> dict[int, RowItem]:
        """Read the stored rows that SQL could not decide and merge them with the new ones, by ordinal."""
        cursor = connection.execute(self.sql.undecided, binary=True)
        merged: dict[int, RowItem] = {}
        for found in fields(cursor):
            ordinal_field = found[0]
            assert ordinal_field is not None
            ordinal = int.from_bytes(ordinal_field, "big")
            item = items[ordinal]
            partition_key, row = item
            stored = read_row(self.layout, found, 1).row
            self._join(partition_key, row, stored, now)
            merged[ordinal] = item
        return merged

    def _put_tombstones(self, connection: Connection[Any], unseen: list[tuple[RowItem, UnseenRow]]) -> set[bytes]:
        """Store what is known of rows that are not visible; returns their tombstone keys."""
        tombstones: list[RowTombstone] = []
        for (partition_key, row), encoded in unseen:
            if encoded.state is not None and not is_empty(row):
                tombstones.append(RowTombstone(row_key(partition_key, row.key), encoded.newest, encoded.state))
        if tombstones:
            self.tombstones.put_rows(connection, tombstones)
        return {tombstone.key for tombstone in tombstones}
