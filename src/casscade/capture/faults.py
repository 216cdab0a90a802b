"""The errors that several parts of capture raise.

Invariant: each tells what capture does now, and loses nothing.
"""

from __future__ import annotations

from pathlib import Path

from casscade.core.errors import RetryableError


def state_unwritable(path: Path, error: OSError) -> RetryableError:
    """A file of the state directory can't be replaced (`capture_state`)."""
    return RetryableError(
        "capture_state",
        f"what was read of the commit log can't be saved: {error.strerror or type(error).__name__}",
        where=str(path),
        now="capture starts again from its last position",
        hint="free some space there or set capture.state_directory to a larger volume",
    )
