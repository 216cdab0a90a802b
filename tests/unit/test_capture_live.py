"""Following the commit log directory of a 3.11 node: live segments, their move to cdc_raw, restarts, races."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from casscade.capture import directory
from casscade.capture.directory import check_directories, list_directory
from casscade.capture.live import STATE_NAME
from casscade.core.errors import ConfigurationError, RetryableError
from casscade.core.position import START, Position
from tests.support.capture import Capture
from tests.support.fake_node import OTHER_TABLE, FakeNode, make_mutation


@pytest.fixture(params=[False, True], ids=["plain", "lz4"])
def node(tmp_path: Path, request: pytest.FixtureRequest) -> FakeNode:
    """A 3.11 node with or without compression."""
    return FakeNode(tmp_path, version=6, compressed=request.param)


def own_names(node: FakeNode) -> list[str]:
    """What lies in the commit log directory."""
    return sorted(path.name for path in node.commitlog.iterdir())


@pytest.mark.requirement("FR-001")
def test_a_live_segment_is_read_as_far_as_its_markers_and_deleted_only_in_cdc_raw(node: FakeNode) -> None:
    segment = node.segment(10)
    node.segment(11)
    capture = Capture(node, commitlog=True)
    capture.steps()
    (end,) = segment.write(make_mutation(1))
    capture.steps()
    assert capture.numbers == [1]
    assert capture.position == Position(10, end)
    capture.outlet.acknowledge()
    capture.steps()
    assert own_names(node) == ["CommitLog-6-10.log", "CommitLog-6-11.log"]
    segment.write(make_mutation(2))
    segment.complete()
    segment.move()
    capture.steps()
    assert capture.numbers == [1, 2], "the same file under its new name"
    assert segment.path.exists()
    capture.outlet.acknowledge()
    capture.steps()
    assert not segment.path.exists()
    assert own_names(node) == ["CommitLog-6-11.log"]
    assert capture.anomalies == []
    assert capture.follower.counters.gaps == 0


def test_without_the_directory_nothing_is_read_before_the_move(node: FakeNode) -> None:
    segment = node.segment(10)
    segment.write(make_mutation(1))
    capture = Capture(node)
    capture.steps()
    assert capture.outlet.chunks == []
    segment.move()
    capture.steps()
    assert capture.numbers == [1]


@pytest.mark.requirement("FR-001")
def test_the_next_segment_is_followed_while_the_last_one_waits_for_its_flush(node: FakeNode) -> None:
    first, second = node.segment(10), node.segment(11)
    first.write(make_mutation(1))
    capture = Capture(node, commitlog=True)
    capture.steps()
    first.write(make_mutation(2))
    first.complete()
    second.write(make_mutation(3))
    capture.steps()
    assert capture.numbers == [1, 2]
    capture.now += 0.3
    capture.steps()
    assert capture.numbers == [1, 2, 3]
    second.write(make_mutation(4))
    capture.steps()
    assert capture.numbers == [1, 2, 3, 4]
    assert capture.position.segment == 11
    capture.outlet.acknowledge()
    first.move()
    capture.steps()
    assert capture.numbers == [1, 2, 3, 4]
    assert capture.anomalies == []
    assert not first.path.exists(), "all of it was durable before it came"
    assert capture.follower.counters.segments_deleted == 1


def test_what_a_slow_writer_added_behind_the_switch_is_read_when_the_segment_comes(node: FakeNode) -> None:
    first, second = node.segment(10), node.segment(11)
    first.write(make_mutation(1))
    second.write(make_mutation(3))
    capture = Capture(node, commitlog=True)
    capture.steps()
    capture.now += 0.3
    capture.steps()
    assert capture.numbers == [1, 3]
    first.write(make_mutation(2))
    first.complete()
    first.move()
    position = capture.position
    capture.steps()
    assert capture.numbers == [1, 3, 2]
    assert capture.reasons == ["segment_late"]
    assert capture.position == position
    capture.outlet.acknowledge()
    capture.steps()
    assert first.path.exists(), "nothing proves yet that its chunk is durable"
    second.write(make_mutation(4))
    capture.steps()
    capture.outlet.acknowledge()
    capture.steps()
    assert not first.path.exists()


def test_a_segment_without_cdc_data_goes_and_nothing_is_missed(node: FakeNode) -> None:
    unopened, current, spare = node.segment(9), node.segment(10), node.segment(11)
    capture = Capture(node, commitlog=True)
    capture.steps()
    unopened.discard()
    capture.steps()
    current.write(make_mutation(1, OTHER_TABLE))
    capture.steps()
    current.discard()
    spare.write(make_mutation(2))
    capture.steps()
    assert capture.numbers == [2]
    assert capture.anomalies == []
    assert capture.follower.counters.gaps == 0


def test_one_that_goes_before_it_was_opened_is_counted(node: FakeNode) -> None:
    node.segment(10)
    later = node.segment(11)
    capture = Capture(node, commitlog=True)
    capture.steps()
    later.discard()
    capture.steps()
    assert capture.follower.counters.skipped == {"segment_without_cdc_data": 1}
    assert capture.follower.counters.gaps == 0


def test_after_a_restart_a_segment_that_was_left_is_not_read_again(node: FakeNode) -> None:
    first, second = node.segment(10), node.segment(11)
    first.write(make_mutation(1))
    first.complete()
    second.write(make_mutation(2))
    capture = Capture(node, commitlog=True)
    capture.steps()
    capture.now += 0.3
    capture.steps()
    assert capture.numbers == [1, 2]
    capture.follower.close()
    again = Capture(node, capture.position, commitlog=True)
    first.move()
    second.write(make_mutation(3))
    again.steps()
    assert again.numbers == [3]
    assert not first.path.exists()
    assert again.anomalies == []


@pytest.mark.parametrize("state", [None, "{", '{"source": "another", "segments": {"10": 99999}}', "[]"])
def test_without_its_record_a_segment_is_read_again(node: FakeNode, state: str | None) -> None:
    first, second = node.segment(10), node.segment(11)
    (end,) = first.write(make_mutation(1))
    first.complete()
    second.write(make_mutation(2))
    capture = Capture(node, commitlog=True)
    capture.steps()
    capture.now += 0.3
    capture.steps()
    capture.follower.close()
    path = node.state / STATE_NAME
    assert path.exists()
    if state is None:
        path.unlink()
    else:
        path.write_text(state)
    first.move()
    again = Capture(node, Position(11, end), commitlog=True)
    again.steps()
    assert again.numbers == [1]
    assert again.reasons == ["segment_late"]


def test_records_at_or_above_the_position_do_not_count(node: FakeNode) -> None:
    first, second = node.segment(10), node.segment(11)
    (end,) = first.write(make_mutation(1))
    first.complete()
    second.write(make_mutation(2))
    capture = Capture(node, commitlog=True)
    capture.steps()
    capture.now += 0.3
    capture.steps()
    capture.follower.close()
    first.move()
    again = Capture(node, START, commitlog=True)
    again.steps()
    assert again.numbers == [1, 2]
    assert end > 0


def test_without_the_directory_the_records_go(node: FakeNode) -> None:
    (node.state / STATE_NAME).write_text('{"source": "host", "segments": {"10": 500}}')
    Capture(node).steps()
    assert not (node.state / STATE_NAME).exists()


def test_segments_of_later_releases_are_left_to_cdc_raw(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    segment = node.segment(10)
    segment.write(make_mutation(1))
    capture = Capture(node, commitlog=True)
    capture.steps()
    assert [entry.live for entry in list_directory(node.raw, node.commitlog).segments] == [False]
    assert capture.outlet.chunks == []
    segment.sync()
    capture.steps()
    assert capture.numbers == [1]


def test_a_commit_log_directory_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        check_directories(node.raw, node.state, tmp_path / "nowhere")
    assert "commitlog_directory" in caught.value.hint


@pytest.mark.requirement("FR-001")
def test_an_eager_follower_reads_before_the_marker_and_nothing_twice(tmp_path: Path) -> None:
    node = FakeNode(tmp_path, version=6)
    segment = node.segment(10)
    capture = Capture(node, commitlog=True, eager=True)
    capture.steps()
    (end,) = segment.append(make_mutation(1))
    capture.steps()
    assert capture.numbers == [1]
    assert capture.position == Position(10, end)
    again = Capture(node, capture.position, commitlog=True, eager=True)
    segment.write(make_mutation(2))
    segment.append(make_mutation(3))
    for each in (capture, again):
        each.steps()
        assert each.numbers[-2:] == [2, 3]
    assert (capture.numbers, again.numbers) == ([1, 2, 3], [2, 3])


@pytest.mark.requirement("FR-001")
def test_eager_on_a_later_release_needs_no_index(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    first, second = node.segment(10), node.segment(11)
    capture = Capture(node, eager=True)
    capture.steps()
    first.append(make_mutation(1))
    capture.steps()
    assert capture.numbers == [1]
    first.write(make_mutation(2))
    first.sync()
    first.append(make_mutation(3))
    capture.steps()
    assert capture.numbers == [1, 2, 3]
    first.complete()
    second.append(make_mutation(4))
    capture.steps()
    assert capture.numbers == [1, 2, 3, 4]
    assert capture.anomalies == []


def test_eager_passes_a_segment_without_cdc_data_once_the_next_has_a_section(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    first, second = node.segment(10), node.segment(11)
    first.write(make_mutation(1, OTHER_TABLE))
    capture = Capture(node, eager=True)
    capture.steps()
    second.write(make_mutation(2))
    capture.steps()
    assert capture.numbers == []
    capture.now += 0.3
    capture.steps()
    assert capture.numbers == [2]
    assert capture.follower.counters.skipped["segment_without_cdc_data"] == 1


@pytest.mark.parametrize("looks", range(5))
def test_a_move_between_two_looks_is_neither_missed_nor_read_twice(
    node: FakeNode, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = node.segment(10), node.segment(11)
    first.write(make_mutation(1))
    capture = Capture(node, commitlog=True)
    capture.steps()
    first.write(make_mutation(2))
    first.complete()
    second.write(make_mutation(3))
    scan = directory._scan
    count = 0

    def scanned(*arguments: Any, **options: Any) -> None:
        nonlocal count
        if count == looks:
            first.move()
        count += 1
        scan(*arguments, **options)
        if count == looks:
            first.move()
            count += 1

    monkeypatch.setattr(directory, "_scan", scanned)
    for _ in range(4):
        capture.now += 0.3
        capture.steps()
    assert capture.numbers == [1, 2, 3]
    assert capture.anomalies == []
    assert not first.own.exists()


def test_records_of_segments_that_are_gone_are_forgotten(node: FakeNode) -> None:
    capture = Capture(node, commitlog=True)
    for number in range(1, 30):
        segment, following = node.segment(number), node.segment(number + 1)
        segment.write(make_mutation(number, OTHER_TABLE))
        segment.complete()
        following.write(make_mutation(number, OTHER_TABLE))
        capture.steps()
        capture.now += 0.3
        capture.steps()
        segment.discard()
        following.own.unlink()
    state = json.loads((node.state / STATE_NAME).read_text())
    assert len(state["segments"]) <= 2
    assert capture.follower.counters.gaps == 0


def test_a_state_directory_that_can_not_be_written_stops_capture(node: FakeNode) -> None:
    first, second = node.segment(10), node.segment(11)
    first.write(make_mutation(1))
    second.write(make_mutation(2))
    (node.state / (Path(STATE_NAME).with_suffix(".part"))).mkdir()
    capture = Capture(node, commitlog=True)
    capture.steps()
    capture.now += 0.3
    with pytest.raises(RetryableError) as caught:
        capture.steps()
    assert caught.value.code == "capture_state"
    assert capture.numbers == [1], "nothing behind it was sent"
