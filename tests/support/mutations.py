"""Hypothesis strategies for tables and updates of every structure that a mutation can hold.

Invariant: what is generated is canonical: a mutation made of it decodes to equal updates.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from casscade.commitlog.encoder import clustering_key
from casscade.core.cell import (
    NO_EXPIRY,
    NO_TIMESTAMP,
    Cell,
    counter_cell,
    expiring_cell,
    live_cell,
    tombstone_cell,
)
from casscade.core.mutation import (
    EXCL_END_BOUND,
    EXCL_START_BOUND,
    INCL_END_BOUND,
    INCL_START_BOUND,
    Bound,
    ComplexColumn,
    PartitionUpdate,
    RangeTombstone,
    Row,
)
from casscade.core.table import ColumnShape, TableShape

LENGTHS = st.sampled_from([-1, -1, 0, 1, 4, 8, 16])
TIMESTAMPS = st.one_of(
    st.integers(1_700_000_000_000_000, 1_700_000_000_000_200),
    st.sampled_from([-(1 << 63) + 1, -1, 0, 1, (1 << 62) - 1, 1 << 62, (1 << 63) - 1]),
    st.integers(-(1 << 63) + 1, (1 << 63) - 1),
)
EXPIRIES = st.one_of(
    st.integers(1_700_000_000, 1_700_100_000),
    st.sampled_from([0, 1, 0x7FFFFFFE, NO_EXPIRY]),
    st.integers(0, 0x7FFFFFFE),
)
TTLS = st.sampled_from([1, 60, 86400, 630720000, 0x7FFFFFFF])


@st.composite
def table_shapes(draw: st.DrawFn, number: int = 0) -> TableShape:
    """A table with up to 40 clustering and up to 90 other columns of any sort; `number` makes its id unique."""
    clustering = draw(st.lists(LENGTHS, max_size=3) | st.just([4] * 32) | st.just([-1, 4, 0, 8] * 10))
    width = draw(st.integers(0, 5) | st.sampled_from([63, 64, 65, 90]))
    is_counter = draw(st.integers(0, 5)) == 0
    columns: list[ColumnShape] = []
    for is_static, number_of in ((True, draw(st.integers(0, 3))), (False, width)):
        sorts = draw(st.lists(st.tuples(st.integers(0, 3), LENGTHS), min_size=5, max_size=5))
        for i in range(number_of):
            sort, length = sorts[i % 5]
            multi_cell = sort == 0 and not is_counter
            columns.append(
                ColumnShape(
                    f"{'s' if is_static else 'r'}{i}é".encode(),
                    len(columns),
                    fixed_length=-1 if multi_cell or is_counter else length,
                    multi_cell=multi_cell,
                    static=is_static,
                    counter=is_counter,
                )
            )
    return TableShape(bytes([number]) * 16, "ks", f"t{number}", clustering, columns)


def values_of(length: int) -> st.SearchStrategy[bytes]:
    """Values of a type with that fixed length, or of any length for -1; the empty value is always possible."""
    if length < 0:
        return st.binary(max_size=5) | st.just(b"x" * 200)
    return st.just(b"") | st.binary(min_size=length, max_size=length)


def cells_of(length: int, counter: bool, timestamps: st.SearchStrategy[int]) -> st.SearchStrategy[Cell]:
    """Cells of a column: live, expiring and deleted ones, or counters."""
    values = values_of(length)
    if counter:
        return st.builds(counter_cell, timestamps, values) | st.builds(tombstone_cell, timestamps)
    return (
        st.builds(live_cell, timestamps, values)
        | st.builds(expiring_cell, timestamps, EXPIRIES, TTLS, values)
        | st.builds(tombstone_cell, timestamps)
    )


@st.composite
def clusterings(draw: st.DrawFn, lengths: list[int]) -> list[bytes | None]:
    """A value, an empty value or a null for each of `lengths`; from the fifth on they repeat, to be fast."""
    found: list[bytes | None] = []
    for i, length in enumerate(lengths):
        again = i > 3 and lengths[i - 4] == length
        found.append(found[i - 4] if again else draw(st.none() | values_of(length)))
    return found


@st.composite
def rows(draw: st.DrawFn, shape: TableShape, columns: list[ColumnShape], is_static: bool = False) -> Row | None:
    """A row with some of `columns`; None where it would say nothing."""
    values: list[bytes | None] = [] if is_static else draw(clusterings(shape.clustering_lengths))
    row = Row(clustering_key(values, [] if is_static else shape.clustering_lengths), values)
    if draw(st.booleans()):
        row.liveness_ts = draw(TIMESTAMPS)
        if draw(st.booleans()):
            row.liveness_ttl = draw(TTLS)
            row.liveness_expires_at = draw(EXPIRIES)
    row.deletion = draw(st.just(NO_TIMESTAMP) | TIMESTAMPS)
    timestamps = TIMESTAMPS if row.liveness_ts == NO_TIMESTAMP else st.just(row.liveness_ts) | TIMESTAMPS
    everything: bool = draw(st.booleans())
    chosen = draw(st.integers(0, (1 << len(columns)) - 1))
    complex_columns: dict[int, ComplexColumn] = {}
    for i, column in enumerate(columns):
        if not everything and not (chosen >> i) & 1:
            continue
        # Columns repeat their sort after five; so do their cells, which is faster than drawing ninety of them.
        before = columns[i - 5].index if i > 4 else -1
        if not column.multi_cell:
            if before in row.cells:
                row.cells[column.index] = row.cells[before]
            else:
                row.cells[column.index] = draw(cells_of(column.fixed_length, column.counter, timestamps))
            continue
        if before in complex_columns:
            complex_columns[column.index] = complex_columns[before]
            continue
        held = draw(st.dictionaries(st.binary(max_size=4), cells_of(-1, False, timestamps), max_size=3))
        deletion = draw(TIMESTAMPS) if not held else draw(st.just(NO_TIMESTAMP) | TIMESTAMPS)
        complex_columns[column.index] = ComplexColumn(deletion, held)
    row.complex = complex_columns or None
    if not row.cells and row.complex is None and NO_TIMESTAMP == row.liveness_ts == row.deletion:
        return None
    return row


@st.composite
def range_tombstones(draw: st.DrawFn, shape: TableShape) -> list[RangeTombstone]:
    """Ranges, some of which touch the one before (a boundary in the bytes)."""
    found: list[RangeTombstone] = []
    for _ in range(draw(st.integers(0, 3))):
        start = Bound(draw(st.sampled_from([INCL_START_BOUND, EXCL_START_BOUND])), _prefix(draw, shape))
        touches: bool = draw(st.booleans())
        if found and touches:
            before = found[-1].end
            start = Bound(EXCL_START_BOUND if before.kind == INCL_END_BOUND else INCL_START_BOUND, before.values)
        end = Bound(draw(st.sampled_from([INCL_END_BOUND, EXCL_END_BOUND])), _prefix(draw, shape))
        found.append(RangeTombstone(start, end, draw(TIMESTAMPS)))
    return found


def _prefix(draw: st.DrawFn, shape: TableShape) -> list[bytes | None]:
    lengths = shape.clustering_lengths
    return draw(clusterings(lengths[: draw(st.integers(0, len(lengths)))]))


@st.composite
def partition_updates(draw: st.DrawFn, shape: TableShape, key: bytes) -> PartitionUpdate:
    """An update of `shape` for the partition `key`."""
    update = PartitionUpdate(shape, key)
    update.deletion = draw(st.just(NO_TIMESTAMP) | TIMESTAMPS)
    with_statics: bool = draw(st.booleans())
    if shape.statics and with_statics:
        update.static_row = draw(rows(shape, shape.statics, is_static=True))
    made = [draw(rows(shape, shape.regulars)) for _ in range(draw(st.integers(0, 3)))]
    update.rows = [row for row in made if row is not None]
    update.range_tombstones = draw(range_tombstones(shape))
    return update


@st.composite
def mutations(draw: st.DrawFn) -> list[PartitionUpdate]:
    """Updates of one to three tables under one partition key."""
    key = draw(st.binary(max_size=8) | st.just(b"k" * 300))
    shapes = [draw(table_shapes(number)) for number in range(1, draw(st.integers(1, 3)) + 1)]
    return [draw(partition_updates(shape, key)) for shape in shapes]


def tables_of(updates: list[PartitionUpdate]) -> dict[bytes, TableShape]:
    """The tables that `updates` write to, by id."""
    return {update.table.id: update.table for update in updates}


def content(updates: list[PartitionUpdate]) -> list[Any]:
    """All that `updates` say, in a form that can be compared."""
    return [
        (
            update.table.id,
            update.key,
            update.deletion,
            None if update.static_row is None else _row_content(update.static_row),
            [_row_content(row) for row in update.rows],
            [
                (found.start.kind, found.start.values, found.end.kind, found.end.values, found.deletion)
                for found in update.range_tombstones
            ],
        )
        for update in updates
    ]


def _row_content(row: Row) -> Any:
    return (
        (row.key, row.clustering, row.deletion),
        (row.liveness_ts, row.liveness_ttl, row.liveness_expires_at),
        row.cells,
        {index: (column.deletion, column.cells) for index, column in (row.complex or {}).items()},
    )
