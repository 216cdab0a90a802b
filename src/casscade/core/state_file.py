"""Small files that tell a process what an earlier one knew: replaced as a whole, durably.

Invariant: whenever the machine stops, the file is what it was before or what it was to become, never a part of it.
"""

from __future__ import annotations

import os
from pathlib import Path

from casscade.core import failpoints


def replace_file(path: Path, text: str, *, written: str = "", synced: str = "", renamed: str = "") -> None:
    """Make `text`, which is ASCII, the content of the file; its directory is made if it is missing.

    `written`, `synced` and `renamed` name the failpoints of these steps. Raises OSError; the file is then as it was.
    """
    part = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        _reach(written)
        os.fsync(file.fileno())
    _reach(synced)
    part.replace(path)
    _reach(renamed)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _reach(failpoint: str) -> None:
    if failpoints.ARMED and failpoint:
        failpoints.reach(failpoint)
