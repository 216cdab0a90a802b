"""Components, beats and progress: what makes the process live and ready."""

from __future__ import annotations

import threading

import pytest

from casscade.core.errors import InvariantError
from casscade.observability.health import NAMES_MAX, Health, State


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock, clock, beat_seconds_max=60, progress_seconds_max=30)


@pytest.mark.requirement("FR-028")
def test_before_anything_started_it_is_live_but_not_ready(health: Health) -> None:
    assert health.live().ok
    assert health.ready().reasons == ("nothing has started yet",)


@pytest.mark.requirement("FR-028")
@pytest.mark.parametrize(
    ("state", "ready"), [(State.STARTING, False), (State.OK, True), (State.DEGRADED, True), (State.DOWN, False)]
)
def test_ready_needs_every_component(health: Health, state: State, ready: bool) -> None:
    health.set("cassandra", State.OK)
    health.set("postgres", state, "connection refused")
    assert health.ready().ok is ready
    if not ready:
        assert health.ready().reasons == (f"postgres is {state.value}: connection refused",)


def test_since_changes_with_the_state_only(health: Health, clock: Clock) -> None:
    health.set("postgres", State.OK)
    clock.now += 5
    health.set("postgres", State.OK, "16.2")
    clock.now += 5
    assert [(part.since, part.detail) for part in health.components()] == [(1000.0, "16.2")]
    health.set("postgres", State.DOWN)
    assert health.components()[0].since == 1010.0


@pytest.mark.requirement("FR-028")
def test_a_silent_thread_is_not_live_and_a_retired_one_is_forgotten(health: Health, clock: Clock) -> None:
    health.beat("load")
    health.beat("capture")
    clock.now += 50
    health.beat("capture")
    clock.now += 11
    assert health.live().reasons == ("thread load has not beaten for 61 s",)
    assert not health.ready().ok
    health.retire("load")
    health.retire("load")
    assert health.live().ok


@pytest.mark.requirement("FR-028")
def test_ready_means_progress(health: Health, clock: Clock) -> None:
    health.set("postgres", State.OK)
    clock.now += 30
    assert health.ready().ok
    clock.now += 1
    assert health.ready().reasons == ("no progress for 31 s",)
    assert health.live().ok
    health.progressed()
    assert health.ready().ok


def test_names_are_bounded(health: Health) -> None:
    for number in range(NAMES_MAX):
        health.set(f"part-{number}", State.OK)
        health.beat(f"thread-{number}")
    health.set("part-0", State.DOWN)
    with pytest.raises(InvariantError):
        health.set("one more", State.OK)
    with pytest.raises(InvariantError):
        health.beat("one more")


def test_threads_may_report_at_once(health: Health) -> None:
    def report(number: int) -> None:
        for _ in range(200):
            health.set(f"part-{number}", State.OK)
            health.beat(f"thread-{number}")
            health.progressed()

    threads = [threading.Thread(target=report, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        health.ready()
    assert len(health.components()) == 8
    assert health.ready().ok
