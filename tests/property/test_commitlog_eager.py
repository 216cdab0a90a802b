"""Reading ahead of the sync marker: writers fill their places in any order, torn, and the reader may start again."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casscade.commitlog.framing import MARKER_SIZE
from casscade.commitlog.reader import FINISHED, UNSYNCED_BYTES, SegmentFile
from casscade.commitlog.segment import segment_name
from casscade.commitlog.writer import encode_frame, encode_header, encode_marker
from tests.support.examples import examples

ID = 1795425809903
LENGTH = 1 << 19

ACTIONS = st.one_of(
    st.tuples(st.just("allocate"), st.sampled_from([10, 11, 40, 400, UNSYNCED_BYTES - 12, UNSYNCED_BYTES + 5])),
    st.tuples(st.just("tear"), st.integers(0, 1000)),
    st.tuples(st.just("fill"), st.integers(0, 5)),
    st.tuples(st.just("fill"), st.just(0)),
    st.tuples(st.just("poll"), st.sampled_from([1, 100, 1 << 22])),
    st.tuples(st.just("sync"), st.just(0)),
    st.tuples(st.just("reopen"), st.just(0)),
)


class MappedSegment:
    """A segment as `MemoryMappedSegment` makes one: places are taken in order and filled in any order."""

    def __init__(self, path: Path) -> None:
        header = encode_header(ID, 6)
        path.write_bytes(header.ljust(LENGTH, b"\0"))
        self.file = path.open("r+b", buffering=0)
        self.marker = len(header)
        self.next = self.marker + MARKER_SIZE
        self.count = 0
        self.open: list[tuple[int, int, bytes]] = []
        self.ends: list[int] = []

    def allocate(self, size: int) -> None:
        """A writer takes the next place."""
        data = encode_frame(self.count.to_bytes(4, "big") + bytes([self.count % 251 + 1]) * (size - 4))
        if self.next + len(data) + 2 * MARKER_SIZE > LENGTH:
            return
        self.open.append((self.count, self.next, data))
        self.next += len(data)
        self.ends.append(self.next)
        self.count += 1

    def fill(self, which: int, share: int = 1000) -> None:
        """The writer number `which` of those not ready copies all, or a share of a thousand, of its bytes."""
        if self.open:
            count, place, data = self.open[which % len(self.open)]
            os.pwrite(self.file.fileno(), data[: len(data) * share // 1000], place)
            if share == 1000:
                self.open.remove((count, place, data))

    def sync(self) -> None:
        """All writers are waited for, then the section is closed (`CommitLogSegment.sync`)."""
        while self.open:
            self.fill(0)
        if self.next > self.marker + MARKER_SIZE:
            os.pwrite(self.file.fileno(), encode_marker(ID, self.marker, self.next), self.marker)
            self.marker = self.next
            self.next += MARKER_SIZE

    @property
    def whole(self) -> int:
        """How many mutations are complete before the first that is not."""
        return self.open[0][0] if self.open else self.count


def read(segment: SegmentFile, seen: list[int], bytes_max: int) -> int:
    """Poll once; the offset read up to."""
    for section in segment.poll(None, eager=True, bytes_max=bytes_max):
        seen += [int.from_bytes(mutation[:4], "big") for mutation in section.mutations]
        assert len(section.ends) == len(section.mutations)
    return segment.offset


@pytest.mark.requirement("FR-001")
@settings(max_examples=examples(80))
@given(actions=st.lists(ACTIONS, max_size=50))
def test_every_mutation_comes_once_and_in_order_as_soon_as_it_is_whole(actions: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / segment_name(6, ID)
        node = MappedSegment(path)
        segment = SegmentFile(path)
        seen: list[int] = []
        try:
            for action, amount in actions:
                if action == "allocate":
                    node.allocate(amount)
                elif action == "tear" and node.open:
                    node.fill(amount, amount)
                elif action == "fill":
                    node.fill(amount)
                elif action == "sync":
                    node.sync()
                elif action == "poll":
                    read(segment, seen, amount)
                    assert seen == list(range(len(seen)))
                    assert len(seen) == node.whole or segment.more
                elif action == "reopen":
                    segment.close()
                    segment = SegmentFile(path, node.ends[len(seen) - 1] if seen else 0)
            node.sync()
            ends = []
            for section in segment.poll(FINISHED):
                seen += [int.from_bytes(mutation[:4], "big") for mutation in section.mutations]
                ends += section.ends
            assert seen == list(range(node.count))
            assert (segment.finished, segment.anomalies) == (True, [])
            assert segment.offset == (node.marker if node.count else len(encode_header(ID, 6)))
            assert ends == node.ends[len(node.ends) - len(ends) :]
        finally:
            segment.close()
            node.file.close()
