"""Which sources a batch moves: every one that it holds anything of, so that each is fenced by its epoch."""

from __future__ import annotations

import pytest

from casscade.commitlog.encoder import encode_mutation
from casscade.core.mutation import PartitionUpdate
from casscade.core.position import START, Position
from casscade.core.table import TableShape
from casscade.load.batcher import Batcher
from casscade.transport.chunk import Chunk, ReplayProgress, SnapshotProgress


def batcher() -> Batcher:
    return Batcher(dict, lambda _: False, batch_rows=100, batch_s=1.0)


@pytest.mark.requirement("FR-003")
def test_the_first_messages_of_a_partition_are_fenced_before_they_move_its_position() -> None:
    filled = batcher()
    filled.add(Chunk("topic/0", 8, START, 0.0))
    filled.add(Chunk("topic/1", 8, Position(0, 9), 0.0))
    assert filled.take().positions == {"topic/0": START, "topic/1": Position(0, 9)}


def test_a_position_never_goes_back() -> None:
    filled = batcher()
    filled.add(Chunk("topic/0", 8, Position(0, 9), 0.0))
    filled.add(Chunk("topic/0", 8, Position(0, 3), 0.0))
    assert filled.take().positions == {"topic/0": Position(0, 9)}


def test_a_snapshot_moves_none() -> None:
    filled = batcher()
    filled.add(Chunk("snapshot", 8, START, 0.0, progress=SnapshotProgress(1, 2, 3, done=True)))
    assert filled.take().positions == {}


@pytest.mark.parametrize("progress", [None, ReplayProgress((7,)), ReplayProgress((7,), streamed=True)])
def test_what_is_applied_again_is_no_new_mutation_and_has_no_delay(progress: ReplayProgress | None) -> None:
    shape = TableShape(b"1" * 16, "ks", "t", [], [])
    update = PartitionUpdate(shape, b"key")
    update.deletion = 5
    filled = Batcher(lambda: {shape.id: shape}, lambda _: False, batch_rows=100, batch_s=1.0)
    filled.add(Chunk("topic/0", 8, Position(0, 9), 0.0, [encode_mutation([update], 8)], [9], 20, progress))
    batch = filled.take()
    assert len(batch.fold.tables) == 1
    assert (batch.mutations, batch.write_times) == ((1, [5]) if progress is None else (0, []))
