"""Totals over all lives of a pipeline."""

from __future__ import annotations

from typing import Any

import pytest

from casscade.demo.ledger import Ledger
from casscade.observability.latency import LatencyHistogram


def document(pid: int, latencies: list[float], *, rows: int = 0, snapshot: list[dict[str, Any]] | None = None) -> Any:
    histogram = LatencyHistogram()
    for latency in latencies:
        histogram.record(latency)
    return {
        "pid": pid,
        "latency_histogram": histogram.to_json(),
        "rows": {"written": rows, "expired": rows // 10},
        "batches": len(latencies),
        "dead_letters": {"value_range": 1} if rows == 7 else {},
        "snapshot": snapshot or [],
    }


def table(done: int, rows: int) -> dict[str, Any]:
    return {"rows": rows, "ranges_done": done, "ranges_total": 4, "percent": 25.0 * done}


def test_only_the_newest_document_of_a_life_counts() -> None:
    ledger = Ledger()
    ledger.observe(document(1, [1.0], rows=10))
    ledger.observe(document(1, [1.0, 1.0], rows=30))
    assert (ledger.latency().count, ledger.rows_written, ledger.rows_expired, ledger.batches) == (2, 30, 3, 2)


def test_lives_add_up() -> None:
    ledger = Ledger()
    ledger.observe(document(1, [0.5] * 90, rows=100))
    ledger.observe(document(2, [4.0] * 10, rows=50))
    assert [life.count for life in ledger.latencies()] == [90, 10]
    assert (ledger.latency().count, ledger.rows_written) == (100, 150)
    assert ledger.latency().percentile(50) == pytest.approx(0.5, rel=0.02)
    assert ledger.latency().percentile(95) == pytest.approx(4.0, rel=0.02)


def test_the_latency_of_one_life_is_its_own() -> None:
    ledger = Ledger()
    ledger.observe(document(1, [0.5] * 3))
    ledger.observe(document(2, [4.0]))
    counts = {pid: None if (life := ledger.latency_of(pid)) is None else life.count for pid in (1, 2, 3)}
    assert counts == {1: 3, 2: 1, 3: None}


def test_the_snapshot_is_known_until_the_next_life_tells_it() -> None:
    ledger = Ledger()
    assert not ledger.snapshot_finished
    assert ledger.snapshot_percent == 0.0
    ledger.observe(document(1, [], snapshot=[table(4, 100), table(2, 10)]))
    assert not ledger.snapshot_finished
    assert (ledger.snapshot_rows, ledger.snapshot_percent) == (110, 75.0)
    ledger.observe(document(2, []))
    assert (ledger.snapshot_rows, ledger.snapshot_percent) == (110, 75.0)
    ledger.observe(document(2, [], snapshot=[table(4, 100), table(4, 20)]))
    assert ledger.snapshot_finished


def test_dead_letters_are_counted_over_all_lives() -> None:
    ledger = Ledger()
    assert ledger.dead_letters == 0
    ledger.observe(document(1, [], rows=7))
    ledger.observe(document(2, [], rows=7))
    assert ledger.dead_letters == 2


def test_only_a_life_that_answered_has_a_document() -> None:
    ledger = Ledger()
    ledger.observe(document(1, []))
    assert ledger.current(None) is None
    assert ledger.current(2) is None
    assert ledger.current(1) is not None
