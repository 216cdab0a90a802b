"""What the benchmark over Kafka makes of its measurements."""

from __future__ import annotations

import pytest

from casscade.bench.kafka_path import Round
from casscade.bench.kafka_run import cpu_us
from casscade.bench.model import need, predicted_rate

COSTS = {"agent": 8.0, "broker": 2.0, "loaders": 15.0, "postgres": 10.0}


@pytest.mark.requirement("SC-006")
def test_ten_instances_need_ten_times_what_one_does() -> None:
    ten = need(COSTS, wal_bytes=250.0, topic_bytes=100.0)
    one = need(COSTS, 250.0, 100.0, events_per_second=10_000, instances=1)
    assert ten.cores == {"agent": 0.8, "broker": 0.2, "loaders": 1.5, "postgres": 1.0}
    assert ten.events_per_instance == one.events_per_second == 10_000
    assert ten.loader_cores_each == pytest.approx(one.loader_cores_each) == pytest.approx(0.15)
    assert (ten.partitions, ten.wal_bandwidth, ten.topic_bandwidth) == (20, 25e6, 10e6)


def test_cores_are_shared_by_all_parts() -> None:
    assert predicted_rate(COSTS, 2) == pytest.approx(2e6 / 35)


def test_a_cost_that_is_not_known_is_left_out() -> None:
    rounds = [Round(1.0, 0.5, 0, {"agent": spent, "postgres": None}) for spent in (0.001, 0.003, 0.002)]
    assert cpu_us(rounds, 1000) == {"agent": 2.0}
