"""The segment that is being read, with the index that bounds it.

Invariant: the index is read before the log, so that what it promises is there; a file counts as complete only when
Cassandra says so or can't write to it any more.
"""

from __future__ import annotations

from casscade.capture.directory import MOVED_SEGMENT_VERSION, Listing, SegmentEntry
from casscade.capture.reclaim import Ledger, let_go, read_index
from casscade.commitlog.reader import FINISHED, Section, SegmentFile
from casscade.commitlog.segment import CdcIndex
from casscade.core import failpoints
from casscade.core.errors import RetryableError
from casscade.core.position import Position


class OpenSegment:
    """A segment kept open. `frozen` is set for a late one: its chunks carry this position and do not move it.

    `damaged` is set by the follower once damage in the segment was reported, `mutations_read` counts what came of it.
    Raises FileNotFoundError when the segment is gone and RetryableError when it can't be read.
    """

    def __init__(self, entry: SegmentEntry, after: int, frozen: Position | None) -> None:
        self.entry = entry
        self.frozen = frozen
        self.damaged = False
        self.mutations_read = 0
        self._index: CdcIndex | None = None
        try:
            self.file = SegmentFile(entry.path, after)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise unreadable(entry, error) from error

    def poll(self, index: CdcIndex | None, *, eager: bool) -> list[Section]:
        """`SegmentFile.poll`, with the system's errors as ours. A live segment of 3.11 has only its markers."""
        try:
            sections = self.file.poll(index, durable=self.entry.version > MOVED_SEGMENT_VERSION, eager=eager)
        except OSError as error:
            raise unreadable(self.entry, error) from error
        if failpoints.ARMED and sections:
            failpoints.reach("segment_read")
        return sections

    def read_index(self, listing: Listing) -> CdcIndex | None:
        """The newest index seen; `FINISHED` when the file can't grow any more, whatever its index says.

        A live segment of 3.11 is finished when it was moved, and when it went: it is closed before either. Its open
        file is the same one all the while.
        """
        entry = self.entry
        now = next((other for other in listing.segments if other.id == entry.id), None)
        if entry.version <= MOVED_SEGMENT_VERSION:
            if now is not None:
                self.entry = now
            return None if now is not None and now.live else FINISHED
        self._index = read_index(entry.index_path) or self._index
        if self._index is not None and self._index.completed:
            return self._index
        final = listing.newest_indexed > entry.id if now is None else let_go(now, listing)
        return FINISHED if final else self._index


def unreadable(entry: SegmentEntry, error: OSError) -> RetryableError:
    """The error for a segment that the system does not let us read."""
    return RetryableError(
        "capture_read",
        f"a segment can't be read: {error.strerror or type(error).__name__}",
        where=str(entry.path),
        now="capture starts again from its last position",
        hint="check the node's disk and the rights of the user that runs casscade",
    )


def unread_of(listing: Listing, ledger: Ledger, current: OpenSegment | None) -> tuple[int, int, int]:
    """The segment that is read (0: none), how many with CDC data wait behind it, and bytes of both not read yet."""
    reading = 0 if current is None else current.entry.id
    waiting = [
        entry.size
        for entry in listing.segments
        if (entry.indexed or (entry.version <= MOVED_SEGMENT_VERSION and not entry.live))
        and entry.id != reading
        and not ledger.is_read(entry.id)
    ]
    unread = sum(waiting)
    if current is not None:
        size = next((entry.size for entry in listing.segments if entry.id == reading), 0)
        unread += max(0, size - current.file.offset)
    return reading, len(waiting), unread
