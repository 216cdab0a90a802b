"""What the loader leaves in PostgreSQL equals the pure merge of everything, however cut, shuffled and repeated."""

from __future__ import annotations

import random
import uuid
from typing import Any

import psycopg
import pytest

from casscade.commitlog.encoder import clustering_key
from casscade.core.cell import NO_TIMESTAMP, Cell, live_cell, tombstone_cell
from casscade.core.mutation import Bound, PartitionUpdate, RangeTombstone, Row
from casscade.core.position import Position
from casscade.cql.bounds import ClusteringOrder
from casscade.cql.types import CqlType
from casscade.load.batch import Batch, BatchWriter
from casscade.load.control import ControlStore
from casscade.load.deletions import OrderedDeletions
from casscade.load.raw import register
from casscade.merge.fold import Fold
from casscade.merge.row import is_visible, shadow_from_outside
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import Target, build_target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from tests.support.random_rows import NOW, TIMESTAMPS, VALUES, copy_row, random_row

INT = CqlType("int")
SET = CqlType("set", (INT,))


def _table(*, clustering: bool, statics: bool) -> Table:
    columns = [Column("p", ColumnKind.PARTITION_KEY, 0, INT)]
    if clustering:
        columns.append(Column("k", ColumnKind.CLUSTERING, 0, INT, reversed=True))
    if statics:
        columns += [Column(name, ColumnKind.STATIC, -1, INT) for name in ("x", "y")]
    columns += [Column(name, ColumnKind.REGULAR, -1, INT) for name in ("a", "b", "c", "d")]
    columns.append(Column("e", ColumnKind.REGULAR, -1, SET))
    return assign_indexes(Table(uuid.uuid4(), "ks", f"t{clustering:d}{statics:d}", tuple(columns)), {})


def _random_update(rng: random.Random, table: Table, plain: float) -> PartitionUpdate:
    update = PartitionUpdate(table.shape(replicated=True), rng.randint(0, 2).to_bytes(4, "big"))
    if rng.random() < 0.08 and plain < 0.9:
        update.deletion = rng.choice(TIMESTAMPS)
    for _ in range(rng.randint(0, 2)):
        values: list[bytes | None] = [rng.randint(0, 3).to_bytes(4, "big")] if table.clustering else []
        row = random_row(rng, clustering_key(values, [4]), values, simple=4, complex_indexes=[4], plain=plain)
        if all(known.key != row.key for known in update.rows):
            update.rows.append(row)
    if table.statics and rng.random() < 0.3:
        static = random_row(rng, b"", [], simple=2, static=True)
        static.cells = {index + 5: cell for index, cell in static.cells.items()}
        update.static_row = static
    if table.clustering and rng.random() < (0.01 if plain > 0.9 else 0.15):
        low, high = sorted((rng.randint(0, 3), rng.randint(0, 3)), reverse=True)  # the clustering is descending
        start = Bound(rng.choice([1, 7]), [low.to_bytes(4, "big")])
        end = Bound(rng.choice([0, 6]), [high.to_bytes(4, "big")])
        if low != high or (start.kind, end.kind) == (1, 6):
            update.range_tombstones.append(RangeTombstone(start, end, rng.choice(TIMESTAMPS)))
    return update


def _rows_expected(updates: list[PartitionUpdate], table: Table) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """(rows, static rows) by key -> visible values, by the pure functions alone."""
    fold = Fold()
    fold.add(updates)
    folded = fold.tables[table.id.bytes]
    order = ClusteringOrder([c.type for c in table.clustering], [c.reversed for c in table.clustering])
    rows: dict[Any, Any] = {}
    for (partition, _), row in folded.rows.items():
        deletions = folded.deletions.get(partition)
        if deletions is not None:
            covering = OrderedDeletions(order, deletions).covering(row)
            if covering != NO_TIMESTAMP:
                shadow_from_outside(row, covering)
        if is_visible(row, NOW):
            rows[(partition, *row.clustering)] = _values(row, range(4))
    statics: dict[Any, Any] = {}
    for partition, row in folded.statics.items():
        if partition in folded.deletions and folded.deletions[partition].deletion != NO_TIMESTAMP:
            shadow_from_outside(row, folded.deletions[partition].deletion)
        if is_visible(row, NOW):
            statics[(partition,)] = _values(row, range(5, 7))[:2]
    return rows, statics


