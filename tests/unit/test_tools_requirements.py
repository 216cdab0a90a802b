"""The report of which tests prove which requirement."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("requirements_report", ROOT / "tools" / "requirements_report.py")
assert SPEC is not None
assert SPEC.loader is not None
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)

TESTS = """
import pytest
pytestmark = [pytest.mark.requirement("FR-001")]

@pytest.mark.requirement("FR-002", "US-1")
def test_one() -> None: ...

@pytest.mark.requirement("SC-001")
class TestGroup:
    def test_two(self) -> None: ...
    def helper(self) -> None: ...
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    rows = "".join(f"| {name} | title of {name} |\n" for name in ("US-1", "FR-001", "FR-002", "FR-003", "SC-001"))
    (tmp_path / "docs" / "requirements.md").write_text(rows)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text(TESTS)
    return tmp_path


def test_marks_of_module_class_and_function_count(project: Path) -> None:
    one, two = "tests/test_a.py::test_one", "tests/test_a.py::TestGroup::test_two"
    assert sorted(tool.proofs(Path("tests/test_a.py"), TESTS)) == sorted(
        [("FR-001", one), ("FR-002", one), ("US-1", one), ("FR-001", two), ("SC-001", two)]
    )


def test_the_report_names_what_has_no_test(project: Path) -> None:
    text, unknown = tool.report(project)
    assert unknown == []
    assert "FR-003  title of FR-003\n        no test yet" in text
    assert text.endswith("4 of 5 have a test; without: FR-003")


def test_a_mark_on_an_unknown_id_is_an_error(project: Path) -> None:
    (project / "tests" / "test_b.py").write_text(TESTS.replace("FR-002", "FR-999"))
    _, unknown = tool.report(project)
    assert unknown == ["tests/test_b.py::test_one: FR-999"]


def test_the_document_lists_every_id_once_and_in_order() -> None:
    document = (ROOT / "docs" / "requirements.md").read_text(encoding="utf-8")
    expected = [f"US-{n}" for n in range(1, 7)]
    expected += [f"FR-{n:03}" for n in range(1, 46)] + [f"SC-{n:03}" for n in range(1, 22)]
    assert [name for name, _ in tool.ROW.findall(document)] == expected


def test_every_mark_of_this_suite_is_known() -> None:
    _, unknown = tool.report(ROOT)
    assert unknown == []
