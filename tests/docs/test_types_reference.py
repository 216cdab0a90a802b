"""The page of types is made from the code, and is the one that was committed."""

from __future__ import annotations

from pathlib import Path

import pytest

from casscade.cql.types import SIMPLE_TYPES
from casscade.load.reference import render

PAGE = Path(__file__).parents[2] / "docs" / "types.md"


@pytest.mark.requirement("FR-009")
def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == render()


def test_every_simple_type_is_on_the_page() -> None:
    text = render()
    for name in SIMPLE_TYPES - {"empty"}:
        assert f"| `{name}` |" in text
