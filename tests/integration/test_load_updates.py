"""Plain INSERTs and UPDATEs, which SQL merges by itself, leave exactly the cells and timestamps of the pure merge."""

from __future__ import annotations

import random
import uuid
from typing import Any

import psycopg
import pytest

from casscade.core.cell import NO_TIMESTAMP, Cell, live_cell, tombstone_cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.cql.types import CqlType
from casscade.load.batch import BatchWriter
from casscade.load.contents import Batch
from casscade.load.control import ControlStore
from casscade.load.counters import BatchCounts
from casscade.load.layouts import build_layout
from casscade.load.raw import fields, register
from casscade.load.row_reader import read_row
from casscade.load.sources import Sources
from casscade.merge.fold import Fold
from casscade.merge.row import is_visible, merge_rows
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import Target, build_target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from tests.support.random_rows import NOW, VALUES, content, copy_row

ONE, TWO = VALUES[:2]
COLUMNS = ("a", "b", "c")

Step = tuple[bytes, Row]


def _row(ts: int, columns: str, value: bytes = ONE, *, insert: bool = False) -> Row:
    row = Row(b"", [])
    row.liveness_ts = ts if insert else NO_TIMESTAMP
    row.cells = {COLUMNS.index(name): live_cell(ts, value) for name in columns}
    return row


def _deleted(ts: int) -> Row:
    row = Row(b"", [])
    row.deletion = ts
    return row


def _cells(cells: dict[int, Cell]) -> Row:
    row = Row(b"", [])
    row.cells = cells
    return row


