"""A table that has everything, random updates of it, and what the pure functions make of them.

Invariant: `rows_expected` uses no SQL and nothing that was stored; it is the fold of all updates at once.
"""

from __future__ import annotations

import random
import uuid
from typing import Any

import psycopg

from casscade.commitlog.encoder import clustering_key
from casscade.core.cell import NO_TIMESTAMP
from casscade.core.mutation import Bound, PartitionUpdate, RangeTombstone, Row
from casscade.cql.bounds import ClusteringOrder
from casscade.cql.types import CqlType
from casscade.load.deletions import OrderedDeletions
from casscade.merge.fold import Fold
from casscade.merge.row import is_visible, shadow_from_outside
from casscade.schema.mapping import Target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from tests.support.random_rows import NOW, TIMESTAMPS, random_row

INT = CqlType("int")
SET = CqlType("set", (INT,))


def oracle_table(*, clustering: bool, statics: bool) -> Table:
    columns = [Column("p", ColumnKind.PARTITION_KEY, 0, INT)]
    if clustering:
        columns.append(Column("k", ColumnKind.CLUSTERING, 0, INT, reversed=True))
    if statics:
        columns += [Column(name, ColumnKind.STATIC, -1, INT) for name in ("x", "y")]
    columns += [Column(name, ColumnKind.REGULAR, -1, INT) for name in ("a", "b", "c", "d")]
    columns.append(Column("e", ColumnKind.REGULAR, -1, SET))
    return assign_indexes(Table(uuid.uuid4(), "ks", f"t{clustering:d}{statics:d}", tuple(columns)), {})


def random_update(rng: random.Random, table: Table, plain: float) -> PartitionUpdate:
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


def rows_expected(updates: list[PartitionUpdate], table: Table) -> tuple[dict[Any, Any], dict[Any, Any]]:
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


def read_both(connection: psycopg.Connection[Any], target: Target) -> tuple[dict[Any, Any], dict[Any, Any]]:
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
