"""Compile the hot modules with mypyc: into a wheel (hatchling's build hook) or into a copy of the package (tests).

Invariant: one source, two speeds. The compiled modules come from the very files that run uncompiled, nothing is ever
written under `src`, and where compiling is impossible the result is the pure package and one line that says so.

As a program: `python tools/hatch_build.py [--unoptimized] DIRECTORY` builds the compiled copy in DIRECTORY unless the
one there is current; `.complete` in it holds the hash of what it was built from. What mypyc makes of the modules is
the same in both cases; without the C compiler's optimizer it is there in half the time, which is what tests want.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Paths below src. A module belongs here when it runs for each mutation, row or cell.
HOT_MODULES: Final = (
    "casscade/commitlog/cells.py",
    "casscade/commitlog/columns.py",
    "casscade/commitlog/decoder.py",
    "casscade/commitlog/encoder.py",
    "casscade/commitlog/framing.py",
    "casscade/commitlog/peek.py",
    "casscade/commitlog/rows.py",
    "casscade/core/cell.py",
    "casscade/core/keys.py",
    "casscade/core/mutation.py",
    "casscade/core/observed.py",
    "casscade/core/table.py",
    "casscade/cql/canonical.py",
    "casscade/cql/order.py",
    "casscade/cql/vint.py",
    "casscade/load/ahead.py",
    "casscade/load/arrays.py",
    "casscade/load/codecs.py",
    "casscade/load/composite.py",
    "casscade/load/copy_encoder.py",
    "casscade/load/incoming.py",
    "casscade/load/key_codecs.py",
    "casscade/load/key_encoder.py",
    "casscade/load/layout.py",
    "casscade/load/numeric.py",
    "casscade/load/operations.py",
    "casscade/load/presenting.py",
    "casscade/load/row_reader.py",
    "casscade/load/staged.py",
    "casscade/load/transcode.py",
    "casscade/merge/conflicts.py",
    "casscade/merge/fold.py",
    "casscade/merge/paths.py",
    "casscade/merge/row.py",
    "casscade/merge/state.py",
    "casscade/merge/state_reader.py",
    "casscade/snapshot/elements.py",
    "casscade/snapshot/plain.py",
)

SWITCH: Final = "CASSCADE_COMPILE"
OPTIMIZED: Final = "3"
UNOPTIMIZED: Final = "0"
STAMP: Final = ".complete"
# Two cores compile the modules within seconds; ten times that is a machine on which the pure package is the better end.
COMPILE_SECONDS_MAX: Final = 600


class CompileError(Exception):
    """The hot modules could not be compiled; the text says why in one line."""


def compiler() -> str | None:
    """The C compiler that Python's own build settings name, or None; Python's headers must be there too."""
    command = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return shutil.which(command) if header.is_file() else None


def fingerprint(source: Path, opt_level: str = OPTIMIZED) -> str:
    """A hash of what decides the compiled code: the hot modules' packages, the core, this file, the interpreter."""
    digest = hashlib.sha256(f"{sys.version} {sysconfig.get_platform()} {opt_level}".encode())
    digest.update(Path(__file__).read_bytes())
    for package in sorted({str(Path(name).parent) for name in HOT_MODULES} | {"casscade/core", "casscade/cql"}):
        for path in sorted((source / package).glob("*.py")):
            digest.update(f"{package}/{path.name}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def copy_package(source: Path, target: Path) -> None:
    """Make `target/casscade` the same as `source/casscade`, compiled modules apart, which stay."""
    shutil.copytree(
        source / "casscade", target / "casscade", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
    )
    for path in sorted((target / "casscade").rglob("*")):
        if path.suffix != ".so" and path.is_file() and not (source / path.relative_to(target)).exists():
            path.unlink()


def build_copy(source: Path, target: Path, opt_level: str = OPTIMIZED) -> None:
    """Copy `source/casscade` to `target` and compile the hot modules there, in place.

    Raises `CompileError` when a module is missing, mypyc refuses one, or the C compiler fails.
    """
    missing = [name for name in HOT_MODULES if not (source / name).is_file()]
    if missing:
        raise CompileError(f"HOT_MODULES names files that do not exist: {', '.join(missing)}")
    copy_package(source, target)
    # A process of its own: setuptools and mypy change the working directory's and the interpreter's state.
    try:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).resolve()), "--in-place", opt_level, *HOT_MODULES],
            cwd=target,
            capture_output=True,
            text=True,
            timeout=COMPILE_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CompileError(f"compiling took longer than {COMPILE_SECONDS_MAX} s") from error
    if done.returncode != 0:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "error" in line.lower()]
        raise CompileError(lines[0] if lines else f"mypyc ended with status {done.returncode}")
    shutil.rmtree(target / "build", ignore_errors=True)