def _values(row: Row, indexes: range) -> tuple[Any, ...]:
    simple = []
    for index in indexes:
        cell = row.cells.get(index)
        alive = cell is not None and cell[3] is not None and cell[1] > NOW
        simple.append(int.from_bytes(cell[3] or b"", "big", signed=True) if cell is not None and alive else None)
    elements = None
    if row.complex is not None and 4 in row.complex:
        live = [p for p, c in row.complex[4].cells.items() if c[3] is not None and c[1] > NOW]
        elements = sorted(int.from_bytes(path, "big") for path in live) or None
    return (*simple, elements)


def _read(connection: psycopg.Connection[Any], target: Target) -> tuple[dict[Any, Any], dict[Any, Any]]:
    keys = [column.name for column in target.rows.key_columns]
    rows: dict[Any, Any] = {}
    for found in connection.execute(f"SELECT {', '.join(keys)}, a, b, c, d, e FROM ks.{target.rows.name}").fetchall():
        key = tuple(value.to_bytes(4, "big") for value in found[: len(keys)])
        rows[key] = tuple(found[len(keys) :])
    statics: dict[Any, Any] = {}
    if target.statics is not None:
        for found in connection.execute(f"SELECT p, x, y FROM ks.{target.statics.name}").fetchall():
            statics[(found[0].to_bytes(4, "big"),)] = tuple(found[1:])
    return rows, statics


def _writer(connection: psycopg.Connection[Any], target: Target) -> BatchWriter:
    control = ControlStore("test", "casscade")
    control.migrate(connection)
    for statement in plan_target(target, ExistingSchema()):
        connection.execute(statement.sql)
    epoch, _ = control.acquire(connection, "node")
    writer = BatchWriter(control, "node", epoch, clock=lambda: float(NOW))
    writer.add_target(connection, target, 3600)
    writer.prepare(connection)
    return writer


@pytest.mark.servers
@pytest.mark.requirement("FR-003")
@pytest.mark.requirement("FR-025")
@pytest.mark.parametrize("clustering", [True, False])
@pytest.mark.parametrize("plain", [0.4, 0.7, 0.9, 0.98])
@pytest.mark.parametrize("seed", range(1))
def test_postgres_holds_the_merge_of_everything(database: str, seed: int, plain: float, clustering: bool) -> None:
    rng = random.Random(seed)
    table = _table(clustering=clustering, statics=clustering)
    target = build_target(table)
    state = rng.getrandbits(64)

    def updates() -> list[PartitionUpdate]:  # merging uses rows up, so each use builds them again
        again = random.Random(state)
        return [_random_update(again, table, plain) for _ in range(250)]

    with psycopg.connect(database, autocommit=True) as connection:
        register(connection)
        writer = _writer(connection, target)
        order = [*range(250), *rng.sample(range(250), 100)]
        rng.shuffle(order)
        applied: list[int] = []
        while order:
            size = rng.choice([1, 2, 5, 40])
            cut, order = order[:size], order[size:]
            applied += cut
            fresh = updates()
            batch = Batch(Fold(), position=Position(1, len(applied)))
            for index in dict.fromkeys(cut):
                batch.fold.add([fresh[index]])
            writer.apply(connection, batch)
            if rng.random() < 0.06 or not order:
                fresh = updates()
                expected = _rows_expected([fresh[index] for index in dict.fromkeys(applied)], table)
                assert _read(connection, target) == expected


ONE, TWO = VALUES[:2]


def _row(ts: int, cells: dict[int, Cell], *, liveness: bool = True, deletion: int = NO_TIMESTAMP) -> Row:
    row = Row(b"", [])
    row.liveness_ts = ts if liveness else NO_TIMESTAMP
    row.cells = cells
    row.deletion = deletion
    return row


