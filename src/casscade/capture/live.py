"""Segments that the node still writes: when it has gone on to a later one, and how far those left were read.

Invariant: nothing here writes outside the state directory. What is remembered of a segment was read and sent in order,
so that it counts only for segments below a position that is durable.

Cassandra 3.11 keeps a segment in its commit log directory until all its tables are flushed, then moves it to `cdc_raw`
or, without CDC data, deletes it (`CommitLogSegmentManagerCDC.discard`). Who follows it there must go on to the next
one long before that, and make sure at the end that nothing was added behind its back.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from casscade.capture.directory import Listing, SegmentEntry
from casscade.capture.faults import state_unwritable
from casscade.capture.opened import unreadable
from casscade.commitlog.segment import has_section
from casscade.core.state_file import replace_file

# A node syncs its segments in order of their ids, so that a section in a later segment tells that this one was
# synced before. Writers that had their place in it by then are waited for by the extra sync that follows the switch
# at once (`AbstractCommitLogSegmentManager.advanceAllocatingFrom`), or by the next 100 ms of the marker interval.
SWITCH_GRACE_S: Final = 0.25
# Later segments that are looked into: the one written now, one that is closing, a spare.
_LATER_MAX: Final = 4
STATE_NAME: Final = "commitlog_read.json"


class Switch:
    """Watches whether the node has gone on from a segment to a later one."""

    def __init__(self) -> None:
        self._seen: tuple[int, float] = (-1, 0.0)

    def is_over(self, entry: SegmentEntry, listing: Listing, now_s: float) -> bool:
        """Whether nothing more is to be expected in the segment, except by a delay beyond any measure."""
        later = [other for other in listing.segments if other.id > entry.id][:_LATER_MAX]
        written = sum(_has_section(other) for other in later)
        if written == 0:
            return False
        if self._seen[0] != entry.id:
            self._seen = (entry.id, now_s)
        return written > 1 or now_s - self._seen[1] >= SWITCH_GRACE_S


def _has_section(entry: SegmentEntry) -> bool:
    try:
        return has_section(entry.path)
    except OSError as error:
        raise unreadable(entry, error) from error


class LeftSegments:
    """How far each segment was read that is still there, the node's or in `cdc_raw`; kept in the state directory.

    A record that is lost costs only duplicates: the segment is read again as a whole when it comes to `cdc_raw`.
    """

    def __init__(self, state_directory: Path, source: str) -> None:
        self._path = state_directory / STATE_NAME
        self._source = source
        self._offsets: dict[int, int] = {}

    def load(self, below: int) -> dict[int, int]:
        """The records of segments below the id `below`; later ones may not be durable downstream and are dropped."""
        self._offsets = {}
        try:
            state = json.loads(self._path.read_bytes())
            if state["source"] == self._source:
                self._offsets = {int(key): int(end) for key, end in state["segments"].items() if int(key) < below}
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError, AttributeError, OSError):
            self._offsets = {}
        return dict(self._offsets)

    def add(self, segment: int, offset: int, listing: Listing) -> dict[int, int]:
        """Remember `segment`, before anything behind it is sent, and forget those that are gone; all records.

        Raises RetryableError when they can't be saved.
        """
        present = {entry.id for entry in listing.segments}
        self._offsets = {key: end for key, end in self._offsets.items() if key in present}
        self._offsets[segment] = offset
        try:
            replace_file(self._path, json.dumps({"source": self._source, "segments": self._offsets}))
        except OSError as error:
            raise state_unwritable(self._path, error) from error
        return dict(self._offsets)

    def discard(self) -> None:
        """Without a commit log directory segments are read out of order, and records would mislead a later start."""
        self._path.unlink(missing_ok=True)
