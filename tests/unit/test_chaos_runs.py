"""The chaos runs: every pairing is there, a seed repeats it, and what failed is not called equal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chaos.pairings import ELASTIC, HOW, WHO, ZOMBIE, all_names, all_pairings, chosen, rounds
from tests.chaos.report import Result, markdown, save, table
from tests.chaos.run import environment


def test_every_two_kills_are_paired() -> None:
    kills = {f"{who}-{how}" for who in WHO for how in HOW}
    pairs = {frozenset((pairing.one.name, pairing.other.name)) for pairing in all_pairings()}
    assert pairs == {frozenset((one, other)) for one in kills for other in kills}
    assert len(all_pairings()) == len(pairs) == 21
    assert set(all_names()) - {pairing.name for pairing in all_pairings()} == {ZOMBIE, ELASTIC}


def test_a_seed_runs_everything_once_in_an_order_of_its_own() -> None:
    assert sorted(chosen([], 1)) == sorted(chosen([], 2)) == sorted(all_names())
    assert chosen([], 1) == chosen([], 1) != chosen([], 2)


def test_a_pairing_may_be_named_either_way_round() -> None:
    assert chosen(["broker-clean+agent-hard", ZOMBIE], 1) in (
        ["agent-hard+broker-clean", ZOMBIE],
        [ZOMBIE, "agent-hard+broker-clean"],
    )
    with pytest.raises(ValueError, match="agent-hard\\+agent-hard"):
        chosen(["agent-soft"], 1)


def test_the_kills_of_a_seed_are_the_same_again_and_lie_within_the_load() -> None:
    for pairing in all_pairings():
        planned = rounds(pairing.name, 5, 2)
        assert planned == rounds(pairing.name, 5, 2) != rounds(pairing.name, 6, 2)
        assert 0.0 < planned[0].at < 0.5 < planned[1].at < 1.0
        assert all({each.first, each.second} == {pairing.one, pairing.other} for each in planned)


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (Result("a", 1, rows=5, checked=True), "equal"),
        (Result("a", 1, rows=5, checked=True, note="so"), "equal; so"),
        (Result("a", 1, rows=5), "FAILED: the comparison did not find a corrupted row"),
        (Result("a", 1, rows=5, differences=1), "FAILED: 1 differences, 0 dead letters, 5 rows"),
        (Result("a", 1, rows=5, dead_letters=2), "FAILED: 0 differences, 2 dead letters, 5 rows"),
        (Result("a", 1), "FAILED: 0 differences, 0 dead letters, 0 rows"),
        (Result("a", 1, rows=5, problem="it ended\nlog"), "FAILED: it ended"),
    ],
)
def test_only_what_was_compared_and_is_equal_passes(result: Result, verdict: str) -> None:
    assert (result.passed, result.verdict) == (verdict.startswith("equal"), verdict)


def test_results_are_kept_for_people_and_programs(tmp_path: Path) -> None:
    results = [
        Result("agent-hard+agent-hard", 3, 100_000, kills=2, rows=9, checked=True),
        Result(ZOMBIE, 3, differences=1, rows=9),
    ]
    told, data = save(tmp_path / "new", "kafka-3", results)
    assert told.read_text("utf-8") == markdown(results)
    assert "| agent-hard+agent-hard | 100,000 | 0 | 2 | 0.0 s | 9 | 0 | equal |" in told.read_text("utf-8")
    assert [one["passed"] for one in json.loads(data.read_text("utf-8"))] == [True, False]
    assert len(table(results).splitlines()) == 3


def test_only_a_complete_copy_is_run(tmp_path: Path) -> None:
    assert "PYTHONPATH" not in environment(tmp_path) or environment(tmp_path)["PYTHONPATH"] != str(tmp_path)
    (tmp_path / ".complete").touch()
    assert environment(tmp_path)["PYTHONPATH"] == str(tmp_path)
