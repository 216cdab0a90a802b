"""The latency histogram at its edges; tests/property compares it with exact percentiles."""

from __future__ import annotations

import json
import math

import pytest

from casscade.core.errors import BadDataError
from casscade.observability.latency import LEAST_S, MOST_S, LatencyHistogram


def test_no_event_has_no_percentile() -> None:
    assert LatencyHistogram().percentile(95) is None
    assert LatencyHistogram.from_json(json.loads(json.dumps(LatencyHistogram().to_json()))).percentile(50) is None


@pytest.mark.requirement("FR-026")
def test_one_event_is_every_percentile() -> None:
    histogram = LatencyHistogram()
    histogram.record(0.731)
    assert [histogram.percentile(percent) for percent in (0, 50, 95, 99, 100)] == [0.731] * 5


def test_times_counts_as_many_events() -> None:
    histogram = LatencyHistogram()
    histogram.record(0.1, times=94)
    histogram.record(3.0, times=6)
    assert histogram.count == 100
    assert histogram.percentile(94) == pytest.approx(0.1, rel=0.01)
    assert histogram.percentile(95) == pytest.approx(3.0, rel=0.01)


@pytest.mark.parametrize("seconds", [-5.0, 0.0, LEAST_S / 3, LEAST_S, MOST_S, MOST_S * 1000])
def test_the_ends_hold_what_lies_outside(seconds: float) -> None:
    histogram = LatencyHistogram()
    histogram.record(seconds)
    found = histogram.percentile(50)
    assert found is not None
    assert found == pytest.approx(max(seconds, 0.0))


def test_every_bound_falls_into_its_bucket() -> None:
    seconds = LEAST_S
    while seconds < MOST_S:
        for near in (math.nextafter(seconds, 0), seconds, math.nextafter(seconds, math.inf)):
            histogram = LatencyHistogram()
            histogram.record(near)
            histogram.record(MOST_S)
            assert histogram.percentile(50) == pytest.approx(near, rel=0.0101)
        seconds *= 1.37


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"resolution": 0.01, "counts": {}, "least": None, "most": 0},
        {"resolution": 0.02, "counts": {"-1": 1}, "least": 1, "most": 1},
        {"resolution": 0.02, "counts": {"99999999": 1}, "least": 1, "most": 1},
        {"resolution": 0.02, "counts": {"5": -1}, "least": 1, "most": 1},
        {"resolution": 0.02, "counts": {"five": 1}, "least": 1, "most": 1},
        {"resolution": 0.02, "counts": [1], "least": 1, "most": 1},
        {"resolution": 0.02, "counts": {"5": 1}, "least": "x", "most": 1},
    ],
)
def test_what_is_no_histogram_is_bad_data(data: object) -> None:
    with pytest.raises(BadDataError):
        LatencyHistogram.from_json(data)
