"""Which sources a batch moves: every one that it holds anything of, so that each is fenced by its epoch."""

from __future__ import annotations

import pytest

from casscade.core.position import START, Position
from casscade.load.batcher import Batcher
from casscade.transport.chunk import Chunk, SnapshotProgress


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
