"""`make setup` on a machine that lacks something: one sentence with the remedy, and a status that stops the rest."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]

OLD: Final = """#!/bin/sh
case "$2" in *version_info*) exit 1;; esac
"""
WITHOUT_VENV: Final = """#!/bin/sh
case "$2" in *ensurepip*) exit 1;; esac
"""
WITHOUT_NETWORK: Final = """#!/bin/sh
case "$1 $2" in
"-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python";;
"-m pip") exit 1;;
esac
"""


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("", "was not found; install Python 3.11 or newer"),
        (OLD, "is older than Python 3.11; install a newer one"),
        (WITHOUT_VENV, "comes without venv or ensurepip; install them"),
        (WITHOUT_NETWORK, "the dependencies were not installed (see above); check the network"),
    ],
    ids=["no python", "old python", "no venv", "no network"],
)
def test_what_is_missing_is_named_with_its_remedy(tmp_path: Path, script: str, sentence: str) -> None:
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / "python"
    if script:
        python.write_text(script)
        python.chmod(0o755)
    done = subprocess.run(
        ["make", "setup", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] != []
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / ".venv").glob(".stamp-[dp]*"))
