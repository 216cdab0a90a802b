"""Imports that leave out what a library takes along only for those who have more of it installed.

Invariant: behind the block everything can be imported as before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Within the block modules of these names can't be imported, unless they are there already; for a start, where no
    other thread imports anything."""
    modules: dict[str, Any] = sys.modules
    absent = [name for name in names if name not in modules]
    modules.update(dict.fromkeys(absent))  # None says so to the interpreter
    try:
        yield
    finally:
        for name in absent:
            del modules[name]
