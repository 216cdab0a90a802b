"""`casscade run --dry-run`: what the segments at hand would write, under the configured rules.

Invariant: it only reads. No position moves, no segment is deleted, no row, table or schema is touched; and what a rule
hides is hidden in what it shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from casscade.capture.directory import MOVED_SEGMENT_VERSION, SegmentEntry, list_directory
from casscade.capture.reclaim import read_index
from casscade.commitlog.reader import FINISHED, SegmentFile
from casscade.config import PipelineConfig
from casscade.core.errors import BadDataError
from casscade.core.keys import split_partition_key
from casscade.core.mutation import Row
from casscade.core.position import Position
from casscade.cql.text import to_text
from casscade.cql.types import CqlType
from casscade.load.batcher import Batcher
from casscade.load.contents import Batch
from casscade.load.rewriting import FILTERED, rewriting_of
from casscade.load.row_filter import RowFilter, row_filter
from casscade.merge.row import is_visible
from casscade.pipeline.catalog import Catalog
from casscade.rules.concealment import excluded_columns
from casscade.rules.table import TableRules
from casscade.schema.mapping import Target, TargetColumn
from casscade.transport.chunk import Chunk

# A value of a sample is a look, not the value.
_CHARACTERS_MAX: Final = 60
_CHUNK_MUTATIONS: Final = 512


@dataclass(slots=True)
class TableEffect:
    """What would become of one table: rows by what happens to them, and some rows as they would be shown."""

    rows: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Effect:
    """What would become of everything: by table name, and mutations by what became of them."""

    segments: int = 0
    mutations: int = 0
    tables: dict[str, TableEffect] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)


def dry_run(
    config: PipelineConfig,
    catalog: Catalog,
    now: int,
    *,
    samples: int = 3,
    told: Callable[[str], None] = lambda _: None,
) -> Effect:
    """Read all segments in the CDC directory; expiry is judged at second `now`. Each batch is judged by itself.

    Raises what reading a segment raises.
    """
    effect = Effect(tables={target.table.full_name: TableEffect() for target in catalog.targets})
    viewers = {t.table.id.bytes: _Viewer(t, catalog.rules.get(t.table.id.bytes), samples) for t in catalog.targets}
    batcher = Batcher(
        catalog.tables,
        lambda _: False,
        batch_rows=config.load.batch_rows,
        batch_s=float("inf"),
        excluded=excluded_columns(catalog.targets, catalog.rules),
        rewriting=rewriting_of(catalog.rules.values()),
    )
    capture = config.capture
    for entry in list_directory(capture.cdc_directory, capture.commitlog_directory).segments:
        effect.segments += 1
        told(f"reading {entry.path.name}")
        for chunk in _chunks(entry):
            effect.mutations += len(chunk.mutations)
            batcher.add(chunk)
            if batcher.full():
                _look(batcher.take(), viewers, effect, now)
    _look(batcher.take(), viewers, effect, now)
    effect.left_out = Counter({what: count for what, count in batcher.counts.items() if what != "decoded"})
    return effect


def _chunks(entry: SegmentEntry) -> Iterator[Chunk]:
    index = read_index(entry.index_path) if entry.version > MOVED_SEGMENT_VERSION else FINISHED
    with SegmentFile(entry.path) as file:
        while True:
            for section in file.poll(index):
                for first in range(0, len(section.mutations), _CHUNK_MUTATIONS):
                    mutations = section.mutations[first : first + _CHUNK_MUTATIONS]
                    offsets = list(range(first, first + len(mutations)))
                    size = sum(map(len, mutations))
                    yield Chunk("dry-run", entry.version, Position(entry.id, 0), 0.0, mutations, offsets, size)
            if not file.more:
                return


def _look(batch: Batch, viewers: Mapping[bytes, _Viewer], effect: Effect, now: int) -> None:
    effect.dead_letters.update(letter.code for letter in batch.dead_letters)
    for table_id, table in batch.fold.tables.items():
        viewer = viewers.get(table_id)
        if viewer is None:
            continue
        found = effect.tables[viewer.name]
        for (partition_key, _), row in table.rows.items():
            viewer.look(found, partition_key, row, now)
        found.rows["static rows"] += len(table.statics)
        found.rows["deletions of ranges"] += len(table.deletions)


class _Viewer:
    """Shows rows of one table as PostgreSQL would."""

    def __init__(self, target: Target, rules: TableRules | None, samples: int) -> None:
        self.name = target.table.full_name
        self._samples = samples
        self._rules = rules
        self._filter: RowFilter | None = row_filter(rules, target.table)
        self._keys = target.rows.key_columns
        self._values = target.rows.value_columns
        self._partition_columns = len(target.table.partition_key)

    def look(self, found: TableEffect, partition_key: bytes, row: Row, now: int) -> None:
        if not is_visible(row, now):
            found.rows["deleted"] += 1
            return
        try:
            if self._filter is not None and not self._filter.matches(partition_key, row, now):
                found.rows["hidden by where"] += 1
                return
            shown = self._shown(partition_key, row, now)
        except BadDataError as error:
            found.rows[f"dead letters ({error.code})"] += 1
            return
        found.rows["shown"] += 1
        if len(found.samples) < self._samples:
            found.samples.append(shown)

    def _shown(self, partition_key: bytes, row: Row, now: int) -> dict[str, str]:
        key: list[bytes | None] = [*split_partition_key(partition_key, self._partition_columns), *row.clustering]
        shown = {column.name: _text(column.type, value) for column, value in zip(self._keys, key, strict=True)}
        for column in self._values:
            shown[column.name] = self._value(column, row, now)
        return shown

    def _value(self, column: TargetColumn, row: Row, now: int) -> str:
        name = column.column.name
        index = column.column.index
        if self._rules is not None and name in self._rules.nulled:
            return "NULL"
        if column.column.type.multi_cell:
            cells = None if row.complex is None else row.complex.get(index)
            alive = 0 if cells is None else sum(c[3] is not None and c[1] > now for c in cells.cells.values())
            return f"{alive} elements" if alive else "NULL"
        cell = row.cells.get(index)
        if cell is None or cell[3] is None or cell[1] <= now:
            return "NULL"
        chain = None if self._rules is None else self._rules.chains.get(name)
        value: bytes | None = cell[3]
        if chain is not None and not chain.hides:  # what hides was done when the mutation was decoded
            value = chain.apply(cell[3])
        return _text(column.type, value)


def _text(type_: CqlType, value: bytes | None) -> str:
    if value is None:
        return "NULL"
    if type_.name == "counter":
        return "a counter"
    text = to_text(type_, value)
    shown = "".join(sign if sign.isprintable() else "�" for sign in text[:_CHARACTERS_MAX])
    return shown if len(text) <= _CHARACTERS_MAX else f"{shown}…"


def tell(effect: Effect, echo: Callable[[str], Any]) -> None:
    """Print what was found."""
    echo(f"{effect.mutations} mutations in {effect.segments} segments; nothing was written")
    for name, table in effect.tables.items():
        counts = ", ".join(f"{count} {what}" for what, count in table.rows.items() if count) or "nothing"
        echo(f"{name}: {counts}")
        for sample in table.samples:
            echo("    " + ", ".join(f"{column}: {value}" for column, value in sample.items()))
    for reason, count in sorted(effect.left_out.items()):
        unit = "rows" if reason == FILTERED else "mutations or rows"
        echo(f"left out: {count} {unit} ({reason})")
    for code, count in sorted(effect.dead_letters.items()):
        echo(f"would be dead letters: {count} ({code})")
