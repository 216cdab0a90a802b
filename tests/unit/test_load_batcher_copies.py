"""Copies of one mutation in a batch are decoded once, and change nothing."""

from __future__ import annotations

import uuid

import pytest

from casscade.commitlog.encoder import clustering_key, encode_mutation
from casscade.core.cell import live_cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.position import Position
from casscade.cql.types import CqlType
from casscade.load.arrival import Arrivals
from casscade.load.batcher import Batcher
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from casscade.transport.chunk import Chunk, SnapshotProgress

INT = CqlType("int")
TABLE = assign_indexes(
    Table(
        uuid.uuid4(),
        "ks",
        "t",
        (
            Column("p", ColumnKind.PARTITION_KEY, 0, INT),
            Column("k", ColumnKind.CLUSTERING, 0, INT),
            Column("v", ColumnKind.REGULAR, -1, INT),
        ),
    ),
    {},
)
SHAPE = TABLE.shape(replicated=True)


def mutation(key: int, time: int, version: int = 7) -> bytes:
    values: list[bytes | None] = [b"\0\0\0\1"]
    row = Row(clustering_key(values, [4]), values)
    row.cells[0] = live_cell(time, time.to_bytes(4, "big"))
    update = PartitionUpdate(SHAPE, key.to_bytes(4, "big"))
    update.rows.append(row)
    return encode_mutation([update], version)


def chunk(*mutations: bytes, version: int = 7, number: int = 1, scanned: bool = False) -> Chunk:
    return Chunk(
        "topic/0",
        version,
        Position(0, number),
        1.0,
        list(mutations),
        list(range(len(mutations))),
        scanned=scanned,
        progress=SnapshotProgress(1, 2, 3, done=True) if scanned else None,
    )


class Counting:
    """A batcher of the table that counts how often its rows were folded."""

    def __init__(self, arrivals: Arrivals | None = None) -> None:
        shapes = {SHAPE.id: SHAPE}
        self.batcher = Batcher(lambda: shapes, lambda _: False, batch_rows=4, batch_s=9e9, arrivals=arrivals)

    def folded(self, *chunks: Chunk) -> int:
        for each in chunks:
            self.batcher.add(each)
        return self.batcher.take().fold.updates


@pytest.mark.requirement("FR-003")
def test_copies_from_other_replicas_are_folded_once_and_all_counted() -> None:
    site = Counting()
    first, second = mutation(1, 5), mutation(2, 6)
    for number in range(3):
        site.batcher.add(chunk(first, second, number=number))
    assert not site.batcher.full(), "a batch is full of rows, not of their copies"
    batch = site.batcher.take()
    assert (batch.fold.updates, batch.fold.row_count()) == (2, 2)
    assert batch.mutations == 6
    assert batch.write_times == [5, 6] * 3
    assert site.batcher.counts["decoded"] == 6
    assert batch.positions == {"topic/0": Position(0, 2)}
    assert site.folded(chunk(first)) == 1, "another batch knows nothing of them"


def test_an_older_copy_behind_a_newer_write_changes_nothing() -> None:
    site = Counting()
    old, new = mutation(1, 5), mutation(1, 9)
    site.batcher.add(chunk(old, new, old))
    (table,) = site.batcher.take().fold.tables.values()
    (row,) = table.rows.values()
    assert row.cells[0][:1] == (9,)
    assert table.findings.stale == []


def test_only_what_surely_says_the_same_is_a_copy() -> None:
    assert Counting().folded(chunk(mutation(1, 5)), chunk(mutation(1, 5, 8), version=8)) == 2, "another encoding"
    assert Counting().folded(chunk(mutation(1, 5)), chunk(mutation(1, 5), scanned=True)) == 2, "it was read"
    ordered = Counting(Arrivals([SHAPE.id]))
    assert ordered.folded(chunk(mutation(1, 5), mutation(1, 5))) == 2, "arrival decides"
