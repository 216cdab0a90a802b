"""The build of the compiled package: what is compiled, when, and what happens where it can't be."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]


def load_tool(name: str) -> ModuleType:
    """The program `tools/<name>.py` as a module."""
    spec = importlib.util.spec_from_file_location(f"casscade_tool_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load_tool("hatch_build")


class Hook(tool.CompileHook):  # type: ignore[name-defined,misc]  # the tool is loaded by path
    """The hook with its answers to hatchling at hand."""

    def __init__(self, root: Path, target_name: str = "wheel") -> None:
        self.said: list[str] = []
        app = SimpleNamespace(display_info=self.said.append, display_warning=self.said.append)
        super().__init__(str(root), {}, None, None, str(root), target_name, app)


@pytest.fixture
def small_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of one module in place of the project's, with a record of what was compiled."""
    source = tmp_path / "src"
    (source / "casscade" / "core").mkdir(parents=True)
    (source / "casscade" / "core" / "cell.py").write_text("A: int = 1\n")
    (source / "casscade" / "cold.py").write_text("B = 1\n")
    monkeypatch.setattr(tool, "HOT_MODULES", ("casscade/core/cell.py",))
    monkeypatch.setattr(tool, "compiler", lambda: "cc")
    return source


def fake_build(compiled: list[Path]) -> Any:
    def build_copy(source: Path, target: Path, _opt_level: str = "3") -> None:
        tool.copy_package(source, target)
        (target / "casscade" / "core" / "cell.abi.so").write_bytes(b"machine code")
        compiled.append(target)

    return build_copy


def test_the_hot_modules_exist_and_none_is_named_twice() -> None:
    assert [name for name in tool.HOT_MODULES if not (ROOT / "src" / name).is_file()] == []
    assert len(set(tool.HOT_MODULES)) == len(tool.HOT_MODULES)


def test_this_run_uses_the_modules_it_was_asked_to_use() -> None:
    compiled = os.environ.get("CASSCADE_EXPECT_COMPILED") == "1"
    for name in tool.HOT_MODULES:
        module = importlib.import_module(name.removesuffix(".py").replace("/", "."))
        assert module.__file__ is not None
        assert module.__file__.endswith(".so") is compiled, module.__file__


def test_a_current_copy_is_not_compiled_again(
    small_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds: list[Path] = []
    monkeypatch.setattr(tool, "build_copy", fake_build(builds))
    target = tmp_path / "copy"
    tool.refresh(small_source, target)
    (small_source / "casscade" / "cold.py").unlink()
    (small_source / "casscade" / "new.py").write_text("C = 1\n")
    tool.refresh(small_source, target)
    assert len(builds) == 1
    names = sorted(path.name for path in (target / "casscade").rglob("*") if path.is_file())
    assert names == ["cell.abi.so", "cell.py", "new.py"]
    (small_source / "casscade" / "core" / "cell.py").write_text("A: int = 2\n")
    tool.refresh(small_source, target)
    assert len(builds) == 2
    tool.refresh(small_source, target, tool.UNOPTIMIZED)
    assert len(builds) == 3, "another optimization is another copy"


def test_a_failed_compilation_leaves_no_copy_that_looks_complete(small_source: Path, tmp_path: Path) -> None:
    (small_source / "casscade" / "core" / "cell.py").write_text('A: int = "text"\n')
    with pytest.raises(tool.CompileError, match="Incompatible types"):
        tool.refresh(small_source, tmp_path / "copy")
    assert not (tmp_path / "copy" / tool.STAMP).exists()


@pytest.mark.parametrize(("arguments", "level"), [(["there"], "3"), (["--unoptimized", "there"], "0")])
def test_the_program_optimizes_unless_told_not_to(
    arguments: list[str], level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, str]] = []
    monkeypatch.setattr(tool, "refresh", lambda _source, target, opt_level: asked.append((target, opt_level)))
    assert tool.main(arguments) == 0
    assert asked == [(Path("there"), level)]


@pytest.mark.parametrize("arguments", [[], ["--unoptimized"], ["here", "there"]])
def test_the_program_wants_one_directory(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: ")


def test_without_a_compiler_there_is_no_copy(
    small_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "compiler", lambda: None)
    tool.refresh(small_source, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_compiler_that_is_not_there_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    assert tool.compiler() is None


def test_a_standard_wheel_gets_the_compiled_modules(small_source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CASSCADE_COMPILE", raising=False)
    builds: list[Path] = []
    monkeypatch.setattr(tool, "build_copy", fake_build(builds))
    hook = Hook(small_source.parent)
    data: dict[str, Any] = {"force_include": {}}
    hook.initialize("standard", data)
    assert list(data["force_include"].values()) == ["casscade/core/cell.abi.so"]
    assert data["infer_tag"] is True
    assert data["pure_python"] is False
    hook.finalize("standard", data, "")
    assert not builds[0].exists()


@pytest.mark.parametrize(("version", "target"), [("editable", "wheel"), ("standard", "sdist")])
def test_other_artifacts_stay_pure(small_source: Path, version: str, target: str) -> None:
    data: dict[str, Any] = {"force_include": {}}
    Hook(small_source.parent, target).initialize(version, data)
    assert data == {"force_include": {}}


@pytest.mark.parametrize("cause", ["switched off", "no compiler", "failure"])
def test_the_wheel_is_pure_and_says_why(cause: str, small_source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CASSCADE_COMPILE", raising=False)
    if cause == "switched off":
        monkeypatch.setenv("CASSCADE_COMPILE", "0")
    elif cause == "no compiler":
        monkeypatch.setattr(tool, "compiler", lambda: None)
    else:
        monkeypatch.setattr(tool, "HOT_MODULES", ("casscade/core/missing.py",))
    hook = Hook(small_source.parent)
    data: dict[str, Any] = {"force_include": {}}
    hook.initialize("standard", data)
    hook.finalize("standard", data, "")
    assert data == {"force_include": {}}
    assert len(hook.said) == 1
    assert hook.said[0].startswith("casscade: pure wheel, because ")
    assert "\n" not in hook.said[0]
