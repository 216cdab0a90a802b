"""What a process shows between two lives of its parts."""

from __future__ import annotations

import threading

import pytest

from casscade.core.errors import KAFKA_UNAVAILABLE, RetryableError
from casscade.observability.health import State
from casscade.pipeline.lives import keep_running
from casscade.pipeline.monitor import Monitor


@pytest.mark.requirement("FR-028")
@pytest.mark.parametrize(("code", "state"), [(KAFKA_UNAVAILABLE, State.DOWN), ("schema_behind", State.OK)])
def test_brokers_that_are_away_are_shown(code: str, state: State) -> None:
    monitor, stop = Monitor("shop"), threading.Event()
    monitor.health.set("kafka", State.OK)

    def live() -> None:
        stop.set()
        raise RetryableError(code, "what happened")

    keep_running(live, stop, monitor)
    (kafka,) = monitor.health.components()
    assert kafka.state is state
