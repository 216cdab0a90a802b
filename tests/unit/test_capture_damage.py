"""Damaged segments: reported with their position, kept in the quarantine, and nothing else is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casscade.core.errors import RetryableError
from casscade.core.notice import GAP
from casscade.core.position import Position
from tests.support.capture import Capture
from tests.support.fake_node import FakeNode, FakeSegment, make_mutation

SECOND_FRAME = 12 + len(make_mutation(0))


@pytest.fixture
def node(tmp_path: Path) -> FakeNode:
    """A node with plain segments, where a place in the file is a place in the data."""
    return FakeNode(tmp_path)


def damaged(node: FakeNode, number: int, at: int) -> tuple[FakeSegment, list[int]]:
    """A segment of two sections of three mutations; the bit at `at` bytes into the first section's data is flipped."""
    segment = node.segment(number)
    start = segment.logical + 8
    ends = segment.write(*(make_mutation(number * 100 + i) for i in range(3)))
    ends += segment.write(*(make_mutation(number * 100 + i) for i in range(3, 6)))
    segment.damage(start + at)
    return segment, ends


@pytest.mark.requirement("FR-022")
def test_a_bad_frame_of_known_length_costs_only_itself(node: FakeNode) -> None:
    segment, ends = damaged(node, 10, SECOND_FRAME + 20)
    segment.complete()
    content = segment.path.read_bytes()
    capture = Capture(node)
    capture.steps()
    assert capture.numbers == [1000, 1002, 1003, 1004, 1005]
    assert capture.reasons == ["frame_checksum"]
    assert capture.anomalies[0].position == Position(10, ends[0])
    assert capture.follower.counters.anomalies == {"frame_checksum": 1}
    assert (node.state / "quarantine" / segment.path.name).read_bytes() == content
    assert segment.path.exists(), "not acknowledged yet"
    capture.outlet.acknowledge()
    capture.steps()
    assert node.names() == []
    assert (node.state / "quarantine" / segment.path.name).read_bytes() == content
    assert (node.state / "quarantine" / segment.index.name).exists()
    counters = capture.follower.counters
    assert counters.segments_quarantined == 1
    assert counters.quarantine_bytes >= len(content)


@pytest.mark.requirement("FR-022")
def test_a_bad_length_costs_only_its_frame_and_later_segments_go_on(node: FakeNode) -> None:
    segment, ends = damaged(node, 10, SECOND_FRAME)
    segment.complete()
    following = node.segment(11)
    following.write(make_mutation(7))
    following.complete()
    capture = Capture(node)
    capture.steps()
    assert capture.numbers == [1000, 1002, 1003, 1004, 1005, 7]
    assert capture.reasons == ["frame_size_checksum"]
    assert capture.anomalies[0].position == Position(10, ends[0])
    assert (node.state / "quarantine" / segment.path.name).exists()
    assert not (node.state / "quarantine" / following.path.name).exists()


def test_a_bad_marker_costs_nothing_and_later_segments_go_on(node: FakeNode) -> None:
    segment = node.segment(10)
    segment.write(make_mutation(1))
    marker = segment.logical
    segment.write(make_mutation(2))
    segment.complete()
    segment.damage(marker + 5)
    following = node.segment(11)
    following.write(make_mutation(7))
    following.complete()
    capture = Capture(node)
    capture.steps()
    assert capture.numbers == [1, 2, 7]
    assert capture.anomalies[0].position == Position(10, marker)
    assert [notice for notice in capture.outlet.notices if notice.kind == GAP] == []
    assert (node.state / "quarantine" / segment.path.name).exists()
    capture.outlet.acknowledge()
    capture.steps()
    assert node.names() == []


def test_a_torn_tail_waits(node: FakeNode) -> None:
    segment = node.segment(10)
    segment.write(make_mutation(1))
    marker = segment.logical
    segment.write(make_mutation(2))
    segment.damage(marker + 5)
    segment.sync()
    capture = Capture(node)
    capture.steps()
    assert capture.numbers == [1]
    assert capture.anomalies == []
    segment.damage(marker + 5)
    capture.steps()
    assert capture.numbers == [1, 2]
    assert not (node.state / "quarantine").exists()


def test_lasting_damage_in_a_growing_segment_is_reported_and_kept_to_the_end(node: FakeNode) -> None:
    segment, _ = damaged(node, 10, SECOND_FRAME + 20)
    segment.sync()
    capture = Capture(node)
    for _ in range(20):
        capture.steps()
    assert capture.numbers == [1000, 1002, 1003, 1004, 1005]
    assert capture.reasons == ["frame_checksum"]
    kept = node.state / "quarantine" / segment.path.name
    assert kept.exists(), "kept before the position passes it"
    assert segment.path.exists()
    position = capture.position
    segment.write(make_mutation(8))
    segment.complete()
    restarted = Capture(node, position)
    restarted.steps()
    assert restarted.numbers == [8]
    assert kept.read_bytes() == segment.path.read_bytes()


def test_a_file_that_is_no_segment_is_set_aside(node: FakeNode) -> None:
    segment = node.segment(10)
    segment.damage(14)
    segment.complete()
    following = node.segment(11)
    following.write(make_mutation(7))
    following.complete()
    capture = Capture(node)
    capture.steps()
    assert capture.reasons == ["header"]
    assert capture.numbers == [7]
    assert (node.state / "quarantine" / segment.path.name).exists()


def test_nothing_passes_the_damage_while_the_quarantine_is_full(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment, _ = damaged(node, 10, SECOND_FRAME + 20)
    segment.complete()
    capture = Capture(node)
    fsync = os.fsync
    with monkeypatch.context() as patch:

        def full(descriptor: int) -> None:
            if "quarantine" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
                raise OSError(28, "No space left on device")
            fsync(descriptor)

        patch.setattr(os, "fsync", full)
        with pytest.raises(RetryableError) as caught:
            capture.steps()
    assert caught.value.code == "capture_quarantine"
    assert capture.numbers == []
    assert segment.path.exists()
    again = Capture(node)
    again.steps()
    assert again.numbers == [1000, 1002, 1003, 1004, 1005]


def test_a_disk_that_can_not_be_read_is_tried_again(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = node.segment(10)
    segment.write(make_mutation(1))
    segment.complete()

    def broken(descriptor: int, count: int, offset: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(RetryableError) as caught:
        Capture(node).steps()
    assert caught.value.code == "capture_read"
    assert str(segment.path) in caught.value.where
