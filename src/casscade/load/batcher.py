"""Chunks of raw mutations become batches that are ready to be written.

Invariant: a batch's position covers exactly what its fold, its dead letters and the batches before it hold; nothing
that could not be decoded is left out without a dead letter or a counted reason.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping

from casscade.commitlog.decoder import decode_mutation
from casscade.commitlog.observations import decode_any, decode_without_dropped
from casscade.commitlog.peek import mentions_any
from casscade.core.cell import NO_TIMESTAMP
from casscade.core.errors import (
    BadDataError,
    CorruptionError,
    DroppedColumnError,
    InvariantError,
    UnknownSchemaError,
)
from casscade.core.limits import BATCH_BYTES_MAX
from casscade.core.mutation import PartitionUpdate
from casscade.core.position import START
from casscade.core.table import TableShape
from casscade.debezium.decoder import LOG_MARKER, NOT_REPLICATED, SNAPSHOT, EventDecoder
from casscade.debezium.message import DEBEZIUM
from casscade.load.arrival import Arrivals
from casscade.load.blocked import BLOCKED, Blocked, take_out
from casscade.load.contents import Batch
from casscade.load.cuts import Cuts
from casscade.load.incoming import Run, mark_scanned, write_time_of
from casscade.load.letters import DeadLetter, damage_letter, letter_of, refused_letter, stack_of
from casscade.load.rewriting import FILTERED, Rewriting
from casscade.merge.fold import Fold
from casscade.rules.concealment import Excluded, conceal
from casscade.rules.rewriter import RULED
from casscade.transport.chunk import Chunk, ReplayProgress

Tables = Mapping[bytes, TableShape]

TRUNCATED = "truncated"
NO_LONGER = "table_not_replicated"
# A mutation is applied without what it writes to columns that were dropped before.
COLUMN_VOID = "column_void"
# The same for columns of rows that were read and that PostgreSQL can't take just now.
COLUMN_UNREAD = "column_unread"
# What another loader recorded may be older than a mutation; Cassandra is asked then, for each table of it.
REFRESHES_MAX = 4
_COMMIT_LOG_VERSION_MAX = 8
# Why mutations are left out that are no dead letters.
LEFT_OUT = (
    "table_gone",
    TRUNCATED,
    LOG_MARKER,
    NOT_REPLICATED,
    SNAPSHOT,
    FILTERED,
    COLUMN_VOID,
    COLUMN_UNREAD,
)


class Batcher:
    """Collects chunks until a batch is full.

    `tables` gives the shapes by table id as they are now. `refresh` is asked for a table id that is unknown (or whose
    mutation names an unknown column) as long as it returns that the schema changed. The content of `excluded`
    columns is taken out, and so are `blocked` columns, whose writes become dead letters (`adopt` changes both while the
    schema changes). `check` sees to it that the schema is still the one that `tables` has. `rewriting` carries out the
    rules that hide values and those on keys. `cuts` tells what TRUNCATE made void, which is left out. `events` decodes
    chunks of Debezium's messages. `arrivals` gives times to what comes of tables where the order of arrival decides.
    `counts` has the mutations by what became of them: `decoded`, a reason of `LEFT_OUT`
    (`filtered` counts rows), or the code of what was wrong. `misplaced` counts those whose key belongs to another Kafka
    partition.
    """

    def __init__(
        self,
        tables: Callable[[], Tables],
        refresh: Callable[[bytes], bool],
        *,
        batch_rows: int,
        batch_s: float,
        excluded: Excluded | None = None,
        rewriting: Rewriting | None = None,
        blocked: Blocked | None = None,
        cuts: Cuts | None = None,
        events: EventDecoder | None = None,
        arrivals: Arrivals | None = None,
        check: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tables = tables
        self._refresh = refresh
        self._batch_rows = batch_rows
        self._batch_s = batch_s
        self._excluded = excluded or {}
        self._rewriting = rewriting
        self._blocked = blocked or {}
        self._cuts = cuts or Cuts()
        self._events = events
        self._arrivals = arrivals or Arrivals()
        self._check = check
        self._clock = clock
        self._batch = self._new_batch()
        # Of the mutations of the batch, by version: a write time that tells.
        self._seen: dict[int, dict[bytes, int]] = {}
        self._rows = 0
        self._bytes = 0
        self._started: float | None = None
        self.counts: Counter[str] = Counter()
        self.misplaced = 0

    @property
    def left_out(self) -> dict[str, int]:
        """Mutations that were left out and are no dead letters, by reason."""
        return {reason: self.counts[reason] for reason in LEFT_OUT}

    @property
    def waiting(self) -> bool:
        """Whether anything is collected."""
        return self._started is not None

    def remaining_s(self) -> float:
        """Seconds until the batch has to go although it is not full; the whole time limit while it is empty."""
        if self._started is None:
            return self._batch_s
        return max(0.0, self._started + self._batch_s - self._clock())

    def full(self) -> bool:
        """Whether the batch should go now."""
        return self._started is not None and (
            self._rows >= self._batch_rows or self._bytes >= BATCH_BYTES_MAX or self.remaining_s() <= 0
        )

    def add(self, chunk: Chunk) -> None:
        """Decode and fold a chunk."""
        if self._started is None:
            self._started = self._clock()
        batch = self._batch
        batch.chunks.append(chunk)
        self._check()
        tables = self._tables()
        fold = batch.fold
        write_times = batch.write_times
        arrivals = self._arrivals
        streamed = not chunk.scanned
        # What is applied again was counted when it came, and its age is no delay of replication.
        counted = streamed and not chunk.own_ids
        # (Events of Debezium's may say what only a read can tell, and nothing else.)
        replayed = isinstance(chunk.own_progress, ReplayProgress) and chunk.version != DEBEZIUM
        cut = self._cuts.concern(chunk)
        decode = self._decoder(chunk.version)
        adapted = bool(arrivals.tables or self._excluded or self._rewriting is not None or self._blocked)
        as_they_are = counted and not (adapted or replayed or cut) and decode is decode_mutation
        run = Run(chunk.version, self._seen.setdefault(chunk.version, {}), write_times) if as_they_are else None
        position = 0
        while position < len(chunk.mutations):
            if run is not None:
                reached = run.take(chunk.mutations, position, tables, fold)
                if reached > position:
                    position = reached
                    continue
            mutation = chunk.mutations[position]
            try:
                updates = decode(mutation, chunk.version, tables)
            except BadDataError as error:
                updates = self._decode_again(chunk, position, error)
                tables = self._tables()
            if replayed and not updates:
                self._keep(chunk, position)
            if cut and updates:
                updates = self._cut(chunk, updates, chunk.offsets[position])
            if counted and updates:
                write_time = write_time_of(updates[0])
                if write_time != NO_TIMESTAMP:
                    write_times.append(write_time)
            if adapted:
                updates = self._adapt(chunk, position, updates)
            for update in updates:
                self._rows += len(update.rows) or 1
                if not streamed:
                    mark_scanned(update)
            fold.add(updates)
            position += 1
        self._rows += 0 if run is None else run.rows
        self.counts["decoded"] += len(chunk.mutations)
        self._bytes += chunk.size
        if chunk.misplaced:
            batch.alone = True
            self.misplaced += chunk.misplaced
        if counted:
            batch.mutations += len(chunk.mutations)
        if streamed:
            batch.arrived = arrivals.newest
        for event, value, refused in chunk.refused:
            self.counts[refused.code] += 1
            batch.dead_letters.append(self._shown(refused_letter(chunk, event, refused, value)))
        for notice in chunk.notices:
            batch.notices.append(notice)
            if notice.content:
                damage = CorruptionError(notice.reason, f"A part of a commit log segment is damaged: {notice.detail}")
                self.counts[damage.code] += 1
                batch.dead_letters.append(self._unread(damage_letter(chunk, notice, damage)))
        if chunk.progress is not None:
            batch.progress.append(chunk.progress)
        if chunk.moves:
            # Also where it moves nothing yet: a source that is not named here is not fenced.
            batch.positions[chunk.source] = max(chunk.end, batch.positions.get(chunk.source, START))

    def _adapt(self, chunk: Chunk, position: int, updates: list[PartitionUpdate]) -> list[PartitionUpdate]:
        """What configuration and rules make of the updates of one mutation."""
        if self._arrivals.tables and updates:
            self._arrivals.stamp(updates, chunk.captured_at, scanned=chunk.scanned)
        # Else it is a letter of rows whose rules were carried out already, applied again.
        if not chunk.version & RULED:
            for update in updates:
                if update.table.id in self._excluded:
                    conceal(update, self._excluded[update.table.id])
            if self._rewriting is not None:  # behind it, since a row that fails becomes a dead letter
                updates = self._rewriting.apply(updates, self._batch.dead_letters, self.counts)
        if self._blocked:
            self._keep_blocked_apart(chunk, position, updates)
        return updates

    def _new_batch(self) -> Batch:
        return Batch(Fold()) if self._rewriting is None else Batch(Fold(), shown=self._shown)

    def _shown(self, letter: DeadLetter) -> DeadLetter:
        """A letter of a mutation as it came, without what rules hide."""
        if self._rewriting is None or letter.encoding & RULED:
            return letter
        return self._rewriting.hide(letter, self._tables(), self._excluded)

    def _unread(self, letter: DeadLetter) -> DeadLetter:
        """A letter of bytes that nobody can read: where rules hide anything, it goes without them."""
        return letter if self._rewriting is None else self._rewriting.withheld(letter)

    def _decoder(self, version: int) -> Callable[[bytes, int, Tables], list[PartitionUpdate]]:
        if version == DEBEZIUM:
            return self._decode_event
        if version & RULED:
            return self._decode_ruled
        return decode_mutation if version <= _COMMIT_LOG_VERSION_MAX else decode_any

    def _decode_ruled(self, mutation: bytes, version: int, tables: Tables) -> list[PartitionUpdate]:
        shapes = tables if self._rewriting is None else self._rewriting.shapes(tables)
        return decode_any(mutation, version & ~RULED, shapes)

    def _keep(self, chunk: Chunk, position: int) -> None:
        """A replayed letter says nothing of a replicated table: it stays, unless it was set aside already."""
        if any(letter.replaces in chunk.own_ids for letter in self._batch.dead_letters):
            return
        self.counts[NO_LONGER] += 1
        message = "its table is not replicated by this configuration, or not there any more"
        self._set_aside(chunk, position, NO_LONGER, message)

    def _set_aside(
        self, chunk: Chunk, position: int, code: str, message: str, stack: str = "", table: TableShape | None = None
    ) -> None:
        """A mutation as it came becomes a dead letter; `table` is the one at fault, where that is known."""
        if table is None and self._events is not None and chunk.version == DEBEZIUM:
            table = self._events.table_of(chunk.mutations[position])
        letter = letter_of(chunk, position, code, message, self._tables(), stack, table=table)
        self._batch.dead_letters.append(self._shown(letter))

    def adopt(self, excluded: Excluded, blocked: Blocked) -> None:
        """Go on with other columns that are left out; any thread, before `tables` gives shapes that have them."""
        self._excluded, self._blocked = excluded, blocked

    def _keep_blocked_apart(self, chunk: Chunk, position: int, updates: list[PartitionUpdate]) -> None:
        """The whole mutation becomes a dead letter, and all of it but the blocked columns is applied."""
        for update in updates:
            reason = take_out(update, self._blocked.get(update.table.id, {}))
            if reason is None:
                continue
            if chunk.scanned:
                # What is read from a table can be read again, and would be a letter for each of its rows.
                self.counts[COLUMN_UNREAD] += 1
                continue
            self.counts[BLOCKED] += 1
            self._set_aside(chunk, position, BLOCKED, reason, table=update.table)

    def _cut(self, chunk: Chunk, updates: list[PartitionUpdate], offset: int) -> list[PartitionUpdate]:
        """Those of a mutation's updates whose table was not truncated after it."""
        left = [update for update in updates if not self._cuts.void(chunk, offset, update.table.id)]
        if len(left) < len(updates):
            self.counts[TRUNCATED] += 1
            self.counts["decoded"] -= not left
        return left

    def _decode_event(self, message: bytes, _version: int, _tables: Tables) -> list[PartitionUpdate]:
        """Decode a message of Debezium's; rows that it does not determine are asked for in the batch's transaction."""
        if self._events is None:
            raise InvariantError("debezium_unexpected", "a message of Debezium's came to a pipeline of another format")
        updates, rereads, skipped = self._events.decode(message)
        self._batch.rereads += rereads
        self._rows += len(rereads)
        if skipped:
            self.counts[skipped] += 1
            self.counts["decoded"] -= 1
        return updates

    def _replicated(self) -> set[bytes]:
        return {table_id for table_id, shape in self._tables().items() if shape.replicated}

    def take(self) -> Batch:
        """The batch collected so far; a new one begins."""
        batch = self._batch
        self._batch = self._new_batch()
        self._seen.clear()
        self._rows = 0
        self._bytes = 0
        self._started = None
        return batch

    def _decode_again(self, chunk: Chunk, position: int, error: BadDataError) -> list[PartitionUpdate]:
        """More tries with fresh schemas; what fails by the newest becomes a dead letter."""
        mutation, tries = chunk.mutations[position], 0
        while isinstance(error, UnknownSchemaError) and tries < REFRESHES_MAX and self._refresh(error.table_id):
            try:
                return self._decoder(chunk.version)(mutation, chunk.version, self._tables())
            except BadDataError as again:
                error, tries = again, tries + 1
        if isinstance(error, UnknownSchemaError):
            if isinstance(error, DroppedColumnError):
                return self._decode_without(error, mutation, chunk.version)
            known = chunk.version == DEBEZIUM or mentions_any(mutation, self._replicated())
            if isinstance(error, UnknownSchemaError) and not known:
                # The table was dropped before anything of it was replicated: there is nowhere to put its rows.
                self.counts["table_gone"] += 1
                self.counts["decoded"] -= 1
                return []
        self.counts["decoded"] -= 1
        self.counts[error.code] += 1
        table = self._tables().get(error.table_id) if isinstance(error, UnknownSchemaError) else None
        self._set_aside(chunk, position, error.code, error.what, stack_of(error), table=table)
        return []

    def _decode_without(self, error: DroppedColumnError, mutation: bytes, version: int) -> list[PartitionUpdate]:
        """The column is not back: Cassandra does not show what was written to it, and neither do we."""
        self.counts[COLUMN_VOID] += 1
        return decode_without_dropped(error, mutation, version, self._tables())
