"""The rules of CONTRIBUTING.md that a program can check."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCE: Final = ROOT / "src"
MODULES: Final = sorted(SOURCE.rglob("*.py"))
SHOWN: Final = ("src", "tests", "tools", "docs", "deploy", ".ci", ".github")
LINES_MAX: Final = 350
README_LINES_MAX: Final = 150

# Written in pieces, so that this file does not hold what it looks for.
OPEN_ENDS: Final = ("TO" + "DO", "FIX" + "ME")
MACHINE_PATHS: Final = ("/ro" + "ot/", "/wo" + "rk/", "/tm" + "p/w/")
REGISTRIES: Final = ("py" + "pi.org", "python" + "hosted.org", "maven" + ".org", "maven" + ".apache.org")


def texts() -> list[tuple[str, str]]:
    """Path and text of every file that belongs to the project; binary files are left out."""
    paths = [path for path in ROOT.iterdir() if path.is_file()]
    for name in SHOWN:
        paths.extend(path for path in (ROOT / name).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    found = []
    for path in sorted(paths):
        try:
            found.append((str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def holding(words: tuple[str, ...]) -> list[str]:
    """`path:line: word` for each place that holds one of the words."""
    return [
        f"{path}:{number}: {word}"
        for path, text in texts()
        for word in words
        if word in text
        for number, line in enumerate(text.splitlines(), 1)
        if word in line
    ]


def test_every_module_says_its_job() -> None:
    silent = [
        str(path.relative_to(ROOT)) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


def test_modules_stay_small() -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {path: lines for path, lines in sizes.items() if lines > LINES_MAX} == {}


def test_nothing_is_left_for_later() -> None:
    assert holding(OPEN_ENDS) == []


def test_no_path_of_one_machine() -> None:
    assert holding(MACHINE_PATHS) == []


def test_no_registry_host() -> None:
    assert holding(REGISTRIES) == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= README_LINES_MAX
