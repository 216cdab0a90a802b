"""What the loader leaves in PostgreSQL equals the pure merge of everything, however cut, shuffled and repeated."""

from __future__ import annotations

import random
import uuid
from typing import Any

import psycopg
import pytest

from casscade.commitlog.encoder import clustering_key
from casscade.core.cell import NO_TIMESTAMP, Cell, live_cell, tombstone_cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.position import Position
from casscade.cql.types import CqlType
from casscade.load.batch import BatchWriter
from casscade.load.contents import Batch
from casscade.load.control import ControlStore
from casscade.load.raw import register
from casscade.load.sources import Sources
from casscade.merge.fold import Fold
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import Target, build_target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from tests.support.oracle import INT, oracle_table, random_update, read_both, rows_expected
from tests.support.random_rows import NOW, VALUES, copy_row

# In each of sixteen cases; every run takes others.
UPDATES = 120


def _writer(connection: psycopg.Connection[Any], target: Target) -> BatchWriter:
    control = ControlStore("test", "casscade")
    control.migrate(connection)
    for statement in plan_target(target, ExistingSchema()):
        connection.execute(statement.sql)
    epoch, _ = control.acquire(connection, "node")
    writer = BatchWriter(control, Sources.single("node", epoch), clock=lambda: float(NOW))
    writer.add_target(connection, target, 3600)
    writer.prepare(connection)
    return writer


@pytest.mark.servers
@pytest.mark.requirement("FR-003")
@pytest.mark.requirement("FR-025")
@pytest.mark.parametrize("clustering", [True, False])
@pytest.mark.parametrize("plain", [0.4, 0.7, 0.9, 0.98])
@pytest.mark.parametrize("key", ["natural", "exact"])
def test_postgres_holds_the_merge_of_everything(database: str, key: str, plain: float, clustering: bool) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    table = oracle_table(clustering=clustering, statics=clustering)
    target = build_target(table, key=key)
    state = rng.getrandbits(64)

    def updates() -> list[PartitionUpdate]:  # merging uses rows up, so each use builds them again
        again = random.Random(state)
        return [random_update(again, table, plain) for _ in range(UPDATES)]

    with psycopg.connect(database, autocommit=True) as connection:
        register(connection)
        writer = _writer(connection, target)
        order = [*range(UPDATES), *rng.sample(range(UPDATES), UPDATES // 2)]
        rng.shuffle(order)
        applied: list[int] = []
        while order:
            size = rng.choice([1, 2, 5, 40])
            cut, order = order[:size], order[size:]
            applied += cut
            fresh = updates()
            batch = Batch(Fold(), positions={"node": Position(1, len(applied))})
            for index in dict.fromkeys(cut):
                batch.fold.add([fresh[index]])
            if rng.random() < 0.8:  # as the loader does
                writer.encode_ahead(batch)
            writer.apply(connection, batch)
            if rng.random() < 0.06 or not order:
                fresh = updates()
                expected = rows_expected([fresh[index] for index in dict.fromkeys(applied)], table)
                assert read_both(connection, target) == expected


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
    table = oracle_table(clustering=False, statics=False)
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
