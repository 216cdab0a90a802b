"""A loader's view of its brokers, by the statistics of its client."""

from __future__ import annotations

import json

import pytest

from casscade.observability.health import Health, State
from casscade.pipeline.kafka import show_brokers
from casscade.transport.kafka.reach import Reach


def _statistics(**brokers: str) -> str:
    return json.dumps({"brokers": {name: {"state": state} for name, state in brokers.items()}})


@pytest.mark.requirement("FR-019")
def test_no_broker_is_reached_from_when_none_is_up_until_one_is() -> None:
    now = [100.0]
    reach = Reach(lambda: now[0])
    reach.told(_statistics(one="UP", two="DOWN"))
    assert reach.down_seconds == 0.0
    reach.told(_statistics(one="TRY_CONNECT", two="DOWN"))
    now[0] += 3
    reach.told(_statistics(one="DOWN", two="DOWN"))
    now[0] += 4
    assert reach.down_seconds == 7.0
    reach.told(_statistics(one="DOWN", two="UP"))
    assert reach.down_seconds == 0.0


@pytest.mark.requirement("FR-028")
def test_brokers_that_are_away_show_in_the_health_and_so_does_their_return() -> None:
    health = Health(lambda: 0.0, lambda: 0.0)
    for down, state in ((0.0, State.OK), (2.0, State.OK), (30.0, State.DOWN), (0.0, State.OK)):
        show_brokers(health, down)
        (component,) = health.components()
        assert (component.name, component.state) == ("kafka", state)
        assert health.ready().ok is (state is State.OK)
