"""What is deleted from cdc_raw, and what is not: acknowledgement, completion, orphans, restarts, gaps."""

from __future__ import annotations

from pathlib import Path

import pytest

from casscade.core.errors import ConfigurationError
from casscade.core.position import START, Position
from tests.support.capture import Capture
from tests.support.fake_node import FakeNode, FakeSegment, make_mutation


@pytest.fixture(params=[False, True], ids=["plain", "lz4"])
def node(tmp_path: Path, request: pytest.FixtureRequest) -> FakeNode:
    """A node with or without compression."""
    return FakeNode(tmp_path, compressed=request.param)


def completed(node: FakeNode, number: int) -> FakeSegment:
    """A closed segment with one mutation, whose key is the segment's id."""
    segment = node.segment(number)
    segment.write(make_mutation(number))
    segment.complete()
    return segment


@pytest.mark.requirement("FR-003")
def test_a_segment_goes_only_after_all_of_it_is_acknowledged(node: FakeNode) -> None:
    segment = node.segment(10)
    (first,) = segment.write(make_mutation(1))
    segment.sync()
    capture = Capture(node)
    capture.steps()
    segment.write(make_mutation(2))
    segment.complete()
    capture.steps()
    assert capture.numbers == [1, 2]
    capture.outlet.position = Position(10, first)
    capture.steps()
    assert segment.path.exists()
    capture.outlet.acknowledge()
    capture.steps()
    assert node.names() == []
    assert segment.own.exists(), "Cassandra's own link is not ours"
    assert capture.follower.counters.segments_deleted == 1


def test_an_open_segment_stays_although_all_of_it_is_acknowledged(node: FakeNode) -> None:
    segment = node.segment(10)
    segment.write(make_mutation(1))
    segment.sync()
    capture = Capture(node)
    capture.steps()
    capture.outlet.acknowledge()
    capture.steps()
    assert segment.path.exists()
    assert segment.index.exists()


@pytest.mark.requirement("FR-023")
def test_completed_segments_below_the_start_go_at_once(node: FakeNode) -> None:
    completed(node, 8)
    still_open = node.segment(9)
    still_open.write(make_mutation(9))
    still_open.sync()
    last = completed(node, 10)
    capture = Capture(node, Position(10, last.logical))
    capture.steps()
    assert capture.numbers == []
    assert node.names() == [still_open.path.name, still_open.index.name]


def test_the_segment_of_the_start_stays_until_its_rest_is_durable(node: FakeNode) -> None:
    segment = node.segment(10)
    ends = segment.write(make_mutation(1), make_mutation(2), make_mutation(3))
    segment.complete()
    capture = Capture(node, Position(10, ends[0]))
    capture.steps()
    assert capture.numbers == [2, 3]
    assert segment.path.exists()
    capture.outlet.acknowledge()
    capture.steps()
    assert node.names() == []


def test_the_orphaned_spare_of_a_shutdown_is_removed(node: FakeNode) -> None:
    before = completed(node, 10)
    spare = node.segment(11)
    capture = Capture(node)
    capture.steps()
    spare.own.unlink()
    capture.steps()
    assert spare.path.exists(), "it is the newest: perhaps its node is only starting"
    active = node.segment(12)
    active.write(make_mutation(12))
    active.sync()
    capture.steps()
    assert capture.numbers == [10, 12]
    assert not spare.path.exists()
    assert before.path.exists()


def test_a_segment_without_cdc_data_is_left_to_cassandra_while_it_holds_it(node: FakeNode) -> None:
    idle = node.segment(10)
    completed(node, 11)
    completed(node, 12)
    capture = Capture(node)
    capture.steps()
    capture.outlet.acknowledge()
    capture.steps()
    assert node.names() == [idle.path.name]
    idle.discard()
    capture.steps()
    assert capture.anomalies == []
    assert capture.follower.counters.gaps == 0


