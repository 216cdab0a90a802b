"""The proof: it passes for equal sides, and for nothing else."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console

from casscade.demo.proof import Proof, render
from casscade.demo.tables import TABLES
from casscade.observability.latency import LatencyHistogram
from casscade.verify.compare import Difference, TableComparison


def latency(*seconds: float) -> LatencyHistogram:
    histogram = LatencyHistogram()
    for value in seconds:
        histogram.record(value)
    return histogram


def equal(name: str) -> TableComparison:
    return TableComparison(f"shop.{name}", rows_cassandra=1200, rows_postgres=1200)


PROOF = Proof(
    tables=[equal(name) for name in TABLES],
    writes={"insert": 9000, "row delete": 1000},
    lives=[("before the kill", latency(*[0.5] * 80)), ("after it", latency(*[3.0] * 20))],
    events_per_s=480.0,
    writes_per_s=499.6,
    rows_expired=321,
    dead_letters=0,
    kills=1,
    recovered_s=2.34,
    peaks_bytes={"pipeline": 91_000_000},
    seed=4711,
)


def shown(proof: Proof) -> str:
    text = io.StringIO()
    Console(file=text, width=100).print(render(proof))
    return text.getvalue()


def corrupted() -> list[TableComparison]:
    difference = Difference("shop.orders", "different", "ab12", columns=("total",))
    return [
        *PROOF.tables[:-1],
        TableComparison("shop.orders", 1200, 1200, kinds=Counter(different=1), examples=[difference]),
    ]


def test_equal_sides_are_proven() -> None:
    assert PROOF.passed
    assert "Proven: 3,600 rows are the same on both sides, 0 differ." in shown(PROOF)


def test_one_row_that_differs_is_a_failure_that_names_it() -> None:
    proof = replace(PROOF, tables=corrupted())
    assert not proof.passed
    text = shown(proof)
    assert "FAILED: 1 row differs (--seed 4711 repeats it)" in text
    assert "Proven" not in text
    for part in ("shop.orders", "ab12", "total"):
        assert part in text


@pytest.mark.parametrize(
    ("proof", "said"),
    [
        (replace(PROOF, tables=PROOF.tables[1:]), "missing or empty"),
        (replace(PROOF, tables=[*PROOF.tables[1:], TableComparison("shop.none")]), "missing or empty"),
        (replace(PROOF, tables=[]), "missing or empty"),
        (replace(PROOF, dead_letters=2), "2 changes were set aside"),
    ],
)
def test_nothing_compared_and_nothing_lost_is_not_enough(proof: Proof, said: str) -> None:
    assert not proof.passed
    assert said in shown(proof)


def test_the_latencies_are_told_for_each_life_and_together() -> None:
    lines = {line.split("│")[1].strip(): line for line in shown(PROOF).splitlines() if "│" in line and " s " in line}
    assert "0.50 s" in lines["before the kill"]
    assert "3.0" in lines["after it"]
    every = lines["all"].split("│")
    assert [cell.strip() for cell in every[2:4]] == ["100", "0.50 s"]
    assert [float(cell.strip(" s")) for cell in every[4:6]] == pytest.approx([3.0, 3.0], rel=0.01)


def test_a_life_without_events_has_no_percentiles() -> None:
    assert "–" in shown(replace(PROOF, lives=[("before the kill", latency())]))


def test_the_facts_are_there() -> None:
    text = shown(PROOF)
    for part in ("10,000 at 500/s", "9,000 insert", "480/s", "321 rows", "1 by SIGKILL", "2.3 s", "91 MB", "4711"):
        assert part in text
    assert "later" not in shown(replace(PROOF, recovered_s=None))


def test_of_several_processes_each_has_its_memory_and_each_partition_its_lag() -> None:
    proof = replace(PROOF, peaks_bytes={"agent": 51_000_000, "loader 1": 92_000_000}, lag_peaks=(1200, 0, 7))
    text = shown(proof)
    assert "at most agent 51 MB, loader 1 92 MB (resident)" in text
    assert "at most 1,200, 0, 7 events in Kafka partitions 0 to 2" in text
    assert "partitions" not in shown(PROOF)
