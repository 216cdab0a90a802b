"""What was lost is told once and after any restart; what goes by itself is no loss."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import pytest

from casscade.capture.journal import note_off
from casscade.capture.losses import NODE
from casscade.core.errors import ConfigurationError
from casscade.core.notice import BEGIN, CDC_OFF, GAP, SEGMENT_VANISHED, SEGMENTS_EVICTED, STATE_LOST, TABLE_CDC_OFF
from casscade.core.position import Position
from tests.support.capture import SOURCE, Capture, MemoryOutlet
from tests.support.fake_node import FakeNode, make_mutation

TABLE_ID = str(uuid.UUID(int=7))


@pytest.fixture(params=[False, True], ids=["plain", "lz4"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> FakeNode:
    return FakeNode(tmp_path, compressed=request.param)


def gaps(capture: Capture) -> list[str]:
    """The reasons of the gaps told in this life."""
    return [notice.reason for notice in capture.outlet.notices if notice.kind == GAP]


def settle(capture: Capture) -> Capture:
    """Read and acknowledge all there is."""
    capture.steps()
    capture.outlet.acknowledge()
    capture.steps()
    return capture


def again(node: FakeNode, capture: Capture, **options: object) -> Capture:
    """Another life at the durable position."""
    capture.follower.close()
    return Capture(node, capture.outlet.position, **options)  # type: ignore[arg-type]


def open_segment(node: FakeNode, number: int) -> None:
    segment = node.segment(number)
    segment.write(make_mutation(number))
    segment.sync()


@pytest.mark.requirement("FR-023")
def test_starts_and_ends_of_agent_and_node_are_no_losses(node: FakeNode) -> None:
    first = node.segment(10)
    first.write(make_mutation(1))
    first.sync()
    node.segment(11)  # the spare one
    capture = settle(Capture(node))
    assert [notice.kind for notice in capture.outlet.notices] == [BEGIN]
    capture = settle(again(node, capture))
    first.write(make_mutation(2))
    first.complete()
    capture = settle(again(node, capture))
    assert capture.numbers == [2]
    assert not first.path.exists(), "read, acknowledged and deleted"
    capture = settle(again(node, capture))
    # The node ends cleanly: its spare segment goes; it begins with another id, and one without CDC data passes by.
    (node.raw / "CommitLog-8-11.log").unlink()
    empty = node.segment(5000)
    second = node.segment(5001)
    second.write(make_mutation(3))
    second.sync()
    capture = settle(again(node, capture))
    empty.discard()
    capture.steps()
    assert capture.numbers == [3]
    capture = settle(again(node, capture))
    assert gaps(capture) == []
    assert capture.outlet.notices == []


@pytest.mark.requirement("FR-023")
def test_a_segment_deleted_while_the_agent_is_down_is_told_until_a_later_position_is_durable(node: FakeNode) -> None:
    open_segment(node, 10)
    capture = settle(Capture(node))
    (node.raw / "CommitLog-8-10.log").unlink()
    open_segment(node, 11)
    capture = again(node, capture)
    capture.steps()
    assert gaps(capture) == [SEGMENT_VANISHED]
    (notice,) = capture.outlet.notices
    assert (notice.source, notice.position.segment, notice.key) == (SOURCE, 10, "segment_vanished:10")
    assert capture.numbers == [11]
    # Killed before anything was durable: the same again, by the same key.
    capture = again(node, capture)
    capture.steps()
    assert [each.key for each in capture.outlet.notices] == ["segment_vanished:10"]
    assert (capture.reasons, capture.follower.counters.gaps) == ([], 0), "it was reported before"
    settle(capture)
    segment_twelve = node.segment(12)
    segment_twelve.write(make_mutation(12))
    segment_twelve.sync()
    capture = settle(again(node, capture))
    assert [each.key for each in settle(again(node, capture)).outlet.notices] == []


def test_what_the_agent_had_read_and_not_finished_counts_as_lost(node: FakeNode) -> None:
    open_segment(node, 10)
    capture = settle(Capture(node))
    position = capture.outlet.position
    for path in node.raw.iterdir():
        path.unlink()
    open_segment(node, 20)
    capture = again(node, capture)
    capture.steps()
    assert [(each.reason, each.position) for each in capture.outlet.notices] == [(SEGMENT_VANISHED, position)]


@pytest.mark.requirement("FR-023")
def test_what_still_goes_into_a_segment_without_its_link_is_lost_up_to_its_end(node: FakeNode) -> None:
    segment = node.segment(10)
    segment.write(make_mutation(1))
    segment.sync()
    capture = settle(Capture(node))
    segment.path.unlink()
    capture = again(node, capture)
    capture.steps()
    assert [each.key for each in capture.outlet.notices] == ["segment_vanished:10"]
    segment.write(make_mutation(2))
    segment.sync()
    capture.steps()
    assert len(capture.outlet.notices) == 1, "it is not over"
    # It ends while the agent is down.
    capture.follower.close()
    segment.complete()
    open_segment(node, 11)
    capture = again(node, capture)
    capture.steps()
    assert {each.key for each in capture.outlet.notices} == {"segment_vanished:10", "segment_vanished:10:end"}
    assert capture.numbers == [11]
    capture.steps()
    assert len(capture.outlet.notices) == 2


def test_a_segment_that_was_finished_may_go(node: FakeNode) -> None:
    segment = node.segment(10)
    segment.write(make_mutation(1))
    segment.complete()
    node.segment(11)
    capture = Capture(node, released=lambda: Position(0, 0))
    capture.steps()
    capture.outlet.acknowledge()
    capture.steps()
    assert segment.path.exists(), "kept for a truncation"
    segment.path.unlink()
    segment.index.unlink()
    capture = again(node, capture)
    capture.steps()
    assert gaps(capture) == []


class LateOutlet(MemoryOutlet):
    """What was put becomes durable right after somebody asked how far it is."""

    def acknowledged(self, source: str) -> Position:
        before = self.position
        self.acknowledge()
        return before


def test_what_became_durable_between_two_looks_is_deleted_without_being_missed(node: FakeNode) -> None:
    """Killed right after a segment was deleted, whatever the last look knew of it."""
    outlet = LateOutlet()
    capture = Capture(node, outlet=outlet)
    for number in range(10, 14):
        segment = node.segment(number)
        segment.write(make_mutation(number))
        segment.sync()
        capture.steps()
        segment.complete()
        while segment.path.exists():
            capture.follower.step()
            killed = Capture(node, outlet.position)
            capture.follower.close()
            killed.steps()
            assert gaps(killed) == [], number
            killed.follower.close()
            capture = Capture(node, outlet.position, outlet=outlet)
    assert gaps(capture) == []


@pytest.mark.requirement("FR-023")
def test_a_position_that_is_gone_is_told_as_a_begin_that_lost_a_run(node: FakeNode) -> None:
    open_segment(node, 10)
    capture = settle(Capture(node))
    (begun,) = capture.outlet.notices
    capture.follower.close()
    capture = Capture(node)
    capture.steps()
    (lost,) = capture.outlet.notices
    assert (lost.kind, lost.reason) == (BEGIN, STATE_LOST)
    assert lost.key != begun.key
    # Until a position is durable, every start says the same.
    capture.follower.close()
    capture = Capture(node)
    capture.steps()
    assert capture.outlet.notices == [lost]


def test_a_position_that_was_never_kept_is_none_that_is_gone(node: FakeNode) -> None:
    """An agent that is killed between the brokers' acknowledgement and its next look at the position file."""
    open_segment(node, 10)
    capture = Capture(node)
    capture.follower.losses.is_kept = lambda _: False
    settle(capture)
    (begun,) = capture.outlet.notices
    capture.follower.close()
    capture = Capture(node)
    capture.steps()
    assert capture.outlet.notices == [begun]