@pytest.mark.servers
@pytest.mark.requirement("FR-025")
@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param(
            [
                _row(3, {0: live_cell(3, ONE), 1: tombstone_cell(3)}),
                _row(5, {0: live_cell(5, TWO)}),
                _row(2, {1: live_cell(2, ONE)}),
            ],
            [(2, None, None, None)],
            id="a tombstone outlives a newer insert of other columns",
        ),
        pytest.param(
            [_row(3, {0: live_cell(3, ONE), 1: live_cell(3, ONE)}), _row(5, {0: live_cell(5, TWO)})],
            [(2, 1, None, None)],
            id="an insert of some columns keeps the others",
        ),
        pytest.param(
            [_row(5, {0: live_cell(5, TWO)}), _row(3, {0: live_cell(3, ONE), 1: live_cell(3, ONE)})],
            [(2, 1, None, None)],
            id="a late insert fills what the newer one left out",
        ),
        pytest.param(
            [_row(0, {}, liveness=False, deletion=4), _row(3, {0: live_cell(3, ONE)})],
            [],
            id="a deletion of a row that is not there yet hides a late insert",
        ),
        pytest.param(
            [
                _row(5, {0: live_cell(5, ONE)}),
                _row(0, {}, liveness=False, deletion=4),
                _row(3, {1: live_cell(3, TWO)}),
            ],
            [(1, None, None, None)],
            id="a late deletion spares what is newer and hides what is older",
        ),
        pytest.param(
            [_row(3, {0: live_cell(3, ONE)}), _row(5, {0: tombstone_cell(5)}, liveness=False)],
            [(None, None, None, None)],
            id="an inserted row stays when its last column is deleted",
        ),
        pytest.param(
            [_row(3, {0: live_cell(3, ONE)}, liveness=False), _row(5, {0: tombstone_cell(5)}, liveness=False)],
            [],
            id="an updated row goes with its last column",
        ),
        pytest.param(
            [_row(5, {0: live_cell(5, ONE)}), _row(5, {0: live_cell(5, TWO)}), _row(5, {0: live_cell(5, ONE)})],
            [(2, None, None, None)],
            id="of two values at one timestamp the greater stays",
        ),
    ],
)
def test_each_trap_in_batches_of_one(database: str, steps: list[Row], expected: list[tuple[Any, ...]]) -> None:
    table = _table(clustering=False, statics=False)
    target = build_target(table)
    with psycopg.connect(database, autocommit=True) as connection:
        register(connection)
        writer = _writer(connection, target)
        for step in steps:
            update = PartitionUpdate(table.shape(replicated=True), ONE)
            update.rows.append(copy_row(step))
            batch = Batch(Fold())
            batch.fold.add([update])
            writer.apply(connection, batch)
        assert connection.execute(f"SELECT a, b, c, d FROM ks.{target.rows.name}").fetchall() == expected


@pytest.mark.servers
@pytest.mark.requirement("FR-009")
def test_decimal_clusterings_that_are_equal_are_one_row(database: str) -> None:
    columns = (
        Column("p", ColumnKind.PARTITION_KEY, 0, INT),
        Column("k", ColumnKind.CLUSTERING, 0, CqlType("decimal")),
        Column("a", ColumnKind.REGULAR, -1, INT),
    )
    table = assign_indexes(Table(uuid.uuid4(), "ks", "prices", columns), {})
    target = build_target(table)
    short, long = b"\x00\x00\x00\x01\x1b", b"\x00\x00\x00\x02\x01\x0e"  # 2.7 and 2.70
    with psycopg.connect(database, autocommit=True) as connection:
        register(connection)
        writer = _writer(connection, target)
        scenario: list[tuple[list[tuple[bytes, int, bytes | None]], list[tuple[str, int]]]] = [
            ([(short, 1, ONE), (long, 2, TWO)], [("2.7", 2)]),
            ([(short, 3, ONE)], [("2.7", 1)]),
            ([(long, 4, None)], []),
            ([(short, 4, TWO)], []),
        ]
        for steps, expected in scenario:
            batch = Batch(Fold())
            for clustering, timestamp, value in steps:
                update = PartitionUpdate(table.shape(replicated=True), ONE)
                row = Row(clustering_key([clustering], [-1]), [clustering])
                if value is None:
                    row.deletion = timestamp
                else:
                    row.liveness_ts = timestamp
                    row.cells = {0: live_cell(timestamp, value)}
                update.rows.append(row)
                batch.fold.add([update])
            writer.apply(connection, batch)
            assert connection.execute("SELECT k::text, a FROM ks.prices").fetchall() == expected
