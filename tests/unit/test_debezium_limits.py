"""What is said of a table that events of Debezium's do not describe completely."""

from __future__ import annotations

import pytest

from casscade.debezium.limits import limits
from tests.support.debezium import KINDS, make_table


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("p p int; v r int; f r frozen<list<int>>", []),
        ("p p int; n r counter", ["counters"]),
        (
            "p p int; c c int; s s int; v r int",
            ["static columns are in no event and keep what the snapshot brought: s"],
        ),
        ("p p int; a r addr", ["not frozen: a", "writes to a"]),
        ("p p int; d r frozen<list<duration>>; l r list<int>; v r int", ["writes to d, l"]),
    ],
)
def test_each_limit_names_its_columns(columns: str, words: list[str]) -> None:
    found = limits(make_table("limited", columns))
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True))


def test_several_limits_are_told_together() -> None:
    assert [text.split(":")[-1].split(" to ")[-1] for text in limits(KINDS)] == [" s_note", "dur, l, m, st"]
