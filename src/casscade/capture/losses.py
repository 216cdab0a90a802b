"""What was lost before it could be read: told once each, also after a restart, and never for what goes by itself.

Invariant: a loss is in the journal before it is told, and stays there until a position behind it is durable; docs/
decisions/0013-gaps.md has the table of what proves a loss and what does not.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from casscade.capture.directory import MOVED_SEGMENT_VERSION, Listing, SegmentEntry
from casscade.capture.journal import PENDING_MAX, UNREAD_MAX, Journal
from casscade.capture.reclaim import Ledger, read_index
from casscade.core.notice import (
    BEGIN,
    CDC_OFF,
    GAP,
    SEGMENT_VANISHED,
    SEGMENTS_EVICTED,
    STATE_LOST,
    TABLE_CDC_OFF,
    Notice,
)
from casscade.core.position import START, Position

NODE: Final = "node"
"""What `off` names when CDC is off for the whole node; else it names the id of a table."""


class Losses:
    """Watches the segments of `source` and what is known of its CDC; `step` and `begin` are the follower's thread's.

    `evicting` tells whether the node deletes segments that nobody read and has come near that (`cdc_block_writes`).
    `is_kept` tells of what is acknowledged whether another life would find a position; where acknowledgements are not
    the commits of the position itself, whoever keeps it sets another one.
    """

    def __init__(
        self,
        source: str,
        state_directory: Path,
        evicting: Callable[[], bool] = lambda: False,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._evicting = evicting
        self._wall_clock = wall_clock
        self._journal = Journal(state_directory, source)
        self.is_kept: Callable[[Position], bool] = lambda acknowledged: acknowledged > START
        self._off: frozenset[str] | None = None
        self._seen: dict[int, SegmentEntry] = {}
        self._told = {*self._journal.pending, self._journal.run}

    def switched_off(self, what: frozenset[str]) -> None:
        """What has CDC off now (`NODE`, ids of tables); may be called by any thread."""
        self._off = what

    @property
    def off(self) -> list[str]:
        """What has CDC off, as far as is known."""
        return sorted(self._journal.off)

    def news(self, notices: Iterable[Notice]) -> list[Notice]:
        """Those that tell of lost input, and that no earlier life has told already."""
        return [each for each in notices if (each.kind == GAP or each.reason) and each.key not in self._told]

    # At the start

    def begin(self, listing: Listing, start: Position) -> list[Notice]:
        """What was lost since the last life, which ended at or behind `start`."""
        journal = self._journal
        found: list[Notice] = []
        if start == START:
            if not journal.existed and self._evicting():
                detail = "the node deletes what nobody has read (cdc_block_writes), and did so before the first start"
                found.append(self._gap(SEGMENTS_EVICTED, "begin", start, detail))
            if not journal.existed or not journal.fresh:
                journal.renew(lost=journal.existed)
            detail = "the position is gone, what was read and deleted before may not be applied" if journal.lost else ""
            reason = STATE_LOST if journal.lost else ""
            found.append(Notice(BEGIN, self._source, journal.run, reason, start, detail))
        elif not journal.existed:
            journal.renew(lost=False)
            journal.fresh = False
            found += self._unknown_segment(listing, start)
        found += self._missing(listing, start)
        for notice in found:
            if notice.kind == GAP:
                self._remember(notice, start)
        journal.existed = True
        journal.save()
        known = {notice.key for notice in found}
        return found + [notice for notice, _ in journal.pending.values() if notice.key not in known]

    def _unknown_segment(self, listing: Listing, start: Position) -> list[Notice]:
        """Without a journal: a segment that was not read to its end is there, as far as one can tell.

        3.11 moves whole segments here, which are deleted when they were read; nothing tells more of them.
        """
        current = any(entry.version > MOVED_SEGMENT_VERSION for entry in listing.segments)
        if not current or any(entry.id == start.segment for entry in listing.segments):
            return []
        detail = "the agent's own files are gone, and so is the segment of its position"
        return [self._gap(STATE_LOST, self._journal.run, start, detail)]

    def _missing(self, listing: Listing, start: Position) -> list[Notice]:
        journal = self._journal
        present = {entry.id for entry in listing.segments}
        found: list[Notice] = []
        for segment in sorted(journal.unread):
            if segment in present:
                continue
            journal.unread.discard(segment)
            if segment >= start.segment:
                offset = start.offset if segment == start.segment else 0
                found.append(self._vanished(Position(segment, offset)))
        newest = journal.newest
        behind = newest >= start.segment and newest > journal.finished and newest not in present
        if not found and behind and self._evicting():
            # Cassandra deletes the oldest first: had it deleted any that was written since, this one went before.
            detail = "cdc_raw is or was nearly full, and the node deletes what nobody has read (cdc_block_writes)"
            found.append(self._gap(SEGMENTS_EVICTED, str(newest), Position(newest, 0), detail))
        return found

    # While it runs

    def step(
        self, listing: Listing, ledger: Ledger, reading: int, position: Position, acknowledged: Position
    ) -> tuple[list[Notice], list[SegmentEntry]]:
        """What was lost since the last look; with the live segments of 3.11 that went without CDC data.

        `reading` is the segment that is open, -1 for none; `acknowledged` what is durable downstream.
        """
        journal = self._journal
        before = journal.marks()
        found, empty = self._went(listing, ledger, reading, acknowledged)
        found += self._unlinked(listing, ledger, reading)
        found += self._switched(position)
        if self.is_kept(acknowledged):
            journal.fresh = journal.lost = False
        journal.pending = {key: kept for key, kept in journal.pending.items() if kept[1] >= acknowledged}
        for notice in found:
            self._remember(notice, position)
        done = ledger.done(acknowledged)
        journal.finished = max([journal.finished, *done])
        unread = {entry.id for entry in listing.segments if _has_data(entry) and not ledger.is_read(entry.id)}
        if reading in journal.unread:
            unread.add(reading)
        # One that was read stays until its end is durable: until then a restart would read it again.
        unread |= {segment for segment in journal.unread - done if segment >= acknowledged.segment}
        journal.unread = set(sorted(unread - {notice.position.segment for notice in found})[-UNREAD_MAX:])
        newest = max((entry.id for entry in listing.segments if entry.version > MOVED_SEGMENT_VERSION), default=-1)
        if newest > journal.newest or journal.marks() != before:
            journal.newest = max(newest, journal.newest)
            journal.save()
        return found, empty

    def forget(self, segment: int) -> None:
        """The files of `segment`, which is durable downstream, are about to be deleted: none will miss it."""
        self._seen.pop(segment, None)
        if segment in self._journal.unread:
            self._journal.unread.discard(segment)
            self._journal.finished = max(self._journal.finished, segment)
            self._journal.save()

    def _went(
        self, listing: Listing, ledger: Ledger, reading: int, acknowledged: Position
    ) -> tuple[list[Notice], list[SegmentEntry]]:
        """Segments that went before they were opened (`cdc_block_writes: false`, or by hand)."""
        present = {entry.id for entry in listing.segments}
        found: list[Notice] = []
        empty: list[SegmentEntry] = []
        for entry in self._seen.values():
            if entry.id in present or ledger.is_read(entry.id) or entry.id == reading:
                continue
            if entry.live:
                empty.append(entry)
            elif _has_data(entry):
                offset = acknowledged.offset if entry.id == acknowledged.segment else 0
                found.append(self._vanished(Position(entry.id, offset)))
        self._seen = {entry.id: entry for entry in listing.segments}
        return found, empty

    def _unlinked(self, listing: Listing, ledger: Ledger, reading: int) -> list[Notice]:
        """Segments that went while the node was writing them: what came into them until their end is lost, too.

        The node goes on writing their index, until it says so or a later segment has one.
        """
        writing = self._journal.writing
        indexes = dict(listing.lone_indexes)
        for segment, path in indexes.items():
            if segment != reading and not ledger.is_read(segment) and not _is_over(listing, segment, path):
                writing.add(segment)
        found: list[Notice] = []
        for segment in sorted(writing):
            left = indexes.get(segment)
            if left is None or _is_over(listing, segment, left):
                writing.discard(segment)
                notice = self._vanished(Position(segment, 0))
                found.append(notice._replace(key=f"{notice.key}:end", detail="it went while the node was writing it"))
        return found

    def _switched(self, position: Position) -> list[Notice]:
        """CDC that is on again was off: what was written meanwhile is in no segment."""
        off, known = self._off, self._journal.off
        if off is None:
            return []
        now_ms = int(self._wall_clock() * 1000)
        for what in off - known.keys():
            known[what] = now_ms
        found: list[Notice] = []
        for what in sorted(known.keys() - off):
            since = known.pop(what)
            if what == NODE:
                found.append(self._gap(CDC_OFF, f"node:{since}", position, "CDC was off on the node"))
            else:
                gap = self._gap(TABLE_CDC_OFF, f"{what}:{since}", position, "CDC was off for the table")
                found.append(gap._replace(table=uuid.UUID(what)))
        return found

    def _remember(self, notice: Notice, position: Position) -> None:
        if len(self._journal.pending) < PENDING_MAX:
            self._journal.pending[notice.key] = (notice, position)

    def _vanished(self, position: Position) -> Notice:
        return self._gap(SEGMENT_VANISHED, str(position.segment), position, "it was deleted before it was read")

    def _gap(self, reason: str, key: str, position: Position, detail: str) -> Notice:
        return Notice(GAP, self._source, f"{reason}:{key}", reason, position, detail)


def _is_over(listing: Listing, segment: int, index_path: Path) -> bool:
    """Whether nothing more comes into a segment of which only the index is left."""
    index = read_index(index_path)
    return listing.newest_indexed > segment or (index is not None and index.completed)


def _has_data(entry: SegmentEntry) -> bool:
    """Whether the segment holds CDC data, as far as the directory shows."""
    return entry.indexed or (entry.version <= MOVED_SEGMENT_VERSION and not entry.live)