def test_a_state_directory_that_is_gone_begins_another_run(node: FakeNode) -> None:
    open_segment(node, 10)
    capture = settle(Capture(node))
    (begun,) = capture.outlet.notices
    capture.follower.close()
    shutil.rmtree(node.state)
    capture = Capture(node)
    capture.steps()
    (lost,) = capture.outlet.notices
    assert (lost.kind, lost.reason) == (BEGIN, "")
    assert lost.key != begun.key, "the loaders know another run of this source"


def test_without_a_journal_the_segment_of_the_position_decides(node: FakeNode) -> None:
    open_segment(node, 10)
    capture = settle(Capture(node))
    shutil.rmtree(node.state)
    capture = settle(again(node, capture))
    assert gaps(capture) == [], "it is there, and Cassandra deletes the oldest first"
    shutil.rmtree(node.state)
    for path in node.raw.iterdir():
        path.unlink()
    open_segment(node, 11)
    capture = again(node, capture)
    capture.steps()
    assert gaps(capture) == [STATE_LOST]


def test_a_damaged_journal_counts_as_none(node: FakeNode) -> None:
    open_segment(node, 10)
    capture = settle(Capture(node))
    for content in ("", "{", '{"format": 9}', '{"format": 1, "run": "x", "pending": [["!", 1, 2]]}', "[]"):
        (node.state / f"journal-{SOURCE}.json").write_text(content, encoding="ascii")
        capture = settle(again(node, capture))
        assert gaps(capture) == []


