"""The last read follows the last change: whatever is read when, and delivered how late, the copy ends at the truth.

The truth is a row whose list has elements from before capture. Writes reach the truth at once and the copy through the
stream, in order but late; a scan reads the truth at some moment and is delivered late, too, perhaps twice; answers to
requests likewise. The loader is that of `casscade.load`: fold, compare, merge, ask.
"""

from __future__ import annotations

import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casscade.core.cell import NO_EXPIRY, NO_TIMESTAMP, live_cell, tombstone_cell
from casscade.core.mutation import ComplexColumn, Row
from casscade.core.observed import SETTLED, UNBOUNDED, Observed
from casscade.merge.doubt import doubtful_columns, still_observed
from casscade.merge.row import is_visible, merge_rows, normalise
from tests.support.random_rows import NOW, copy_row

LIST = 0


def shown(row: Row) -> bytes | None:
    """The elements that are alive, one byte each, in the order of their paths; None for none."""
    if row.observed is not None and (seen := row.observed.get(LIST)) is not None and seen[4] is not None:
        return seen[4]
    column = (row.complex or {}).get(LIST)
    cells = [] if column is None else sorted(column.cells.items())
    return b"".join(cell[3] for _, cell in cells if cell[3] is not None) or None


class World:
    """One row in Cassandra and its copy, with everything that is under way between them."""

    def __init__(self, rng: random.Random, *, times_shown: bool) -> None:
        self.rng = rng
        self.times_shown = times_shown
        self.clock = 10
        self.truth = Row(b"", [])
        self.copy = Row(b"", [])
        self.stream: deque[Row] = deque()
        self.reads: deque[tuple[int, Row]] = deque()
        self.request: int | None = None
        self.requests = 0
        self.reading: set[int] = set()
        for _ in range(rng.randint(1, 3)):
            merge_rows(self.truth, self._append())

    def _append(self) -> Row:
        self.clock += 1
        row = Row(b"", [])
        cell = live_cell(self.clock, bytes((self.rng.randint(65, 90),)))
        row.complex = {LIST: ComplexColumn(NO_TIMESTAMP, {self.clock.to_bytes(2, "big"): cell})}
        return row

    def write(self) -> None:
        kind = self.rng.random()
        # Some deletions are too old for the newest elements.
        timestamp = self.clock - self.rng.choice([0, 0, 1, 2])
        row = Row(b"", [])
        if kind < 0.4:
            row = self._append()
        elif kind < 0.6:
            paths = sorted(((self.truth.complex or {}).get(LIST) or ComplexColumn(NO_TIMESTAMP, {})).cells)
            if not paths:
                return
            self.clock += 1
            row.complex = {LIST: ComplexColumn(NO_TIMESTAMP, {self.rng.choice(paths): tombstone_cell(self.clock)})}
        elif kind < 0.8:
            row.complex = {LIST: ComplexColumn(timestamp, {})}
        else:
            row.deletion = timestamp
        normalise(row)
        self.stream.append(copy_row(row))
        merge_rows(self.truth, row)

    def _observe(self, turn: int) -> Observed:
        value = shown(self.truth)
        if value is None:
            return SETTLED
        column = (self.truth.complex or {})[LIST]
        bound = max(cell[0] for cell in column.cells.values() if cell[3] is not None)
        # The clocks of several readers tell anything.
        return (turn, self.rng.randint(1, 100), bound if self.times_shown else UNBOUNDED, NO_EXPIRY, value)

    def scan(self) -> None:
        seen = self._observe(0)
        if seen != SETTLED:
            row = Row(b"", [])
            row.observed = {LIST: seen}
            self.reads.append((0, row))
            if self.rng.random() < 0.2:
                self.reads.append((0, copy_row(row)))

    def answer(self) -> None:
        """Read for the request that waits; the same one may be read twice, by two processes."""
        if self.request is not None and (self.request not in self.reading or self.rng.random() < 0.1):
            self.reading.add(self.request)
            row = Row(b"", [])
            row.observed = {LIST: self._observe(self.request)}
            self.reads.append((self.request, row))

    def load(self) -> None:
        """One batch: some of the stream, some of what was read, or both; reads may overtake each other."""
        batch: list[Row] = []
        answered: list[int] = []
        while self.stream and self.rng.random() < 0.5:
            batch.append(self.stream.popleft())
        while self.reads and self.rng.random() < 0.5:
            self.reads.rotate(self.rng.choice([0, 0, 1]))
            turn, row = self.reads.popleft()
            answered.append(turn)
            batch.append(row)
        if not batch:
            return
        new = batch[0]
        for row in batch[1:]:
            merge_rows(new, row)
        doubtful = doubtful_columns(new, None, NOW) + doubtful_columns(new, self.copy, NOW)
        merge_rows(new, self.copy)
        self.copy = new
        if self.request in answered:
            self.request = None
        if still_observed(new, doubtful):
            self.requests += 1
            self.request = self.requests

    @property
    def quiet(self) -> bool:
        return not self.stream and not self.reads and self.request is None


@pytest.mark.requirement("FR-003")
@given(st.integers(0, 2**32), st.booleans())
def test_the_last_read_follows_the_last_change(seed: int, times_shown: bool) -> None:
    rng = random.Random(seed)
    world = World(rng, times_shown=times_shown)
    for _ in range(rng.randint(0, 3)):
        world.write()
    world.scan()
    for _ in range(rng.randint(0, 20)):
        rng.choice([world.write, world.load, world.load, world.answer])()
    steps = 0
    while not world.quiet:
        world.answer()
        world.load()
        steps += 1
        assert steps < 1000, "the copy never comes to rest"
    assert shown(world.copy) == shown(world.truth)
    assert is_visible(world.copy, NOW) == is_visible(world.truth, NOW)
