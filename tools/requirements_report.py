"""Print for each requirement of docs/requirements.md the tests that prove it, and those without any.

Invariant: a test proves what its `@pytest.mark.requirement(...)` says, nothing else counts; a mark on an id that the
document does not list is an error, so that a slip of the pen cannot pass for a proof.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROW: Final = re.compile(r"^\| ((?:FR|SC|US)-\d+) \| (.+) \|$", re.MULTILINE)


def titles(document: str) -> dict[str, str]:
    """The ids of the document with their titles, in its order."""
    return dict(ROW.findall(document))


def marked(node: ast.AST) -> Iterator[str]:
    """The ids in `pytest.mark.requirement(...)` calls among a definition's decorators or a `pytestmark` value."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.requirement":
            for argument in call.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value


def proofs(path: Path, source: str) -> Iterator[tuple[str, str]]:
    """Pairs of id and test name for each test of a file, marks of its class and of the module included."""
    module = ast.parse(source)
    outer = [
        requirement
        for node in module.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
        for requirement in marked(node.value)
    ]
    yield from walk(module.body, outer, str(path))


def walk(body: list[ast.stmt], outer: list[str], prefix: str) -> Iterator[tuple[str, str]]:
    """The tests of a body; `outer` holds the ids that every one of them inherits."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        own = [*outer, *(found for decorator in node.decorator_list for found in marked(decorator))]
        name = f"{prefix}::{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from walk(node.body, own, name)
        elif node.name.startswith("test_"):
            yield from ((requirement, name) for requirement in own)


def report(root: Path) -> tuple[str, list[str]]:
    """The text of the report, and the ids that tests name but the document does not."""
    known = titles((root / "docs" / "requirements.md").read_text(encoding="utf-8"))
    tests: dict[str, list[str]] = {requirement: [] for requirement in known}
    unknown: list[str] = []
    for path in sorted((root / "tests").rglob("test_*.py")):
        for requirement, name in proofs(path.relative_to(root), path.read_text(encoding="utf-8")):
            if requirement in tests:
                tests[requirement].append(name)
            else:
                unknown.append(f"{name}: {requirement}")
    lines = []
    for requirement, title in known.items():
        lines.append(f"{requirement}  {title}")
        lines.extend(f"        {name}" for name in tests[requirement] or ["no test yet"])
    bare = [requirement for requirement, names in tests.items() if not names]
    lines.append(f"\n{len(known) - len(bare)} of {len(known)} have a test; without: {', '.join(bare) or 'none'}")
    return "\n".join(lines), unknown


def main() -> int:
    """The program; returns its exit status: 1 when a mark names an unknown id."""
    text, unknown = report(Path(__file__).resolve().parent.parent)
    print(text)
    for line in unknown:
        print(f"error: {line} is not in docs/requirements.md", file=sys.stderr)
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
