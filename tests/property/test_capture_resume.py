"""Killed at any place, restarted at the last durable position: every mutation arrives, in order, and files go."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from casscade.core.position import START, Position
from tests.support.capture import Capture
from tests.support.examples import examples
from tests.support.fake_node import OTHER_TABLE, TABLE, FakeNode, FakeSegment, make_mutation, number_of

ACTIONS = ["write", "sync", "complete", "step", "acknowledge", "kill", "lose index"]


class Model:
    """A node, a follower that is killed now and then, and what PostgreSQL would know."""

    def __init__(self, root: Path, compressed: bool) -> None:
        self.node = FakeNode(root, compressed=compressed)
        self.segment: FakeSegment = self.node.segment(1)
        self.written: list[int] = []
        self.durable: dict[int, int] = {}
        self.duplicates = 0
        self.position: Position = START
        self.capture = Capture(self.node)

    def write(self, count: int) -> None:
        """One section; every third mutation is of a table that is not replicated."""
        mutations = []
        for _ in range(count):
            number = len(self.written) + 1
            self.written.append(number)
            mutations.append(make_mutation(number, OTHER_TABLE if number % 3 == 0 else TABLE))
        self.segment.write(*mutations)

    def complete(self) -> None:
        """Close the segment and go on in the next one."""
        self.segment.complete()
        self.segment = self.node.segment(self.segment.id + 1)

    def acknowledge(self, chunks: int) -> None:
        """The first `chunks` of what was sent become durable."""
        outlet = self.capture.outlet
        for chunk in outlet.chunks[:chunks]:
            for mutation in chunk.mutations:
                number = number_of(mutation)
                self.duplicates += number in self.durable
                self.durable[number] = len(self.durable)
            self.position = outlet.position = max(self.position, chunk.end)
        del outlet.chunks[:chunks]

    def kill(self) -> None:
        """What was not durable is forgotten."""
        self.capture.follower.close()
        self.capture = Capture(self.node, self.position)

    def step(self) -> None:
        """Time passes, and the follower looks."""
        self.capture.now += 0.6
        self.capture.steps()


@settings(max_examples=examples(150))
@given(
    compressed=st.booleans(),
    actions=st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 4)), max_size=40),
)
def test_nothing_is_lost_or_doubled(compressed: bool, actions: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        model = Model(Path(root), compressed)
        for action, amount in actions:
            if action == "write":
                model.write(amount)
            elif action == "sync":
                model.segment.sync()
            elif action == "complete":
                model.complete()
            elif action == "step":
                model.step()
            elif action == "acknowledge":
                model.acknowledge(amount)
            elif action == "kill":
                model.kill()
            elif model.segment.index.exists():
                model.segment.index.write_bytes(b"")
        model.complete()
        for _ in range(3):
            model.step()
            model.acknowledge(len(model.capture.outlet.chunks))
        model.step()
        wanted = [number for number in model.written if number % 3 != 0]
        assert list(model.durable) == wanted
        assert model.duplicates == 0, "what is durable is not sent again"
        assert model.capture.anomalies == []
        assert model.node.names() == [model.segment.path.name], "only the spare is left"
        model.capture.follower.close()


@settings(max_examples=examples(40))
@given(compressed=st.booleans(), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_capture_resumes_behind_every_single_mutation(compressed: bool, sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as root:
        node = FakeNode(Path(root), compressed=compressed)
        places: list[Position] = [START]
        for segment_id in (10, 11):
            segment = node.segment(segment_id)
            for size in sizes:
                count = len(places)
                ends = segment.write(*(make_mutation(count + i) for i in range(size)))
                places += [Position(segment_id, end) for end in ends]
            segment.sync()
            if segment_id == 10:
                segment.complete()
        for done, place in enumerate(places):
            capture = Capture(node, place)
            capture.steps()
            assert capture.numbers == list(range(done + 1, len(places)))
            assert (node.raw / "CommitLog-8-10.log").exists() == (place.segment < 11)
            capture.follower.close()
