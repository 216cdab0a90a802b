"""What the batcher leaves out of a truncated table: what ends at or before the truncation, nothing else."""

from __future__ import annotations

import uuid

import pytest

from casscade.commitlog.encoder import encode_mutation
from casscade.core.cell import live_cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.position import START, Position
from casscade.core.table import ColumnShape, TableShape
from casscade.load.batcher import TRUNCATED, Batcher
from casscade.load.cuts import Cuts
from casscade.transport.chunk import Chunk, SnapshotProgress

SHAPES = [TableShape(uuid.UUID(int=n).bytes, "ks", f"t{n}", [], [ColumnShape(b"v", 0)]) for n in (1, 2)]
TABLES = {shape.id: shape for shape in SHAPES}
CUT = Position(7, 100)


def mutation(*shapes: TableShape, key: bytes = b"k") -> bytes:
    """A write to the row `key` of each table."""
    updates = []
    for shape in shapes:
        update, row = PartitionUpdate(shape, key), Row(b"", [])
        row.cells = {0: live_cell(5, b"x")}
        update.rows = [row]
        updates.append(update)
    return encode_mutation(updates, 8)


# Rows of a snapshot that were read up to then are void.
READ_UNTIL = 50.0


def batcher() -> Batcher:
    cuts = Cuts({"node": {SHAPES[0].id: CUT}}, {SHAPES[0].id: READ_UNTIL})
    return Batcher(lambda: TABLES, lambda _: False, batch_rows=100, batch_s=1.0, cuts=cuts)


def keys(filled: Batcher, shape: TableShape) -> set[bytes]:
    table = filled.take().fold.tables.get(shape.id)
    return set() if table is None else {key for key, _ in table.rows}


@pytest.mark.requirement("FR-025")
def test_the_boundary_is_the_end_of_the_mutation() -> None:
    filled = batcher()
    mutations = [mutation(SHAPES[0], key=bytes([n])) for n in range(3)]
    filled.add(Chunk("node", 8, Position(7, 101), 0.0, mutations, [99, 100, 101]))
    assert filled.counts == {"decoded": 1, TRUNCATED: 2}
    assert keys(filled, SHAPES[0]) == {b"\x02"}


def test_what_is_left_out_tells_no_latency() -> None:
    filled = batcher()
    filled.add(Chunk("node", 8, CUT, 0.0, [mutation(SHAPES[0])], [50]))
    batch = filled.take()
    assert batch.write_times == []
    assert batch.positions == {"node": CUT}


def test_the_other_tables_of_a_batch_stay() -> None:
    filled = batcher()
    filled.add(Chunk("node", 8, CUT, 0.0, [mutation(*SHAPES), mutation(SHAPES[1], key=b"l")], [50, 60]))
    assert filled.counts == {"decoded": 2, TRUNCATED: 1}
    fold = filled.take().fold
    assert set(fold.tables) == {SHAPES[1].id}
    assert {key for key, _ in fold.tables[SHAPES[1].id].rows} == {b"k", b"l"}


def test_later_segments_and_other_nodes_pass() -> None:
    filled = batcher()
    filled.add(Chunk("node", 8, Position(8, 10), 0.0, [mutation(SHAPES[0], key=b"a")], [10]))
    filled.add(Chunk("other", 8, CUT, 0.0, [mutation(SHAPES[0], key=b"b")], [50]))
    assert filled.counts == {"decoded": 2}
    assert keys(filled, SHAPES[0]) == {b"a", b"b"}


def test_rows_that_were_read_before_the_truncation_are_left_out() -> None:
    filled = batcher()
    progress = SnapshotProgress(1, 1, 1, done=True)
    for key, read_at in ((b"a", READ_UNTIL), (b"b", READ_UNTIL + 1)):
        filled.add(Chunk("snapshot", 8, START, read_at, [mutation(SHAPES[0], key=key)], [0], progress=progress))
    assert filled.counts == {"decoded": 1, TRUNCATED: 1}
    assert keys(filled, SHAPES[0]) == {b"b"}


def test_what_comes_through_kafka_is_judged_by_the_log_it_comes_from() -> None:
    filled = batcher()
    for origin, key in (("node", b"a"), ("other", b"b")):
        offset = Position(0, 7)
        filled.add(Chunk("topic/3", 8, offset, 0.0, [mutation(SHAPES[0], key=key)], [100], segment=7, origin=origin))
    assert filled.counts == {"decoded": 1, TRUNCATED: 1}
    batch = filled.take()
    assert {key for key, _ in batch.fold.tables[SHAPES[0].id].rows} == {b"b"}
    assert batch.positions == {"topic/3": Position(0, 7)}


def test_a_late_segment_is_judged_by_its_own_positions() -> None:
    filled = batcher()
    late = Chunk("node", 8, Position(9, 10), 0.0, [mutation(SHAPES[0])], [5000], segment=6)
    filled.add(late)
    assert filled.counts == {"decoded": 0, TRUNCATED: 1}
    assert keys(filled, SHAPES[0]) == set()
