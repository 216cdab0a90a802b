"""Chunks on their way to Kafka (`rules: {apply: capture}`), or to the journal of an outage, lose what the rules hide.

Invariant: nothing is put into the outlet that a rule hides; a chunk's position covers what was withheld of it only
after the note of that was put.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from casscade.capture.sender import Outlet
from casscade.commitlog.observations import WITHHELD
from casscade.config import PipelineConfig, TableRule
from casscade.core.errors import UnknownSchemaError
from casscade.core.limits import UNKNOWN_TABLES_MAX
from casscade.core.position import START, Position
from casscade.core.recent import Recent
from casscade.rules.concealment import excluded_columns
from casscade.rules.hider import Hider
from casscade.rules.rewriter import RULED
from casscade.rules.table import TableRules, excluded_names, hides_what_comes, read_rules
from casscade.schema.mapping import Target
from casscade.schema.model import Table
from casscade.transport.chunk import Chunk, RepairProgress

TABLE_GONE: Final = "table_gone"
FILTERED: Final = "filtered"
# A burst of mutations of one new table must not read the schema over and over.
REFRESH_PAUSE_S: Final = 1.0


def hides_at_capture(config: PipelineConfig) -> bool:
    """Whether hidden values must not get into Kafka."""
    return config.rules.apply == "capture" and config.transport.kind == "kafka"


def hider_of(config: PipelineConfig, rules: Sequence[TableRule], tables: Sequence[Table]) -> Hider:
    """What the configuration hides of `tables`, which are all that the cluster has, with numbered columns."""
    by_name = {(table.keyspace, table.name): table for table in tables}
    replicated = {}
    read: list[TableRules] = []
    excluded: dict[bytes, frozenset[int]] = {}
    for rule in rules:
        table = by_name[rule.keyspace, rule.table]
        names = excluded_names(rule, table)
        found = read_rules(rule, table, config.rules, names)
        read.append(found)
        replicated[table.id.bytes] = table
        hidden = names | found.dropped | found.nulled
        if hidden:
            excluded[table.id.bytes] = frozenset(each.index for each in table.columns if each.name in hidden)
    shapes = {table.id.bytes: table.shape(replicated=table.id.bytes in replicated) for table in tables}
    # A mutation that names an unknown column of these makes the schema be read again before it is sent.
    watched = [by_name[rule.keyspace, rule.table].id.bytes for rule in rules if hides_what_comes(rule)]
    return Hider(read, shapes, excluded, watched)


def hiding_of(targets: Iterable[Target], rules: Mapping[bytes, TableRules]) -> ChunkHider:
    """For rows that are read from `targets`, whose schema is that of this life of the process."""
    targets = list(targets)
    shapes = {target.table.id.bytes: target.table.shape(replicated=True) for target in targets}
    hider = Hider(rules.values(), shapes, excluded_columns(targets, rules))
    return ChunkHider(lambda: hider, lambda: None)


class ChunkHider:
    """Takes out of chunks what is hidden. `hider` gives the rules as they are now, `refresh` reads the schema again.

    `skip` hears of what is left out: the reason and how often. `TABLE_GONE`: a mutation of a table that no schema has,
    dropped before anything of it was replicated; `FILTERED`: a row that no condition on the key wants.
    """

    def __init__(self, hider: Callable[[], Hider], refresh: Callable[[], None]) -> None:
        self._hider = hider
        self._refresh = refresh
        self._refreshed_at = float("-inf")
        self._missing = Recent[bytes](UNKNOWN_TABLES_MAX)
        self.skip: Callable[[str, int], None] = lambda _reason, _count: None

    def hide(self, chunk: Chunk) -> list[Chunk]:
        """The chunk without what is hidden, behind one of the notes of what was withheld, if there is any."""
        concerns = self._hider().concerns
        chunk = _without_damage(self._hider(), chunk)
        if chunk.version & RULED or not any(map(concerns, chunk.mutations)):
            return [chunk]
        shown = replace(chunk, mutations=[], offsets=[])
        notes = Chunk(
            chunk.source,
            WITHHELD,
            START,
            chunk.captured_at,
            segment=chunk.segment,
            origin=chunk.origin,
            scanned=chunk.scanned,
        )
        for offset, mutation in zip(chunk.offsets, chunk.mutations, strict=True):
            written, withheld = [mutation], list[bytes]()
            if concerns(mutation):
                written, withheld = self._rewrite(mutation, chunk.version)
                concerns = self._hider().concerns
            shown.mutations += written
            shown.offsets += [offset] * len(written)
            notes.mutations += withheld
            notes.offsets += [offset] * len(withheld)
        hider = self._hider()
        if hider.filtered:
            self.skip(FILTERED, hider.filtered)
            hider.filtered = 0
        shown.size = sum(map(len, shown.mutations))
        notes.size = sum(map(len, notes.mutations))
        return [notes, shown] if notes.mutations else [shown]

    def _rewrite(self, mutation: bytes, version: int) -> tuple[list[bytes], list[bytes]]:
        try:
            return self._hider().rewrite(mutation, version)
        except UnknownSchemaError as error:
            if error.table_id in self._missing:
                return self._unknown(mutation, error)
            time.sleep(max(0.0, self._refreshed_at + REFRESH_PAUSE_S - time.monotonic()))
            self._refresh()
            self._refreshed_at = time.monotonic()
        try:
            return self._hider().rewrite(mutation, version)
        except UnknownSchemaError as error:
            self._missing.add(error.table_id)
            return self._unknown(mutation, error)

    def _unknown(self, mutation: bytes, error: UnknownSchemaError) -> tuple[list[bytes], list[bytes]]:
        """A mutation that no schema describes: of a table that hides anything a note is left, others are counted."""
        hider = self._hider()
        if hider.hides(mutation):
            return [], [hider.note(error)]
        self.skip(TABLE_GONE, 1)
        return [], []


def hidden_chunks(hider: Hider, chunks: Iterable[Chunk]) -> list[Chunk]:
    """The chunks as they may lie on a disk, by the schema of this moment: nothing is waited for or left out.

    A mutation that can't be rewritten leaves a note, in a chunk behind that of its neighbours, with the same progress:
    the journal keeps both until both are durable. What mentions no table that hides anything stays as it is.
    """
    return [each for chunk in chunks for each in _hidden_chunk(hider, chunk)]


def _without_damage(hider: Hider, chunk: Chunk) -> Chunk:
    """The chunk without damaged bytes, of which nobody can tell what is in them.

    A byte stays in their place: what has any content becomes a dead letter.
    """
    if not (hider.needed and any(notice.content for notice in chunk.notices)):
        return chunk
    return replace(chunk, notices=[n._replace(content=b"\x00") if n.content else n for n in chunk.notices])


def _hidden_chunk(hider: Hider, chunk: Chunk) -> list[Chunk]:
    chunk = _without_damage(hider, chunk)
    if chunk.version & RULED or chunk.version == WITHHELD or not any(map(hider.hides, chunk.mutations)):
        return [chunk]
    shown = replace(chunk, version=chunk.version | RULED, mutations=[], offsets=[])
    progress = chunk.progress
    if isinstance(progress, RepairProgress):
        progress = replace(progress, rows=0)
    notes = replace(chunk, version=WITHHELD, mutations=[], offsets=[], notices=[], progress=progress)
    for offset, mutation in zip(chunk.offsets, chunk.mutations, strict=True):
        written, withheld = [mutation], list[bytes]()
        if hider.hides(mutation):
            try:
                written, withheld = hider.rewrite(mutation, chunk.version)
            except UnknownSchemaError as error:
                written, withheld = [], [hider.note(error)]
        shown.mutations += written
        shown.offsets += [offset] * len(written)
        notes.mutations += withheld
        notes.offsets += [offset] * len(withheld)
    shown.size = sum(map(len, shown.mutations))
    notes.size = sum(map(len, notes.mutations))
    return [shown, notes] if notes.mutations else [shown]


class HidingOutlet:
    """An outlet before another one: what is put loses what is hidden."""

    def __init__(self, outlet: Outlet, hider: ChunkHider) -> None:
        self._outlet = outlet
        self._hider = hider

    def put(self, chunk: Chunk, stop: threading.Event) -> bool:
        """Put what may be shown of the chunk; False when `stop` was set meanwhile."""
        return all(self._outlet.put(each, stop) for each in self._hider.hide(chunk))

    def acknowledged(self, source: str) -> Position:
        """What is durable downstream."""
        return self._outlet.acknowledged(source)
