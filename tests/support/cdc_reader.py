"""Reads a node's `cdc_raw` by hand: what was written between two moments.

Invariant: nothing is taken out of the directory but what a reader was told to delete.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from casscade.capture.directory import MOVED_SEGMENT_VERSION, SegmentEntry, list_directory
from casscade.commitlog.peek import mentions_any
from casscade.commitlog.reader import FINISHED, SegmentFile
from casscade.commitlog.segment import parse_cdc_index

WAIT_S: Final = 60.0
Mutation = tuple[int, bytes]
"""The version of its encoding, and its bytes."""


class CdcReader:
    """Reads what the node writes from now on; a segment that was complete before is left out."""

    def __init__(self, directory: Path, *, delete: bool = False) -> None:
        self._directory = directory
        self._delete = delete
        self._files: dict[int, SegmentFile] = {}
        self._done = {entry.id for entry in list_directory(directory).segments if _completed(entry)}

    def close(self) -> None:
        """Close the segments."""
        for file in self._files.values():
            file.close()

    def read_until(self, sentinel: bytes, tables: Collection[bytes]) -> list[Mutation]:
        """Every mutation that mentions one of the tables, until one that holds `sentinel`."""
        found: list[Mutation] = []
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            met = False
            for version, mutation in self._poll():
                met = met or sentinel in mutation
                if mentions_any(mutation, tables):
                    found.append((version, mutation))
            if met:
                return found
            time.sleep(0.02)
        raise AssertionError(f"the commit log did not show the last write within {WAIT_S:.0f} s")

    def _poll(self) -> Iterator[Mutation]:
        for entry in list_directory(self._directory).segments:
            moved = entry.version <= MOVED_SEGMENT_VERSION
            if entry.id in self._done or not (entry.indexed or moved):
                continue
            if entry.id not in self._files:
                self._files[entry.id] = SegmentFile(entry.path)
            file = self._files[entry.id]
            while True:
                index = FINISHED if moved else parse_cdc_index(entry.index_path.read_bytes())
                for section in file.poll(index):
                    yield from ((entry.version, mutation) for mutation in section.mutations)
                if not file.more:
                    break
            assert not file.anomalies, file.anomalies
            if file.finished:
                self._done.add(entry.id)
                self._files.pop(entry.id).close()
                if self._delete:
                    entry.path.unlink()
                    entry.index_path.unlink(missing_ok=moved)


def _completed(entry: SegmentEntry) -> bool:
    if entry.version <= MOVED_SEGMENT_VERSION:
        return True
    index = parse_cdc_index(entry.index_path.read_bytes()) if entry.indexed else None
    return index is not None and index.completed