class Loaded:
    """A target of three columns, and what the pure merge makes of all that it was given."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        register(connection)
        columns = [Column("p", ColumnKind.PARTITION_KEY, 0, CqlType("int"))]
        columns += [Column(name, ColumnKind.REGULAR, -1, CqlType("int")) for name in COLUMNS]
        self.table = assign_indexes(Table(uuid.uuid4(), "ks", "updates", tuple(columns)), {})
        self.target: Target = build_target(self.table)
        self.connection = connection
        self.merged: dict[bytes, Row] = {}
        control = ControlStore("test", "casscade")
        control.migrate(connection)
        for statement in plan_target(self.target, ExistingSchema()):
            connection.execute(statement.sql)
        epoch, _ = control.acquire(connection, "node")
        self.writer = BatchWriter(control, Sources.single("node", epoch), clock=lambda: float(NOW))
        self.writer.add_target(connection, self.target, 3600)
        self.writer.prepare(connection)

    def apply(self, steps: list[Step]) -> BatchCounts:
        """Write one batch."""
        batch = Batch(Fold())
        for key, row in steps:
            update = PartitionUpdate(self.table.shape(replicated=True), key)
            update.rows.append(copy_row(row))
            batch.fold.add([update])
            known = self.merged.get(key)
            if known is None:
                self.merged[key] = copy_row(row)
            else:
                merge_rows(known, copy_row(row))
        return self.writer.apply(self.connection, batch)

    def stored(self) -> dict[bytes, Any]:
        """Everything that PostgreSQL knows of the visible rows, timestamps included."""
        layout = build_layout(self.target, self.target.rows)
        found = fields(self.connection.execute("SELECT * FROM ks.updates", binary=True))
        rows = [read_row(layout, row) for row in found]
        return {row.partition_key: _known(row.row) for row in rows}

    def expected(self) -> dict[bytes, Any]:
        """The same by the pure merge."""
        return {key: _known(row) for key, row in self.merged.items() if is_visible(row, NOW)}


def _known(row: Row) -> tuple[object, ...]:
    """The content of a row without a deletion that all of a complete row is newer than."""
    known = copy_row(row)
    if (
        len(row.cells) == len(COLUMNS)
        and min(row.liveness_ts, *(cell[0] for cell in row.cells.values())) > row.deletion
    ):
        known.deletion = NO_TIMESTAMP
    return content(known)


def _random_row(rng: random.Random, number: int) -> Row:
    ts = number // 2 + rng.randint(0, 5)
    kind = rng.random()
    if kind < 0.04:
        return _deleted(ts)
    if kind < 0.10:
        return _cells({rng.randrange(3): tombstone_cell(ts)})
    some = "abc" if rng.random() < 0.3 else "".join(rng.sample("abc", rng.randint(1, 2)))
    if rng.random() < 0.4:
        some = "ab"  # the same columns again, as an application would
    return _row(ts, some, rng.choice(VALUES), insert=rng.random() < 0.25)


@pytest.mark.servers
@pytest.mark.requirement("FR-025")
@pytest.mark.parametrize("seed", range(2))
def test_plain_statements_leave_the_cells_of_the_pure_merge(database: str, seed: int) -> None:
    rng = random.Random(seed)
    with psycopg.connect(database, autocommit=True) as connection:
        loaded = Loaded(connection)
        fast = 0
        for number in range(150):
            keys = [(number // 10 * 3 + rng.randrange(6)).to_bytes(4, "big") for _ in range(rng.choice([1, 2, 5]))]
            steps = [(key, _random_row(rng, number)) for key in keys]
            fast += loaded.apply(steps).fast
            if rng.random() < 0.2:
                loaded.apply([(key, copy_row(row)) for key, row in steps])
            assert loaded.stored() == loaded.expected()
        assert fast > 100


FULL, PART = "abc", "ab"


@pytest.mark.servers
@pytest.mark.requirement("FR-025")
@pytest.mark.parametrize(
    ("steps", "merged"),
    [
        pytest.param([_row(3, FULL, insert=True), _row(5, FULL)], 0, id="update all of an inserted row"),
        pytest.param([_row(3, FULL), _row(5, FULL)], 0, id="update all of an updated row"),
        pytest.param([_row(3, FULL, insert=True), _row(5, FULL), _row(6, FULL)], 0, id="update all twice"),
        pytest.param([_row(3, FULL, insert=True), _row(5, PART)], 0, id="update some of an inserted row"),
        pytest.param([_row(3, FULL), _row(5, PART)], 0, id="update some of an updated row"),
        pytest.param([_row(3, FULL, insert=True), _row(5, PART), _row(6, PART)], 0, id="update the same again"),
        pytest.param([_row(3, FULL), _row(5, PART), _row(6, PART)], 0, id="update the same of an updated row again"),
        pytest.param(
            [_row(3, FULL, insert=True), _row(4, FULL), _row(5, PART), _row(6, FULL), _row(7, "c")],
            0,
            id="all and some in turn",
        ),
        pytest.param([_row(3, PART), _row(5, PART), _row(7, FULL)], 0, id="a row that was never inserted"),
        pytest.param([_row(3, "a", insert=True), _row(5, "c")], 0, id="a column that had no value"),
        pytest.param([_row(3, FULL, insert=True), _row(5, "a"), _row(6, "b")], 1, id="three write times"),
        pytest.param([_row(3, FULL, insert=True), _row(5, "a"), _row(6, PART)], 1, id="more columns than last time"),
        pytest.param([_row(3, FULL, insert=True), _row(5, PART), _row(4, FULL)], 1, id="a late update of all"),
        pytest.param([_row(3, FULL, insert=True), _row(5, PART), _row(4, PART)], 1, id="a late update of some"),
        pytest.param([_row(3, FULL), _row(3, PART, TWO)], 1, id="a greater value at the same time"),
        pytest.param([_row(3, PART), _row(3, "c")], 1, id="another column at the same time"),
        pytest.param([_row(2, FULL), _row(3, "a"), _row(3, "b")], 1, id="the value that an older cell has"),
        pytest.param([_row(3, FULL, insert=True), _row(5, PART), _row(5, PART)], 0, id="the same update twice"),
        pytest.param([_row(3, FULL, insert=True), _row(5, FULL), _row(5, FULL)], 0, id="the same full update twice"),
        pytest.param([_row(3, FULL, insert=True), _row(5, FULL), _row(5, PART)], 0, id="a part of what is there"),
        pytest.param(
            [_row(2, PART, insert=True), _row(4, "b", TWO, insert=True), _row(6, "b")],
            1,
            id="an update after an insert of some",
        ),
        pytest.param([_deleted(2), _row(3, FULL), _row(5, PART), _row(4, FULL, TWO)], 2, id="after a deletion"),
        pytest.param(
            [_row(3, FULL, insert=True), _cells({0: tombstone_cell(4)}), _row(5, FULL), _row(4, "a")],
            3,
            id="over a deleted cell",
        ),
        pytest.param(
            [_row(-5, FULL, insert=True), _row(-3, PART), _row(-2, PART), _row(-1, FULL)], 0, id="times before 1970"
        ),
    ],
)
def test_each_step_leaves_the_cells_of_the_pure_merge(database: str, steps: list[Row], merged: int) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        loaded = Loaded(connection)
        total = 0
        for step in steps:
            total += loaded.apply([(ONE, step)]).merged
            assert loaded.stored() == loaded.expected()
        assert total == merged
