"""Retries and the circuit breaker, with a clock of their own: no test waits."""

from __future__ import annotations

from functools import partial

import pytest

from casscade.core.circuit import Circuit, CircuitState
from casscade.core.retry import Retries, RetryPolicy


class Clock:
    """Time that only moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def no_jitter() -> float:
    return 0.0


@pytest.mark.requirement("FR-019")
@pytest.mark.requirement("US-5")
def test_waits_double_up_to_a_minute_for_five_minutes() -> None:
    clock = Clock()
    retries = Retries(RetryPolicy(), clock, no_jitter)
    waits = []
    while not retries.spent:
        waits.append(retries.fail())
        assert retries.wait_s == waits[-1]
        clock.now += waits[-1]
    assert waits[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert max(waits) == 60
    # The last try is made when the five minutes end, not up to a minute later.
    assert retries.failing_s == pytest.approx(300.0)


@pytest.mark.requirement("FR-019")
def test_jitter_shortens_a_wait_by_a_quarter_at_most() -> None:
    waits = {share: Retries(RetryPolicy(), Clock(), partial(float, share)).fail() for share in (0.0, 0.5, 0.999)}
    assert waits[0.0] == 1.0
    assert waits[0.5] == pytest.approx(0.875)
    assert 0.75 <= waits[0.999] < 0.7503


def test_a_success_begins_anew() -> None:
    clock = Clock()
    retries = Retries(RetryPolicy(for_s=10.0), clock, no_jitter)
    for _ in range(5):
        retries.fail()
        clock.now += 3.0
    assert retries.spent
    retries.succeed()
    assert (retries.spent, retries.failures, retries.failing_s, retries.wait_s) == (False, 0, 0.0, 0.0)
    assert retries.fail() == 1.0


def opened(clock: Clock) -> Circuit:
    circuit = Circuit(clock)
    for number in range(5):
        assert circuit.state is CircuitState.CLOSED, number
        assert circuit.allow()
        circuit.failed()
    assert circuit.state is CircuitState.OPEN
    return circuit


@pytest.mark.requirement("FR-020")
def test_opens_after_five_failures_and_lets_one_attempt_through_after_a_minute() -> None:
    clock = Clock()
    circuit = opened(clock)
    assert (circuit.allow(), circuit.wait_s) == (False, 60.0)
    clock.now += 59.9
    assert not circuit.allow()
    clock.now += 0.1
    assert circuit.allow()
    assert circuit.state is CircuitState.HALF_OPEN
    assert not circuit.allow(), "one attempt, not two"


@pytest.mark.requirement("FR-020")
def test_the_one_attempt_closes_it_or_opens_it_for_another_minute() -> None:
    clock = Clock()
    circuit = opened(clock)
    clock.now += 60.0
    assert circuit.allow()
    circuit.failed()
    assert (circuit.state, circuit.wait_s) == (CircuitState.OPEN, 60.0)
    clock.now += 60.0
    assert circuit.allow()
    circuit.succeeded()
    assert circuit.state is CircuitState.CLOSED
    assert circuit.opened == 1
    for _ in range(4):
        circuit.failed()
    assert circuit.state is CircuitState.CLOSED, "only failures in a row count"


@pytest.mark.requirement("FR-020")
def test_failures_that_are_not_in_a_row_leave_it_closed() -> None:
    circuit = Circuit(Clock())
    for _ in range(10):
        for _ in range(4):
            circuit.failed()
        circuit.succeeded()
    assert circuit.state is CircuitState.CLOSED


@pytest.mark.requirement("SC-009")
def test_a_server_that_answers_is_tried_early_but_less_often_when_that_fails() -> None:
    clock = Clock()
    circuit = opened(clock)
    assert not circuit.answered(), "it has just failed"
    early = []
    for _ in range(6):
        begin = clock.now
        while not circuit.answered():
            clock.now += 1.0
        early.append(clock.now - begin)
        assert not circuit.allow(), "the attempt is under way"
        circuit.failed()
    assert early == [5, 10, 20, 40, 60, 60]
    clock.now += 60.0
    assert circuit.answered()
    circuit.succeeded()
    assert circuit.state is CircuitState.CLOSED
    assert not circuit.answered()
