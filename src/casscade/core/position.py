"""Positions in an ordered input.

Invariant: positions of one source only ever grow; comparing two of them is comparing (segment, offset).
"""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """A place in a source: everything before it is durable downstream.

    For a commit log `segment` is the segment id and `offset` the logical end of the last mutation frame (see
    `CommitLogPosition`). For a Kafka partition `segment` is 0 and `offset` the next offset to read.
    """

    segment: int
    offset: int

    def __str__(self) -> str:
        return f"{self.segment}:{self.offset}"


START = Position(0, 0)


def event_id(source: str, position: Position) -> str:
    """The id of the mutation that ends at `position` in `source` (for a commit log: the host id)."""
    return f"{source}:{position.segment}:{position.offset}"


class Truncation(NamedTuple):
    """A TRUNCATE of one table as one node recorded it (`SystemKeyspace.saveTruncationRecord`).

    Mutations of the table in that node's commit log that end at or before `position` are void; all others stay,
    whatever their timestamps. `at_ms` is the node's clock. A later truncation of the same node compares greater: its
    position is never lower, and equal only when nothing was written to the table in between.
    """

    position: Position
    at_ms: int


NEVER_TRUNCATED = Truncation(START, 0)
