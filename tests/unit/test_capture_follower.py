"""The follower on a growing cdc_raw: order, filters, positions, several open segments."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from casscade.core.errors import ConfigurationError
from casscade.core.limits import CHUNK_MUTATIONS_MAX
from casscade.core.position import START, Position
from casscade.transport.chunk import Chunk
from tests.support.capture import SOURCE, Capture, MemoryOutlet
from tests.support.fake_node import OTHER_TABLE, TABLE, FakeNode, make_mutation


@pytest.fixture(params=[False, True], ids=["plain", "lz4"])
def node(tmp_path: Path, request: pytest.FixtureRequest) -> FakeNode:
    """A node with or without compression."""
    return FakeNode(tmp_path, compressed=request.param)


@pytest.mark.requirement("FR-001")
def test_a_segment_is_followed_section_by_section_up_to_its_index(node: FakeNode) -> None:
    segment = node.segment(10)
    capture = Capture(node)
    capture.steps()
    assert capture.outlet.chunks == []
    ends = segment.write(make_mutation(1), make_mutation(2))
    capture.steps()
    assert capture.outlet.chunks == [], "the index does not cover it yet"
    segment.sync()
    capture.steps()
    assert capture.numbers == [1, 2]
    assert capture.position == Position(10, ends[-1])
    assert capture.outlet.chunks[0].offsets == ends
    assert capture.outlet.chunks[0].source == SOURCE
    assert capture.outlet.chunks[0].version == 8
    assert capture.outlet.chunks[0].captured_at == 1000.0
    segment.write(make_mutation(3))
    segment.sync()
    capture.steps()
    assert capture.numbers == [1, 2, 3]
    counters = capture.follower.counters
    assert (counters.mutations_read, counters.mutations_forwarded) == (3, 3)
    assert counters.bytes_read == counters.bytes_forwarded == sum(len(make_mutation(i)) for i in range(3))


def test_an_eager_follower_does_not_wait_for_the_index(node: FakeNode) -> None:
    segment = node.segment(10)
    segment.write(make_mutation(1))
    segment.sync()
    segment.write(make_mutation(2))
    capture = Capture(node, eager=True)
    capture.steps()
    assert capture.numbers == [1, 2]


@pytest.mark.requirement("FR-004")
def test_segments_are_read_in_the_order_of_their_ids(node: FakeNode) -> None:
    for number in (9, 10, 100):
        segment = node.segment(number)
        segment.write(make_mutation(number))
        segment.complete()
    capture = Capture(node)
    capture.steps()
    assert capture.numbers == [9, 10, 100]
    assert capture.position.segment == 100
    assert capture.follower.counters.segments_finished == 3


def test_a_truncated_index_keeps_its_last_value(node: FakeNode) -> None:
    segment = node.segment(10)
    segment.write(make_mutation(1))
    segment.index.write_bytes(b"")
    capture = Capture(node)
    capture.steps()
    assert capture.numbers == []
    segment.sync()
    capture.steps()
    segment.write(make_mutation(2))
    segment.index.write_bytes(b"")
    capture.steps()
    assert capture.numbers == [1]
    segment.complete()
    capture.steps()
    assert capture.numbers == [1, 2]
    assert capture.anomalies == []


def test_a_closing_segment_is_not_skipped_for_the_next_one(node: FakeNode) -> None:
    older, newer = node.segment(10), node.segment(11)
    older.write(make_mutation(1))
    older.sync()
    newer.write(make_mutation(3))
    newer.sync()
    capture = Capture(node)
    capture.steps()
    capture.now = 1000.0
    capture.steps()
    assert capture.numbers == [1]
    older.write(make_mutation(2))
    older.complete()
    capture.steps()
    assert capture.numbers == [1, 2, 3]


def test_an_index_without_completion_counts_no_longer_once_cassandra_let_go(node: FakeNode) -> None:
    older, newer = node.segment(10), node.segment(11)
    older.write(make_mutation(1))
    older.sync()
    older.write(make_mutation(2))
    capture = Capture(node)
    capture.steps()
    assert capture.numbers == [1]
    older.discard()
    capture.steps()
    assert capture.numbers == [1], "some file systems always count one link"
    newer.write(make_mutation(3))
    newer.sync()
    capture.steps()
    assert capture.numbers == [1, 2, 3]


def test_a_segment_without_index_is_passed_only_after_a_grace_time(node: FakeNode) -> None:
    node.segment(10)
    late, active = node.segment(11), node.segment(12)
    active.write(make_mutation(2))
    active.sync()
    capture = Capture(node)
    capture.steps()
    capture.now = 0.9
    capture.steps()
    assert capture.numbers == []
    late.write(make_mutation(1))
    late.sync()
    late.complete()
    capture.now = 1.1
    capture.steps()
    assert capture.numbers == [1, 2]
    assert capture.follower.counters.skipped == {"segment_without_cdc_data": 1}


def test_the_spare_segment_is_waited_for(node: FakeNode) -> None:
    active = node.segment(10)
    active.write(make_mutation(1))
    active.complete()
    spare = node.segment(11)
    capture = Capture(node)
    capture.steps()
    capture.now = 100.0
    capture.steps()
    assert capture.follower.counters.skipped == {}
    spare.write(make_mutation(2))
    spare.sync()
    capture.steps()
    assert capture.numbers == [1, 2]


def test_an_index_that_comes_after_all_is_read_late(node: FakeNode) -> None:
    passed, active = node.segment(10), node.segment(11)
    active.write(make_mutation(2))
    active.sync()
    capture = Capture(node)
    capture.steps()
    capture.now = 2.0
    capture.steps()
    assert capture.numbers == [2]
    active.complete()
    capture.steps()
    position = capture.position
    passed.write(make_mutation(1))
    passed.complete()
    capture.steps()
    assert capture.numbers == [2, 1]
    assert capture.reasons == ["segment_late"]
    assert capture.position == position, "a late segment does not move the position"
    assert capture.outlet.chunks[-1].segment < position.segment, "its mutations are named by their own segment"
    capture.outlet.acknowledge()
    capture.steps()
    assert passed.path.exists(), "nothing proves yet that its chunk is durable"
    last = node.segment(12)
    last.write(make_mutation(3))
    last.sync()
    capture.steps()
    capture.outlet.acknowledge()
    capture.steps()
    assert not passed.path.exists()


@pytest.mark.requirement("FR-006")
def test_tables_that_are_not_replicated_are_left_out_and_counted(node: FakeNode) -> None:
    segment = node.segment(10)
    both = b"\x02" + OTHER_TABLE + b"\x01k" + TABLE + b"\x01k"
    ends = segment.write(make_mutation(1, OTHER_TABLE), make_mutation(2), both, make_mutation(3, OTHER_TABLE))
    segment.sync()
    capture = Capture(node)
    capture.steps()
    (chunk,) = capture.outlet.chunks
    assert chunk.mutations == [make_mutation(2), both]
    assert chunk.offsets == ends[1:3]
    assert chunk.end == Position(10, ends[-1]), "the position covers what was left out"
    assert capture.follower.counters.skipped == {"table_not_replicated": 2}
    assert capture.follower.counters.mutations_read == 4


def test_a_table_newer_than_the_schema_goes_on(node: FakeNode) -> None:
    segment = node.segment(10)
    unknown = bytes(range(50, 66))
    several = b"\x02" + OTHER_TABLE + b"\x04" + bytes(30)
    segment.write(make_mutation(1, unknown), make_mutation(2, OTHER_TABLE), several)
    segment.sync()
    capture = Capture(node, unwanted={OTHER_TABLE})
    capture.steps()
    assert capture.outlet.chunks[0].mutations == [make_mutation(1, unknown), several]


def test_positions_move_without_mutations_about_once_a_second(node: FakeNode) -> None:
    segment = node.segment(10)
    capture = Capture(node)
    capture.steps()  # which tells that it begins
    (end,) = segment.write(make_mutation(1, OTHER_TABLE))
    segment.sync()
    capture.steps()
    assert capture.outlet.chunks == []
    capture.now = 1.0
    capture.steps()
    assert [(chunk.end, chunk.mutations) for chunk in capture.outlet.chunks] == [(Position(10, end), [])]
    capture.now = 5.0
    capture.steps()
    assert len(capture.outlet.chunks) == 1, "it has not moved since"
    segment.write(make_mutation(1, OTHER_TABLE))
    segment.complete()
    capture.steps()
    assert capture.position == Position(10, segment.logical), "a finished segment is told at once"


def test_chunks_are_bounded(node: FakeNode) -> None:
    segment = node.segment(10)
    count = CHUNK_MUTATIONS_MAX * 2 + 7
    ends = segment.write(*(make_mutation(i) for i in range(count)))
    segment.sync()
    capture = Capture(node)
    capture.steps()
    assert [len(chunk.mutations) for chunk in capture.outlet.chunks] == [CHUNK_MUTATIONS_MAX, CHUNK_MUTATIONS_MAX, 7]
    assert capture.numbers == list(range(count))
    assert [chunk.end.offset for chunk in capture.outlet.chunks] == [ends[511], ends[1023], ends[-1]]


def test_whole_files_of_3_11_need_no_index(tmp_path: Path) -> None:
    node = FakeNode(tmp_path, version=6)
    capture = Capture(node)
    for number in (1, 2):
        segment = node.segment(number)
        segment.write(make_mutation(number))
        segment.move()
    capture.steps()
    assert capture.numbers == [1, 2]
    assert [chunk.version for chunk in capture.outlet.chunks] == [6, 6]
    capture.outlet.acknowledge()
    capture.steps()
    assert node.names() == []


def test_a_segment_of_3_11_that_was_flushed_late_is_not_lost(tmp_path: Path) -> None:
    node = FakeNode(tmp_path, version=6)
    capture = Capture(node)
    for number in (5, 3, 7):
        segment = node.segment(number)
        segment.write(make_mutation(number))
        segment.move()
        capture.steps()
        capture.outlet.acknowledge()
    capture.steps()
    assert capture.numbers == [5, 3, 7]
    assert [chunk.end.segment for chunk in capture.outlet.chunks] == [5, 5, 7]
    assert node.names() == []


@pytest.mark.requirement("FR-024")
def test_a_stop_while_the_transport_is_full_leaves_the_rest_unread(node: FakeNode) -> None:
    class Full(MemoryOutlet):
        def put(self, chunk: Chunk, stop: threading.Event) -> bool:
            return len(self.chunks) == 0 and super().put(chunk, stop)

    segment = node.segment(10)
    ends = segment.write(*(make_mutation(i) for i in range(3 * CHUNK_MUTATIONS_MAX)))
    segment.complete()
    outlet = Full()
    capture = Capture(node, outlet=outlet)
    assert not capture.follower.step()
    assert capture.numbers == list(range(CHUNK_MUTATIONS_MAX))
    outlet.acknowledge()
    assert outlet.position == Position(10, ends[CHUNK_MUTATIONS_MAX - 1])
    assert segment.path.exists()
    rest = Capture(node, outlet.position)
    rest.steps()
    assert rest.numbers == list(range(CHUNK_MUTATIONS_MAX, 3 * CHUNK_MUTATIONS_MAX))


def test_an_unknown_version_stops_capture_and_deletes_nothing(tmp_path: Path) -> None:
    node = FakeNode(tmp_path, version=9)
    segment = node.segment(10)
    segment.complete()
    with pytest.raises(ConfigurationError) as caught:
        Capture(node).steps()
    assert caught.value.code == "segment_version"
    assert len(node.names()) == 2


def test_the_status_tells_what_is_left(node: FakeNode) -> None:
    capture = Capture(node)
    capture.steps()
    assert capture.follower.status().caught_up
    first = node.segment(10)
    first.write(make_mutation(1))
    first.sync()
    second = node.segment(11)
    second.write(make_mutation(2))
    second.sync()
    capture.steps()
    status = capture.follower.status()
    assert (status.segment, status.segments_waiting, status.caught_up) == (10, 1, False)
    assert status.bytes_unread >= second.path.stat().st_size
    assert status.position == Position(10, first.logical)
    assert status.acknowledged == START
    first.complete()
    capture.steps()
    capture.outlet.acknowledge()
    status = capture.follower.status()
    assert (status.segment, status.segments_waiting, status.caught_up) == (11, 0, True)
    assert status.acknowledged == status.position == Position(11, second.logical)
