"""The sheet of writes names every kind of write, and the tests that it names exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.support.write_kinds import KINDS

ROOT: Final = Path(__file__).parents[2]
ROWS: Final = re.findall(
    r"^\| ([^|]+) \| ([^|]+) \| (`[^|]+) \|$", (ROOT / "docs" / "writes.md").read_text(encoding="utf-8"), re.MULTILINE
)
WRITES: Final = [
    "INSERT",
    "UPDATE",
    "partial UPDATE",
    "UPDATE that creates a row without liveness",
    "null",
    "unset",
    "empty",
    "row delete",
    "range delete",
    "touching ranges",
    "multi-column bounds",
    "partition delete",
    "TRUNCATE",
    "static delete",
    "delete of single columns",
    "element delete",
    "delete of whole collections",
    "list append",
    "list prepend",
    "list set by index",
    "list remove by value",
    "map element writes",
    "set element writes",
    "collection overwrite",
    "UDT field writes",
    "increment and decrement",
    "counter batch",
    "counter delete",
    "lightweight transaction",
    "logged batch over several tables and partitions",
    "unlogged batch over several tables and partitions",
    "USING TIMESTAMP in the past",
    "USING TIMESTAMP in the future",
    "TTL on rows",
    "TTL on cells",
    "default TTL",
    "overwritten TTL",
    "removed TTL",
    "hints",
    "read repair",
    "repair",
]


@pytest.mark.parametrize("write", WRITES)
def test_the_sheet_has_the_write(write: str) -> None:
    found = [shows for name, shows, _ in ROWS if re.search(rf"(^|\W){re.escape(write)}", name)]
    assert found


@pytest.mark.parametrize(("write", "proofs"), [(write, proofs) for write, _, proofs in ROWS])
def test_what_proves_it_exists(write: str, proofs: str) -> None:
    names = re.findall(r"`([^`]+)`", proofs)
    assert names
    for name in names:
        path, separator, function = name.partition("::")
        if separator:
            text = (ROOT / path).read_text(encoding="utf-8")
            assert re.search(rf"^def {re.escape(function)}\(", text, re.MULTILINE), name
        else:
            assert name in KINDS, write


def test_every_kind_is_in_the_sheet() -> None:
    proofs = " ".join(proofs for _, _, proofs in ROWS)
    assert [name for name in KINDS if f"`{name}`" not in proofs] == []