def test_a_segment_that_a_replay_brings_back_is_deleted_again(node: FakeNode) -> None:
    segment = completed(node, 10)
    completed(node, 11)
    capture = Capture(node)
    capture.steps()
    capture.outlet.acknowledge()
    capture.steps()
    assert node.names() == []
    segment.path.hardlink_to(segment.own)
    segment.index.write_text(f"{segment.path.stat().st_size}\nCOMPLETED")
    capture.steps()
    assert node.names() == []
    assert capture.numbers == [10, 11]


def test_an_index_left_alone_by_a_kill_between_two_deletions_goes(node: FakeNode) -> None:
    first, second = completed(node, 10), completed(node, 11)
    first.path.unlink()
    capture = Capture(node, Position(11, 1))
    capture.steps()
    assert node.names() == [second.path.name, second.index.name]


def test_a_lone_index_of_a_segment_not_reached_yet_stays(node: FakeNode) -> None:
    first = node.segment(10)
    first.write(make_mutation(10))
    first.sync()
    later = completed(node, 11)
    later.path.unlink()
    capture = Capture(node)
    capture.steps()
    assert later.index.exists()


def test_a_segment_that_vanishes_before_it_is_read_is_a_gap(node: FakeNode) -> None:
    first = node.segment(10)
    first.write(make_mutation(10))
    first.sync()
    second = completed(node, 11)
    completed(node, 12)
    capture = Capture(node)
    capture.steps()
    second.path.unlink()
    second.index.unlink()
    first.complete()
    capture.steps()
    assert capture.numbers == [10, 12]
    assert capture.follower.counters.gaps == 1
    assert [(anomaly.reason, anomaly.position) for anomaly in capture.anomalies] == [
        ("segment_vanished", Position(11, 0))
    ]


def test_the_open_segment_survives_the_loss_of_its_name(node: FakeNode) -> None:
    first = node.segment(10)
    first.write(make_mutation(1))
    first.sync()
    capture = Capture(node)
    capture.steps()
    first.path.unlink()
    first.index.unlink()
    first.write(make_mutation(2))
    capture.steps()
    assert capture.numbers == [1]
    completed(node, 11)
    capture.steps()
    assert capture.numbers == [1, 2, 11]
    assert capture.follower.counters.gaps == 0


def test_a_directory_that_can_not_be_cleaned_stops_capture(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = completed(node, 10)
    capture = Capture(node)
    capture.steps()
    capture.outlet.acknowledge()

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(ConfigurationError) as caught:
        capture.steps()
    assert caught.value.code == "capture_directory"
    assert segment.path.exists()


def test_segments_of_another_node_are_not_taken_for_carried_over(node: FakeNode) -> None:
    completed(node, 10)
    node.segment(11)
    capture = Capture(node, Position(12, 50))
    with pytest.raises(ConfigurationError) as caught:
        capture.steps()
    assert caught.value.code == "capture_position"
    assert len(node.names()) == 3
    assert capture.numbers == []


def test_a_file_system_that_always_counts_one_link_loses_nothing(node: FakeNode) -> None:
    capture = Capture(node)
    for number in (10, 11, 12):
        active, spare = node.segment(number), node.segment(number + 100)
        for segment in (active, spare):
            segment.own.unlink()
        capture.steps()
        active.write(make_mutation(number))
        active.sync()
        capture.steps()
        capture.outlet.acknowledge()
        active.write(make_mutation(number + 50))
        capture.steps()
        assert active.path.exists()
        spare.path.unlink()
        active.complete()
        capture.steps()
        capture.outlet.acknowledge()
        capture.steps()
    assert capture.numbers == [10, 60, 11, 61, 12, 62]
    assert node.names() == []
    assert capture.anomalies == []


@pytest.mark.requirement("FR-003")
def test_an_acknowledged_segment_waits_until_it_is_released(node: FakeNode) -> None:
    first, second = completed(node, 10), completed(node, 11)
    released = START
    capture = Capture(node, released=lambda: released)
    capture.steps()
    capture.outlet.acknowledge()
    capture.steps()
    assert first.path.exists()
    released = Position(10, first.logical)
    capture.steps()
    assert not first.path.exists()
    assert second.path.exists()
    released = Position(99, 0)
    capture.steps()
    assert node.names() == []
    assert capture.follower.counters.newest_deleted == 11
