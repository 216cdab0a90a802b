"""A 3.11 node's commit log, followed while it is written, moved and deleted, and while the follower is killed.

Moves and deletions happen between any two looks of the follower, also between listing, opening and reading.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casscade.capture import directory
from casscade.capture.opened import OpenSegment
from casscade.commitlog.reader import SegmentFile
from casscade.core.position import START, Position
from tests.support.capture import Capture
from tests.support.examples import examples
from tests.support.fake_node import OTHER_TABLE, TABLE, FakeNode, FakeSegment, make_mutation, number_of

ACTIONS = [
    "write", "write", "append", "other", "rotate", "slow writer", "flush", "step", "step", "acknowledge", "kill",
    "crash",
]  # fmt: skip


class Model:
    """A node, a follower that is killed now and then, and what PostgreSQL would know."""

    def __init__(self, root: Path, *, compressed: bool, eager: bool) -> None:
        self.node = FakeNode(root, version=6, compressed=compressed)
        self.eager = eager
        self.segments: list[FakeSegment] = [self.node.segment(1)]
        self.cdc: set[int] = set()
        self.written: list[int] = []
        self.in_order: dict[int, list[int]] = {}
        self.durable: list[int] = []
        self.position: Position = START
        self.pending: list[tuple[int, Callable[[], None]]] = []
        self.slow = False
        self.capture = self.start()

    def start(self) -> Capture:
        """A new life of the follower."""
        return Capture(self.node, self.position, commitlog=True, eager=self.eager)

    @property
    def active(self) -> FakeSegment:
        """The segment that is written."""
        return self.segments[-1]

    def numbers(self, segment: FakeSegment, count: int) -> list[bytes]:
        """New mutations of the replicated table, noted as to be found."""
        self.cdc.add(segment.id)
        mutations = []
        for _ in range(count):
            number = len(self.written) + 1
            self.written.append(number)
            self.in_order.setdefault(segment.id, []).append(number)
            mutations.append(make_mutation(number))
        return mutations

    def rotate(self) -> None:
        """The node goes on to the next segment; the old one is closed."""
        self.active.complete()
        self.segments.append(self.node.segment(self.active.id + 1))

    def slow_writer(self) -> None:
        """A writer that had its place before the switch is ready after the next segment was synced."""
        old = self.active
        self.segments.append(self.node.segment(old.id + 1))
        self.active.write(make_mutation(0, OTHER_TABLE))
        if self.eager:
            old.write()
        self.capture.steps()
        old.write(*self.numbers(old, 1))
        old.complete()
        self.slow = True

    def flush(self, which: int, delay: int) -> None:
        """One closed segment is not needed any more: it is moved or deleted, `delay` looks of the follower later."""
        closed = [each for each in self.segments[:-1] if each.own.exists()]
        if closed:
            segment = closed[which % len(closed)]
            self.pending.append((delay, lambda: self.discard(segment)))

    def discard(self, segment: FakeSegment) -> None:
        """`CommitLogSegmentManagerCDC.discard`."""
        if segment.own.exists():
            if segment.id in self.cdc:
                segment.move()
            else:
                segment.discard()

    def crash(self) -> None:
        """The node is killed and starts again: all its segments are replayed and moved, a new one is begun."""
        self.rotate()
        for segment in self.segments[:-1]:
            if segment.own.exists():
                segment.move()

    def look(self) -> None:
        """The follower is about to look at something; what was due by now has happened before."""
        due = [action for delay, action in self.pending if delay == 0]
        self.pending = [(delay - 1, action) for delay, action in self.pending if delay > 0]
        for action in due:
            action()

    def acknowledge(self, chunks: int) -> None:
        """The first `chunks` of what was sent become durable."""
        outlet = self.capture.outlet
        for chunk in outlet.chunks[:chunks]:
            assert chunk.end >= self.position, "positions never go back"
            self.durable += [number_of(mutation) for mutation in chunk.mutations if mutation[1:17] == TABLE]
            self.position = outlet.position = max(self.position, chunk.end)
        del outlet.chunks[:chunks]

    def kill(self) -> None:
        """What was not durable is forgotten."""
        self.capture.follower.close()
        self.capture = self.start()

    def step(self) -> None:
        """Time passes, and the follower looks."""
        self.capture.now += 0.3
        self.capture.steps()

    def act(self, action: str, amount: int, delay: int) -> None:
        """One thing happens."""
        if action == "write":
            self.active.write(*self.numbers(self.active, amount))
        elif action == "append":
            self.active.append(*self.numbers(self.active, amount))
        elif action == "other":
            self.active.write(make_mutation(0, OTHER_TABLE))
        elif action == "rotate":
            self.rotate()
        elif action == "slow writer":
            self.slow_writer()
        elif action == "flush":
            self.flush(amount, delay)
        elif action == "step":
            self.step()
        elif action == "acknowledge":
            self.acknowledge(amount)
        elif action == "crash":
            self.crash()
        else:
            self.kill()


@contextmanager
def watched(model: Model) -> Iterator[None]:
    """Let the node act before every look of the follower: at a directory, at a name, into a file."""
    scan, open_file, poll = directory._scan, OpenSegment.__init__, SegmentFile.poll

    def scanned(*arguments: Any, **options: Any) -> None:
        model.look()
        scan(*arguments, **options)
        model.look()

    def opened(*arguments: Any, **options: Any) -> None:
        model.look()
        open_file(*arguments, **options)

    def polled(*arguments: Any, **options: Any) -> Any:
        model.look()
        return poll(*arguments, **options)

    with (
        mock.patch.object(directory, "_scan", scanned),
        mock.patch.object(OpenSegment, "__init__", opened),
        mock.patch.object(SegmentFile, "poll", polled),
    ):
        yield


@pytest.mark.requirement("FR-001")
@settings(max_examples=examples(40))
@given(
    compressed=st.booleans(),
    eager=st.booleans(),
    slow=st.booleans(),
    actions=st.lists(
        st.tuples(st.sampled_from(ACTIONS), st.integers(0, 4), st.integers(0, 6)), min_size=15, max_size=50
    ),
)
def test_nothing_is_lost_or_reordered(
    compressed: bool, eager: bool, slow: bool, actions: list[tuple[str, int, int]]
) -> None:
    with tempfile.TemporaryDirectory() as root:
        model = Model(Path(root), compressed=compressed, eager=eager)
        with watched(model):
            for action, amount, delay in actions:
                if slow or action != "slow writer":
                    model.act(action, amount, delay)
            model.rotate()
            for segment in model.segments[:-1]:
                model.pending.append((3, lambda segment=segment: model.discard(segment)))  # type: ignore[misc]
            for _ in range(5):
                model.active.write(make_mutation(0, OTHER_TABLE))
                model.step()
                model.acknowledge(len(model.capture.outlet.chunks))
            model.step()
        assert set(model.durable) == set(model.written)
        if not model.slow:
            assert model.durable == model.written, "once each and in order"
            assert model.capture.anomalies == []
        assert set(model.capture.reasons) <= {"segment_late"}
        assert model.capture.follower.counters.gaps == 0
        assert model.node.names() == [], "all of cdc_raw was carried over"
        assert model.active.own.exists(), "nothing in the commit log directory is ours to delete"
        model.capture.follower.close()
