"""Conflicts are counted exactly, looking for them changes nothing, and arrival decides where it is told to."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casscade.core.cell import NO_TIMESTAMP, live_cell
from casscade.core.mutation import ComplexColumn, PartitionUpdate, Row
from casscade.cql.types import CqlType
from casscade.load.arrival import Arrivals
from casscade.load.conflicts import ConflictLedger
from casscade.load.counters import BatchCounts
from casscade.merge.conflicts import Findings
from casscade.merge.fold import Fold
from casscade.merge.row import merge_rows
from casscade.schema.mapping import build_target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from tests.support.random_rows import VALUES, content, copy_row, random_row

TABLE = assign_indexes(
    Table(
        uuid.uuid4(),
        "ks",
        "t",
        (
            Column("p", ColumnKind.PARTITION_KEY, 0, CqlType("int")),
            *(Column(name, ColumnKind.REGULAR, -1, CqlType("int")) for name in "ab"),
            Column("m", ColumnKind.REGULAR, -1, CqlType("map", (CqlType("int"), CqlType("int")))),
        ),
    ),
    {},
)
SHAPE = TABLE.shape(replicated=True)
TARGETS = {SHAPE.id: build_target(TABLE)}
PATHS = [b"\0\0\0\1", b"\0\0\0\2"]
Write = tuple[bytes, Row]

seeds = st.integers(0, 2**32)


class Stored:
    """What a writer does with batches, without PostgreSQL: fold, meet what is stored, merge, count."""

    def __init__(self) -> None:
        self.rows: dict[bytes, Row] = {}
        self.counts = BatchCounts()
        self._ledger = ConflictLedger()

    def apply(self, writes: Iterable[Write]) -> None:
        """One batch."""
        fold = Fold()
        for key, row in writes:
            update = PartitionUpdate(SHAPE, key)
            update.rows.append(copy_row(row))
            fold.add([update])
        for table in fold.tables.values():
            for (key, _), row in table.rows.items():
                known = self.rows.get(key)
                if known is not None:
                    if table.findings.meet(key, known, row, False, static=False):
                        table.findings.late(key, known, row, None, static=False)
                    merge_rows(row, known)
                self.rows[key] = row
        counts = BatchCounts()
        self._ledger.count(fold, lambda table_id: (TARGETS[table_id], False), counts)
        self._ledger.committed()
        self.counts.add(counts)


def _write(key: int, ts: int, cells: dict[int, bytes], elements: dict[bytes, bytes]) -> Write:
    row = Row(b"", [])
    row.cells = {index: live_cell(ts, value) for index, value in cells.items()}
    if elements:
        row.complex = {2: ComplexColumn(NO_TIMESTAMP, {p: live_cell(ts, v) for p, v in elements.items()})}
    return bytes([key]), row


def _in_batches(rng: random.Random, writes: list[Write]) -> Stored:
    stored = Stored()
    left = list(writes)
    while left:
        size = rng.randint(1, 8)
        stored.apply(left[:size])
        left = left[size:]
    return stored


@pytest.mark.requirement("FR-025", "SC-010")
@given(seeds)
def test_conflicts_are_counted_exactly_whatever_the_order_and_the_copies(seed: int) -> None:
    rng = random.Random(seed)
    places: dict[tuple[int, int, bytes], set[bytes]] = {}
    writes: list[Write] = []
    for _ in range(rng.randint(1, 12)):
        key = rng.randrange(3)
        cells = {index: rng.choice(VALUES) for index in rng.sample(range(2), rng.randint(0, 2))}
        elements = {path: rng.choice(VALUES) for path in rng.sample(PATHS, rng.randint(0, 2))}
        writes.append(_write(key, 10 + key, cells, elements))
        for index, value in cells.items():
            places.setdefault((key, index, b""), set()).add(value)
        for path, value in elements.items():
            places.setdefault((key, 2, path), set()).add(value)
    arrived = writes + rng.choices(writes, k=rng.randint(0, 20))
    rng.shuffle(arrived)
    stored = _in_batches(rng, arrived)
    assert stored.counts.conflicts.total() == sum(len(values) - 1 for values in places.values())
    before = dict(stored.counts.conflicts)
    stored.apply(arrived)
    assert dict(stored.counts.conflicts) == before, "a replay counts nothing"


@pytest.mark.requirement("SC-010")
@given(seeds)
def test_copies_of_writes_are_no_conflicts(seed: int) -> None:
    rng = random.Random(seed)
    writes = []
    for _ in range(rng.randint(1, 10)):
        key, ts = rng.randrange(2), rng.randint(1, 4)
        # One value for each key, column and time: whatever meets at one time is a copy.
        columns = rng.sample(range(2), rng.randint(0, 2))
        cells = {index: bytes([key, index, ts]) for index in columns}
        writes.append(_write(key, ts, cells, {path: bytes([key, ts]) for path in PATHS[: rng.randint(0, 2)]}))
    arrived = rng.choices(writes, k=30)
    assert _in_batches(rng, arrived).counts.conflicts.total() == 0


@pytest.mark.requirement("FR-025")
@given(seeds, st.booleans())
def test_looking_changes_nothing_and_stale_rows_change_nothing(seed: int, older_ties: bool) -> None:
    rng = random.Random(seed)
    known, new = (random_row(rng, b"k", [b"k"], simple=4, complex_indexes=[4, 5]) for _ in range(2))
    before = content(known), content(new)
    findings = Findings()
    stale = findings.meet(b"p", known, new, older_ties, static=False)
    assert (content(known), content(new)) == before
    merged = copy_row(known)
    merge_rows(merged, copy_row(new), older_ties)
    if stale:
        assert content(merged) == content(known)
    columns = merged.complex or {}
    for conflict in findings.conflicts:
        # Another cell won, or a deletion covers both.
        if conflict.simple:
            assert merged.cells.get(conflict.column) != conflict.cell
        elif conflict.column in columns:
            assert columns[conflict.column].cells.get(conflict.path) != conflict.cell


@pytest.mark.requirement("FR-025")
@given(seeds)
def test_a_write_that_is_older_everywhere_is_stale_in_each_order_of_batches(seed: int) -> None:
    rng = random.Random(seed)
    key, old = _write(0, 3, {0: VALUES[0]}, {PATHS[0]: VALUES[0]})
    _, new = _write(0, 5, {0: VALUES[1], 1: VALUES[1]}, {PATHS[0]: VALUES[1], PATHS[1]: VALUES[1]})
    stored = Stored()
    together = rng.random() < 0.5
    for batch in [[(key, new), (key, old)]] if together else [[(key, new)], [(key, old)]]:
        stored.apply(batch)
    assert stored.counts.stale == {"ks.t": 1}
    in_order = Stored()
    in_order.apply([(key, old)])
    in_order.apply([(key, new)])
    assert in_order.counts.stale == {}
    assert content(stored.rows[key]) == content(in_order.rows[key])


@pytest.mark.requirement("FR-025")
@given(seeds)
def test_in_order_of_arrival_the_last_arrival_of_each_cell_stays(seed: int) -> None:
    rng = random.Random(seed)
    arrivals = Arrivals({SHAPE.id})
    expected: dict[int, dict[int, bytes]] = {}
    stamped: list[PartitionUpdate] = []
    for _ in range(30):
        key, ts = rng.randrange(3), rng.randint(1, 9)
        update = PartitionUpdate(SHAPE, bytes([key]))
        if rng.random() < 0.15:
            row = Row(b"", [])
            row.deletion = ts
            expected[key] = {}
        else:
            cells = {index: rng.choice(VALUES) for index in rng.sample(range(2), rng.randint(1, 2))}
            _, row = _write(key, ts, cells, {})
            expected.setdefault(key, {}).update(cells)
        update.rows.append(row)
        # Clocks may stand still or go back, and another process may go on.
        arrivals.stamp([update], rng.choice([0.0, 1.0, 2.0]), scanned=False)
        stamped.append(update)
        if rng.random() < 0.2:
            newest, arrivals = arrivals.newest, Arrivals({SHAPE.id})
            arrivals.resume(newest)
    rng.shuffle(stamped)
    fold = Fold()
    for update in stamped:
        fold.add([update])
    found = {key[0][0]: row for key, row in fold.tables[SHAPE.id].rows.items()}
    assert {key: {index: cell[3] for index, cell in row.cells.items()} for key, row in found.items()} == expected
    assert fold.tables[SHAPE.id].findings.conflicts == []
