"""Starts that can't work, and how they have to end."""

from __future__ import annotations

from typing import Any

from tests.support.pipeline_process import Ended

Document = dict[str, Any]


def refused(ended: Ended, status: int, code: str, *words: str) -> None:
    """It ended with one error that says what to do, and with nothing else that looks like one."""
    errors = [line for line in ended.text.splitlines() if line.startswith("error: ")]
    assert ended.code == status, ended.text
    assert len(errors) == 1
    assert f"[{code}]" in errors[0]
    assert "\n  try:   " in ended.text
    assert "Traceback" not in ended.text
    for word in words:
        assert word in ended.text