def compile_in_place(opt_level: str, modules: list[str]) -> None:
    """Compile these modules of the package in the working directory, the shared objects beside their sources."""
    from mypyc.build import mypycify
    from setuptools import Distribution  # type: ignore[import-untyped]
    from setuptools.command.build_ext import build_ext  # type: ignore[import-untyped]

    # No configuration file: what is above the working directory must not decide how the package is compiled.
    options = ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports", "--explicit-package-bases"]
    extensions = mypycify([*options, *modules], opt_level=opt_level, debug_level="0", group_name="casscade")
    command = build_ext(Distribution({"name": "casscade", "ext_modules": extensions}))
    command.inplace = True
    command.parallel = os.cpu_count() or 1
    command.ensure_finalized()
    command.run()


def refresh(source: Path, target: Path, opt_level: str = OPTIMIZED) -> None:
    """Make `target` a current compiled copy; without a compiler leave it without the `.complete` file.

    Raises `CompileError` as `build_copy` does.
    """
    wanted = fingerprint(source, opt_level)
    stamp = target / STAMP
    if stamp.is_file() and stamp.read_text() == wanted:
        copy_package(source, target)
        return
    shutil.rmtree(target, ignore_errors=True)
    if compiler() is None:
        return
    target.mkdir(parents=True)
    build_copy(source, target, opt_level)
    stamp.write_text(wanted)


class CompileHook(BuildHookInterface):  # type: ignore[misc]  # hatchling is not typed for a checker that skips it
    """Put compiled hot modules into a standard wheel; editable installations and source archives stay as they are."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """hatchling calls this before it collects files; `version` is `standard` or `editable`."""
        if self.target_name != "wheel" or version != "standard":
            return
        if os.environ.get(SWITCH) == "0":
            self.app.display_info(f"casscade: pure wheel, because {SWITCH}=0")
            return
        if compiler() is None:
            self.app.display_warning("casscade: pure wheel, because no C compiler with Python's headers is at hand")
            return
        self.workspace = Path(tempfile.mkdtemp(prefix="casscade-build-"))
        try:
            build_copy(Path(self.root) / "src", self.workspace)
        except (CompileError, OSError) as error:
            self.app.display_warning(f"casscade: pure wheel, because compiling failed: {error}")
            return
        for path in self.workspace.rglob("*.so"):
            build_data["force_include"][str(path)] = str(path.relative_to(self.workspace))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """hatchling calls this, with these arguments, when the wheel is written."""
        if hasattr(self, "workspace"):
            shutil.rmtree(self.workspace, ignore_errors=True)


def main(arguments: list[str]) -> int:
    """The program; returns its exit status."""
    if arguments[:1] == ["--in-place"]:
        compile_in_place(arguments[1], arguments[2:])
        return 0
    opt_level = UNOPTIMIZED if arguments[:1] == ["--unoptimized"] else OPTIMIZED
    directories = arguments[opt_level == UNOPTIMIZED :]
    if len(directories) != 1:
        print("usage: python tools/hatch_build.py [--unoptimized] DIRECTORY", file=sys.stderr)
        return 2
    try:
        refresh(Path(__file__).resolve().parent.parent / "src", Path(directories[0]), opt_level)
    except CompileError as error:
        print(f"error: the hot modules were not compiled: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
