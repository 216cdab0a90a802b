"""What `casscade check` says about latency, from the settings of nodes of all releases."""

from __future__ import annotations

import pytest

from casscade.capture.visibility import visibility

PERIODIC_4_0 = {"commitlog_sync": "periodic", "commitlog_sync_period_in_ms": "1000", "commitlog_compression": None}
PERIODIC_5_0 = {
    "commitlog_sync": "periodic",
    "commitlog_sync_period": "1000ms",
    "commitlog_sync_group_window": "0ms",
    "commitlog_compression": None,
    "commitlog_disk_access_mode": "legacy",
    "cdc_block_writes": "true",
    "cdc_total_space": "4096MiB",
}
LZ4 = "ParameterizedClass{class_name='LZ4Compressor', parameters={}}"


def warnings(release: str = "5.0.6", *, eager: bool = False, commitlog: bool = False, **changes: str) -> str:
    """All warnings for the settings above with `changes`."""
    return "\n".join(visibility(release, {**PERIODIC_5_0, **changes}, eager=eager, commitlog=commitlog).warnings)


@pytest.mark.parametrize(
    ("release", "settings", "bound"),
    [
        ("4.0.19", PERIODIC_4_0, "after up to 1000 ms: commitlog_sync: periodic, 1000 ms"),
        ("5.0.6", PERIODIC_5_0, "after up to 1000 ms: commitlog_sync: periodic, 1000 ms"),
        ("4.1.10", {**PERIODIC_5_0, "commitlog_sync_period": "1s"}, "after up to 1000 ms"),
        ("5.0.6", {"commitlog_sync": "batch", "commitlog_sync_period": "0ms"}, "before they are acknowledged"),
        ("5.0.6", {"commitlog_sync": "group", "commitlog_sync_group_window": "15ms"}, "a window of 15 ms"),
        ("4.0.19", {"commitlog_sync": "group", "commitlog_sync_group_window_in_ms": "15.0"}, "a window of 15 ms"),
        ("4.0.19", {"commitlog_sync": "group", "commitlog_sync_group_window_in_ms": "NaN"}, "an unknown time"),
        ("6.0", {"commitlog_sync": "sometimes"}, "unknown"),
        ("6.0", {"commitlog_sync": "periodic", "commitlog_sync_period": "soon"}, "an unknown period"),
    ],
)
def test_one_line_says_how_soon_writes_are_seen(release: str, settings: dict[str, str | None], bound: str) -> None:
    found = visibility(release, settings, eager=False, commitlog=False)
    assert bound in found.bound
    assert found.warnings == ()


@pytest.mark.parametrize("value", ["10000ms", "10s", "10000"])
def test_the_default_of_ten_seconds_is_warned_about(value: str) -> None:
    assert "commitlog_sync_period is 10000 ms" in warnings(commitlog_sync_period=value)
    assert "commitlog_sync_period: 1000ms" in warnings(commitlog_sync_period=value)
    assert warnings(commitlog_sync_period=value, eager=True) == ""


def test_eager_does_not_wait_where_it_can() -> None:
    found = visibility("5.0.6", PERIODIC_5_0, eager=True, commitlog=False)
    assert "within milliseconds" in found.bound
    assert found.warnings == ()
    for changes in ({"commitlog_compression": LZ4}, {"commitlog_disk_access_mode": "direct"}):
        found = visibility("5.0.6", {**PERIODIC_5_0, **changes}, eager=True, commitlog=False)
        assert "after up to 1000 ms" in found.bound
        assert "eager has no effect" in found.warnings[0]
    assert "LZ4Compressor" in warnings(eager=True, commitlog_compression=LZ4)
    assert warnings(commitlog_compression=LZ4) == ""
    assert warnings(commitlog_disk_access_mode="direct") == ""


def test_what_may_lose_changes_is_warned_about() -> None:
    assert "full (4096MiB)" in warnings(cdc_block_writes="false")
    assert "1/8 of the volume" in warnings(cdc_block_writes="false", cdc_total_space="0MiB")


def test_before_4_0_the_reader_is_told_what_to_look_at() -> None:
    without = visibility("3.11.19", {}, eager=False, commitlog=False)
    assert "minutes to hours" in without.bound
    assert "capture.commitlog_directory" in without.warnings[0]
    synced = visibility("3.11.19", {}, eager=False, commitlog=True)
    assert "after up to 100 ms" in synced.bound
    assert "commitlog_sync_period_in_ms" in synced.warnings[0]
    assert "within milliseconds" in visibility("3.11.19", {}, eager=True, commitlog=True).bound


def test_a_key_without_effect_is_named() -> None:
    assert "no effect on Cassandra 4.1.10" in warnings("4.1.10", commitlog=True)
