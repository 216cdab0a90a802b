"""What became of each segment, and which files may go.

Invariant: a segment is deleted only when Cassandra has completed it, or has let go of it without CDC data in it, and
everything in it is acknowledged. `Ledger` decides and touches nothing; `delete_segment` touches and decides nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from casscade.capture.directory import MOVED_SEGMENT_VERSION, Listing, SegmentEntry
from casscade.commitlog.segment import CdcIndex, parse_cdc_index
from casscade.core import failpoints
from casscade.core.errors import ConfigurationError
from casscade.core.position import Position
from casscade.core.recent import Recent

# Segments passed over are remembered, should an index turn up late: 4096 of 32 MiB are 32 times the default CDC space.
_PASSED_MAX: Final = 4096
# An older segment without index is passed over this long after a later one was seen with its index: Cassandra syncs
# segments in order of their ids, so by then the older one would have its index, too (`CommitLogSegmentManager.sync`).
INDEX_GRACE_S: Final = 1.0


class Ledger:
    """Which segments were read, passed over or come late; `next` is the lowest id not dealt with in order.

    Cassandra 4.0 and later link segments in the order of their ids, so that one below `next` is behind us: read
    before this start, or brought back by a replay after a crash of the node. Cassandra 3.11 moves a segment when its
    last table was flushed, in any order: one that appears below `next` was never seen, or only as far as `left` tells
    (segment to offset), when it was followed in the commit log directory.
    """

    def __init__(self, start: Position, left: dict[int, int] | None = None) -> None:
        self.next: int = start.segment
        self._left: dict[int, int] = {} if left is None else left
        self._finished: dict[int, int] = {}
        self._passed = Recent[int](_PASSED_MAX)
        self._late: dict[int, Position] = {}
        self._grace: tuple[int, float] = (-1, 0.0)

    def finish(self, segment: int, end: int) -> None:
        """`segment` is complete and was handed over up to offset `end`."""
        self._finished[segment] = end
        self.next = max(self.next, segment + 1)

    def finish_late(self, segment: int, position: Position) -> None:
        """`segment`, below `next`, was handed over in chunks that all end at `position`."""
        self._late[segment] = position
        self._passed.forget((segment,))

    def leave(self, segment: int, left: dict[int, int]) -> None:
        """`segment` was handed over as far as `left` tells and nothing more is expected in it; it is looked at once
        more when it comes. Those that `left` does not name are gone.
        """
        self._left = left
        self.next = max(self.next, segment + 1)

    def left_at(self, segment: int) -> int:
        """How far `segment` was read before it was left; 0 when it was not."""
        return self._left.get(segment, 0)

    def may_pass(self, entry: SegmentEntry, listing: Listing, now_s: float) -> bool:
        """Whether the segment, which has no index, need not be waited for before those behind it are read."""
        if not let_go(entry, listing):
            later = sum(other.indexed for other in listing.segments if other.id > entry.id)
            if later == 0:
                return False
            if self._grace[0] != entry.id:
                self._grace = (entry.id, now_s)
            if later == 1 and now_s - self._grace[1] < INDEX_GRACE_S:
                return False
        return not entry.index_path.exists()

    def let_pass(self, segment: int) -> None:
        """`segment` holds no CDC data, as far as can be told."""
        self._passed.add(segment)
        self.next = max(self.next, segment + 1)

    def is_late(self, entry: SegmentEntry) -> bool:
        """Whether the segment must be read although the position lies behind it."""
        if entry.id >= self.next or entry.id in self._late or entry.id in self._finished:
            return False
        if entry.version <= MOVED_SEGMENT_VERSION:
            return not entry.live
        return entry.indexed and entry.id in self._passed

    def done(self, acknowledged: Position) -> set[int]:
        """The ids of segments that were read to their end, all of which is durable, and that are still there."""
        return {segment for segment, end in self._finished.items() if acknowledged >= Position(segment, end)}

    def is_read(self, segment: int) -> bool:
        """Whether nothing of `segment` is still to be read."""
        return segment < self.next

    def releasable(self, entry: SegmentEntry, listing: Listing, acknowledged: Position) -> bool:
        """Whether the files of the segment may be deleted now; never those in the commit log directory."""
        if entry.live:
            return False
        end = self._finished.get(entry.id)
        if end is not None:
            return acknowledged >= Position(entry.id, end)
        if entry.id in self._late:
            # Its chunks moved no position; the next position that is durable proves that they are, too.
            return acknowledged > self._late[entry.id]
        if entry.id >= self.next or entry.version <= MOVED_SEGMENT_VERSION:
            return False
        if not entry.indexed:
            # The index is looked for again: it may have come between the two looks of the listing.
            return let_go(entry, listing) and not entry.index_path.exists()
        if entry.id in self._passed or acknowledged.segment <= entry.id:
            return False
        index = read_index(entry.index_path)
        return (index is not None and index.completed) or let_go(entry, listing)

    def forget(self, segment: int) -> None:
        """The files of `segment` are gone."""
        self._finished.pop(segment, None)
        self._late.pop(segment, None)
        self._left.pop(segment, None)


def let_go(entry: SegmentEntry, listing: Listing) -> bool:
    """Whether Cassandra has let go of the segment: it holds no link of its own, and a later segment has an index.

    The later index guards against file systems that always count one link.
    """
    return entry.links == 1 and listing.newest_indexed > entry.id


def read_index(path: Path) -> CdcIndex | None:
    """The index at `path`; None when there is none, or while it is being rewritten (CASSANDRA-17416)."""
    try:
        return parse_cdc_index(path.read_bytes())
    except FileNotFoundError:
        return None


def delete_segment(entry: SegmentEntry) -> None:
    """Delete the segment, then its index: an index without segment is harmless, the reverse would look live."""
    try:
        entry.path.unlink(missing_ok=True)
        if failpoints.ARMED:
            failpoints.reach("segment_deleted")
        entry.index_path.unlink(missing_ok=True)
        if failpoints.ARMED:
            failpoints.reach("index_deleted")
    except PermissionError as error:
        raise ConfigurationError(
            "capture_directory",
            "a segment that was carried over can't be deleted",
            where=str(entry.path),
            now="capture stops before cdc_raw fills up",
            hint="give the user that runs casscade write permission on the CDC directory",
        ) from error
