"""The latency histogram against exact percentiles."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casscade.observability.latency import LEAST_S, RESOLUTION, LatencyHistogram

LATENCIES = st.lists(st.floats(min_value=LEAST_S, max_value=90_000.0), min_size=1, max_size=300)
PERCENT = st.floats(min_value=0.0, max_value=100.0)


def filled(latencies: list[float]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    for seconds in latencies:
        histogram.record(seconds)
    return histogram


@pytest.mark.requirement("FR-026")
@given(latencies=LATENCIES, percent=PERCENT)
def test_percentiles_are_exact_to_one_percent(latencies: list[float], percent: float) -> None:
    exact = sorted(latencies)[max(math.ceil(len(latencies) * percent / 100), 1) - 1]
    assert filled(latencies).percentile(percent) == pytest.approx(exact, rel=RESOLUTION / 2 + 1e-6)


@given(left=LATENCIES, right=LATENCIES, percent=PERCENT)
def test_merging_is_recording_both(left: list[float], right: list[float], percent: float) -> None:
    merged = filled(left)
    merged.merge(filled(right))
    assert merged.to_json() == filled(left + right).to_json()
    assert merged.percentile(percent) == filled(left + right).percentile(percent)


@given(latencies=st.lists(st.floats(min_value=0.0, max_value=1e6), max_size=50), percent=PERCENT)
def test_json_keeps_everything(latencies: list[float], percent: float) -> None:
    histogram = filled(latencies)
    again = LatencyHistogram.from_json(json.loads(json.dumps(histogram.to_json())))
    assert again.to_json() == histogram.to_json()
    assert again.count == histogram.count
    assert again.percentile(percent) == histogram.percentile(percent)
