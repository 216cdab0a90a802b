"""How many examples a run tries, and that each run has its own."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.support.examples import THOROUGH, VARIABLE, examples


@pytest.mark.parametrize(
    ("factor", "thorough", "expected"), [("", 200, 50), ("", 30, 10), ("", 4, 4), ("1", 30, 30), ("10", 100, 1000)]
)
def test_the_suite_tries_a_part(factor: str, thorough: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, factor)
    assert examples(thorough) == expected


def test_a_run_draws_new_examples_also_where_ci_is_set() -> None:
    profile = settings()
    assert not profile.derandomize
    assert profile.deadline is None
    assert profile.max_examples == examples(THOROUGH)
