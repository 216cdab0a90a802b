"""The space guard: ratio, thresholds reported once, forecast."""

from __future__ import annotations

from pathlib import Path

import pytest

from casscade.capture.node_sizes import cdc_total_bytes, mutation_bytes_max
from casscade.capture.space import SpaceGuard, SpaceMeter, SpaceReading, default_total_bytes, used_bytes


def test_each_threshold_is_reported_once() -> None:
    meter = SpaceMeter(1000)
    crossings = []
    for now, used in enumerate([0, 499, 500, 600, 740, 751, 900, 950, 1000]):
        reading, crossed = meter.observe(now, used)
        if crossed:
            crossings.append((used, reading.threshold))
    assert crossings == [(500, 0.50), (751, 0.75), (900, 0.90)]


def test_a_level_that_wavers_around_a_threshold_is_not_reported_again() -> None:
    meter = SpaceMeter(1000)
    crossings = [meter.observe(now, used)[1] for now, used in enumerate([760, 740, 760, 740, 760])]
    assert crossings == [True, False, False, False, False]
    reading, crossed = meter.observe(10, 690)
    assert crossed
    assert reading.threshold == 0.50
    reading, crossed = meter.observe(11, 100)
    assert crossed
    assert reading.threshold == 0.0
    assert meter.observe(12, 760)[1]


def test_the_forecast_follows_the_growth() -> None:
    meter = SpaceMeter(1000)
    assert meter.observe(0.0, 100)[0].seconds_left is None
    assert meter.observe(10.0, 200)[0].seconds_left == pytest.approx(80.0)
    assert meter.observe(20.0, 100)[0].seconds_left is None
    assert meter.observe(30.0, 1000)[0].seconds_left == 0.0


def test_the_forecast_forgets_the_distant_past() -> None:
    meter = SpaceMeter(1_000_000)
    for second in range(1000):
        reading, _ = meter.observe(float(second), 0 if second < 900 else (second - 899) * 100)
    assert reading.seconds_left == pytest.approx((1_000_000 - 10_000) / 100)


def test_the_guard_reads_the_directory_and_calls_back(tmp_path: Path) -> None:
    readings: list[SpaceReading] = []
    now = [0.0]
    guard = SpaceGuard(tmp_path, 1000, readings.append, lambda: now[0])
    assert guard.check().ratio == 0.0
    (tmp_path / "CommitLog-8-1.log").write_bytes(b"x" * 700)
    (tmp_path / "CommitLog-8-1_cdc.idx").write_bytes(b"x" * 60)
    now[0] = 10.0
    reading = guard.check()
    assert reading == SpaceReading(760, 1000, 0.76, 0.75, 240 * 10 / 760)
    guard.check()
    assert readings == [reading]
    assert used_bytes(tmp_path) == 760


def test_the_default_space_is_cassandras(tmp_path: Path) -> None:
    assert 0 < default_total_bytes(tmp_path) <= 4096 << 20
    assert SpaceGuard(tmp_path, None, print).check().total_bytes == default_total_bytes(tmp_path)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"cdc_total_space": "4096MiB"}, 4096 << 20),
        ({"cdc_total_space": "8GiB"}, 8 << 30),
        ({"cdc_total_space": "1048576KiB"}, 1 << 30),
        ({"cdc_total_space_in_mb": "256"}, 256 << 20),
        ({"cdc_total_space": "0MiB"}, None),
        ({"cdc_total_space_in_mb": "0"}, None),
        ({"cdc_total_space": None}, None),
        ({"cdc_total_space": "much"}, None),
        ({"cdc_total_space_in_mb": "-1"}, None),
        ({}, None),
    ],
)
def test_the_node_tells_its_space(settings: dict[str, str | None], expected: int | None) -> None:
    assert cdc_total_bytes(settings) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"max_mutation_size": "16384KiB", "commitlog_segment_size": "64MiB"}, 16 << 20),
        ({"max_mutation_size": None, "commitlog_segment_size": "32MiB"}, 16 << 20),
        ({"max_mutation_size_in_kb": "1024"}, 1 << 20),
        ({"commitlog_segment_size_in_mb": "64"}, 32 << 20),
        ({}, None),
    ],
)
def test_the_node_tells_its_largest_mutation(settings: dict[str, str | None], expected: int | None) -> None:
    assert mutation_bytes_max(settings) == expected
