"""The follower as a thread on the direct transport: the lock, backpressure, stopping."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from casscade.capture.directory import lock_directory
from casscade.capture.follower import Follower
from casscade.core.errors import ConfigurationError
from casscade.core.position import START
from casscade.transport.direct import DirectTransport
from tests.support.fake_node import TABLE, FakeNode, make_mutation, number_of


def make_follower(node: FakeNode, transport: DirectTransport, stop: threading.Event) -> Follower:
    """A follower of `node` from the start, with the real clock."""
    return Follower("host", node.raw, node.state, lambda: {TABLE}, transport, START, stop)


@pytest.mark.requirement("FR-024")
def test_a_live_log_flows_through_a_small_queue(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    stop = threading.Event()
    transport = DirectTransport(2000)
    follower = make_follower(node, transport, stop)
    thread = threading.Thread(target=follower.run)
    thread.start()
    expected = 0
    segment = node.segment(1)
    for number in range(2, 6):
        for _ in range(5):
            segment.write(*(make_mutation(expected + i, padding=100) for i in range(20)))
            segment.sync()
            expected += 20
        following = node.segment(number)
        segment.complete()
        segment = following
    received: list[int] = []
    deadline = time.monotonic() + 20
    while (len(received) < expected or len(node.names()) > 1) and time.monotonic() < deadline:
        chunk = transport.get(0.1)
        if chunk is not None:
            received += [number_of(mutation) for mutation in chunk.mutations]
            transport.acknowledge(chunk.source, chunk.end)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert received == list(range(expected))
    assert node.names() == [segment.path.name]
    assert follower.counters.segments_deleted == 4


class Waits(threading.Event):
    """Tells how long was waited, and sets itself after some waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for no time at all."""
        self.waits.append(timeout or 0.0)
        if len(self.waits) == 40:
            self.set()
        return self.is_set()


@pytest.mark.parametrize(("poll_s", "first", "last"), [(0.1, 0.03, 0.1), (2.0, 0.03, 2.0), (0.005, 0.005, 0.005)])
def test_pauses_grow_to_the_configured_one(tmp_path: Path, poll_s: float, first: float, last: float) -> None:
    node = FakeNode(tmp_path)
    stop = Waits()
    Follower("host", node.raw, node.state, set, DirectTransport(10), START, stop, poll_s=poll_s).run()
    assert stop.waits[0] == pytest.approx(first)
    assert stop.waits[-1] == pytest.approx(last)
    assert stop.waits == sorted(stop.waits)


def test_stop_ends_a_follower_that_waits_for_room(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    segment = node.segment(1)
    for number in range(5):
        segment.write(*(make_mutation(number, padding=200) for _ in range(600)))
    segment.complete()
    stop = threading.Event()
    thread = threading.Thread(target=make_follower(node, DirectTransport(10), stop).run)
    thread.start()
    time.sleep(0.1)
    assert thread.is_alive()
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert segment.path.exists()


def test_a_second_follower_is_refused(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    with lock_directory(node.raw), pytest.raises(ConfigurationError) as caught:
        make_follower(node, DirectTransport(10), threading.Event()).run()
    assert caught.value.code == "capture_locked"


def test_a_directory_that_goes_away_stops_capture(tmp_path: Path) -> None:
    node = FakeNode(tmp_path)
    errors: list[ConfigurationError] = []

    def run() -> None:
        try:
            make_follower(node, DirectTransport(10), threading.Event()).run()
        except ConfigurationError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    node.raw.rename(tmp_path / "elsewhere")
    thread.join(5)
    assert [error.code for error in errors] == ["capture_directory"]