@pytest.mark.requirement("FR-023")
def test_a_node_that_deletes_unread_segments_is_believed_to_have_done_so_when_its_space_is_short(
    node: FakeNode,
) -> None:
    segment = node.segment(10)
    segment.write(make_mutation(1))
    segment.complete()
    node.segment(11)
    capture = settle(Capture(node))
    (node.raw / "CommitLog-8-11.log").unlink()
    open_segment(node, 30)
    capture = again(node, capture, evicting=lambda: False)
    capture.steps()
    assert gaps(capture) == [], "a segment without CDC data goes by itself"
    capture.follower.close()
    shutil.copy(node.state / f"journal-{SOURCE}.json", node.state / "copy")
    capture = Capture(node, capture.outlet.position, evicting=lambda: True)
    capture.steps()
    assert gaps(capture) == [], "the newest segment of the last life is there"


def test_the_newest_segment_of_the_last_life_tells_of_an_eviction(node: FakeNode) -> None:
    segment = node.segment(10)
    segment.write(make_mutation(1))
    segment.complete()
    node.segment(11)
    capture = settle(Capture(node))
    (node.raw / "CommitLog-8-11.log").unlink()
    open_segment(node, 30)
    capture = again(node, capture, evicting=lambda: True)
    capture.steps()
    assert gaps(capture) == [SEGMENTS_EVICTED]


@pytest.mark.requirement("FR-023")
def test_cdc_that_was_off_is_a_gap_once_it_is_on_again(node: FakeNode) -> None:
    open_segment(node, 10)
    capture = settle(Capture(node))
    losses = capture.follower.losses
    losses.switched_off(frozenset({NODE, TABLE_ID}))
    capture.steps()
    assert gaps(capture) == []
    assert losses.off == sorted([NODE, TABLE_ID])
    # The agent ends meanwhile, and finds it on.
    capture = again(node, capture)
    capture.follower.losses.switched_off(frozenset())
    capture.steps()
    found = {each.reason: each.table for each in capture.outlet.notices}
    assert found == {CDC_OFF: None, TABLE_CDC_OFF: uuid.UUID(TABLE_ID)}
    assert capture.follower.losses.off == []


def test_a_start_that_found_cdc_off_is_remembered_by_the_next(node: FakeNode) -> None:
    note_off(node.state, SOURCE, NODE, 5)
    assert not (node.state / f"journal-{SOURCE}.json").exists(), "nothing was ever captured"
    open_segment(node, 10)
    capture = settle(Capture(node))
    capture.follower.close()
    note_off(node.state, SOURCE, NODE, 5)
    capture = again(node, capture)
    capture.follower.losses.switched_off(frozenset())
    capture.steps()
    assert [each.key for each in capture.outlet.notices] == [f"{CDC_OFF}:node:5"]


@pytest.mark.requirement("FR-022")
def test_damage_is_a_gap_with_its_bytes_or_halts(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    segment = node.segment(10)
    start = segment.logical + 8
    segment.write(make_mutation(1), make_mutation(2))
    segment.complete()
    segment.damage(start + 20)
    halted = Capture(node, halt_on_damage=True)
    with pytest.raises(ConfigurationError, match="segment 10 is damaged at offset 28") as caught:
        halted.steps()
    assert caught.value.code == "segment_damaged"
    assert "on_corruption: continue" in caught.value.hint
    assert halted.numbers == []
    halted.follower.close()
    capture = Capture(node)
    capture.steps()
    (damage,) = [each for each in capture.outlet.notices if each.kind == GAP]
    assert (damage.reason, damage.position, damage.version) == ("frame_checksum", Position(10, start), 8)
    assert len(damage.content) == len(make_mutation(1))
    assert capture.numbers == [2]
