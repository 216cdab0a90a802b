"""What a measurement was made on: the interpreter, the build, the machine, and how much memory it took.

Invariant: nothing here names a host, a path or a user.
"""

from __future__ import annotations

import importlib
import os
import platform
from pathlib import Path
from typing import Any, Final

from psycopg import Connection

from casscade import __version__

_HOT: Final = (
    "casscade.commitlog.decoder",
    "casscade.commitlog.framing",
    "casscade.load.copy_encoder",
    "casscade.merge.fold",
)
_SELF: Final = Path("/proc/self")


def compiled() -> bool:
    """Whether the hot modules run compiled."""
    files = [importlib.import_module(name).__file__ or "" for name in _HOT]
    return all(file.endswith((".so", ".pyd")) for file in files)


def describe(connection: Connection[Any]) -> dict[str, object]:
    """The circumstances of a measurement, for the report."""
    names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
    settings = {}
    for name in names:
        row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
        settings[name] = "" if row is None else str(row[0])
    return {
        "casscade": __version__,
        "compiled": compiled(),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "cores": len(os.sched_getaffinity(0)),
        "postgres": settings,
    }


def cpu_seconds(pid: int | None) -> float | None:
    """Seconds of CPU of a process and all below it, ended ones that were waited for included; None where unknown.

    Fields 14 to 17 of `/proc/<pid>/stat` (proc(5)), in ticks of the clock.
    """
    if pid is None:
        return None
    try:
        fields = (Path("/proc") / str(pid) / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
        children = (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text(encoding="ascii").split()
    except OSError:
        return None
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_seconds(int(child)) or 0.0 for child in children)


def reset_peak() -> None:
    """Forget the peak of this process's memory, where the system allows it (Linux)."""
    try:
        (_SELF / "clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_bytes() -> int:
    """The most resident memory of this process since `reset_peak`; 0 where the system does not tell."""
    try:
        status = (_SELF / "status").read_text(encoding="ascii")
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
