"""Damaged segments, moved out of Cassandra's way and kept.

Invariant: a segment leaves `cdc_raw` only after its copy is durable under its final name (copy, fsync, rename, fsync
of the directory). Quarantined files are never deleted by Casscade; their total size is reported instead.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from casscade.core import failpoints
from casscade.core.errors import RetryableError

_PARTIAL: Final = ".partial"


class Quarantine:
    """The directory `quarantine` below the state directory; it is made when the first segment goes there."""

    def __init__(self, state_directory: Path) -> None:
        self.directory: Path = state_directory / "quarantine"

    def holds(self, path: Path) -> bool:
        """Whether a copy of the file at `path` lies here."""
        return (self.directory / path.name).exists()

    def keep(self, *paths: Path) -> int:
        """Copy the files at `paths` (missing ones are left out); an older copy is replaced. Returns bytes copied.

        Raises `RetryableError` when the copy can't be made: then the originals must stay where they are.
        """
        copied = 0
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            for path in paths:
                copied += self._keep_one(path)
            descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise RetryableError(
                "capture_quarantine",
                f"a damaged segment can't be copied to the quarantine: {error.strerror or type(error).__name__}",
                where=str(self.directory),
                now="the segment stays in cdc_raw; the copy is tried again",
                hint="free some space there or set capture.state_directory to a larger volume",
            ) from error
        return copied

    def size(self) -> int:
        """Bytes held, all files together."""
        try:
            return sum(entry.stat().st_size for entry in os.scandir(self.directory))
        except FileNotFoundError:
            return 0

    def _keep_one(self, path: Path) -> int:
        target = self.directory / path.name
        partial = target.with_name(target.name + _PARTIAL)
        if not path.exists():
            return 0
        with path.open("rb") as source, partial.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
            length = copy.tell()
        if failpoints.ARMED:
            failpoints.reach("quarantine_copied")
        partial.replace(target)
        if failpoints.ARMED:
            failpoints.reach("quarantine_renamed")
        return length
