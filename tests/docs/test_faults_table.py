"""The table of faults names tests that exist, and the list of failpoints is the registry's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from casscade.core import failpoints

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
ROWS: Final = re.findall(r"^\| ([^|`]+) \| ([^|]+) \| (`[^|]+) \| ([^|]+) \|$", TEXT, re.MULTILINE)
FAULTS: Final = (
    "killed",
    "answer to COMMIT is lost",
    "COMMIT itself is lost",
    "immediate mode",
    "reset",
    "swallows",
    "after some bytes",
    "late",
    "stopped (SIGSTOP)",
    "lock",
    "deadlock",
    "disk of PostgreSQL",
    "state directory",
    "broker",
    "Cassandra",
    "data of a row",
    "damage",
    "clock",
    "TRUNCATE",
    "longer than the time for retries",
)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_table_has_the_fault(fault: str) -> None:
    assert [name for name, *_ in ROWS if fault in name]


@pytest.mark.parametrize(("fault", "proofs"), [(fault, proofs) for fault, _, proofs, _ in ROWS])
def test_what_proves_it_exists(fault: str, proofs: str) -> None:
    names = re.findall(r"`([^`]+)`", proofs)
    assert names, fault
    for name in names:
        path, separator, function = name.partition("::")
        if separator:
            text = (ROOT / path).read_text(encoding="utf-8")
            assert re.search(rf"^def {re.escape(function)}\(", text, re.MULTILINE), name
        else:
            assert (ROOT / f"{name.replace('.', '/')}.py").is_file(), name


def test_the_failpoints_are_those_of_the_registry() -> None:
    assert dict(re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \|$", TEXT, re.MULTILINE)) == dict(failpoints.POINTS)
