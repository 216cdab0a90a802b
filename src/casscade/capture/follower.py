"""Following one node's commit log: segments in order, live, filtered, as chunks into the transport.

Invariant: a chunk's position covers nothing that was not read, checked and either put into this or an earlier chunk,
or counted as left out; and no file is deleted before the transport has acknowledged all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from threading import Event
from typing import Final

from casscade.capture.counters import Anomaly, CaptureCounters, CaptureStatus
from casscade.capture.directory import (
    MOVED_SEGMENT_VERSION,
    Listing,
    SegmentEntry,
    check_directories,
    check_start,
    list_directory,
    lock_directory,
)
from casscade.capture.live import LeftSegments, Switch
from casscade.capture.losses import Losses
from casscade.capture.opened import OpenSegment, unread_of
from casscade.capture.reclaim import Ledger, delete_segment, read_index
from casscade.capture.reports import Reporter
from casscade.capture.sender import Outlet, Sender
from casscade.commitlog.peek import mentions_any
from casscade.core.notice import Notice
from casscade.core.position import Position

# Between two looks at the directories: short while data flows, longer (`capture.poll_ms`) when nothing comes.
POLL_MIN_S: Final = 0.02
POLL_S_DEFAULT: Final = 0.1

NOT_REPLICATED: Final = "table_not_replicated"
NO_CDC_DATA: Final = "segment_without_cdc_data"


class Follower:
    """Follows `directory` (cdc_raw) for `source` from the position `start` on.

    - `tables` gives the ids of the tables to carry over, `unwanted` those known not to be. A mutation of an id in
      neither goes on: its table may be newer than the schema that was read; without `unwanted` only `tables` decide.
    - `on_anomaly` hears of damage, gaps and late segments; it must not block. `eager`: forward also what the node has
      not synced to its disk yet (see `SegmentFile.poll`).
    - `commitlog_directory`: where a 3.11 node keeps its live segments; they are read there, and deleted only after
      they came to `directory`. Segments of later nodes are live in `directory` itself.
    - `poll_s`: the longest pause between two looks. `evicting`: see `Losses`. `halt_on_damage`: stop with an error at
      the first damage, instead of going on behind it.
    - `released`: up to where segments may be deleted once they are acknowledged; without it, up to anywhere.

    One thread calls `run` (or `step`); `status` and `counters` may be read by any.
    """

    def __init__(
        self,
        source: str,
        directory: Path,
        state_directory: Path,
        tables: Callable[[], Collection[bytes]],
        transport: Outlet,
        start: Position,
        stop: Event,
        *,
        unwanted: Callable[[], Collection[bytes]] | None = None,
        on_anomaly: Callable[[Anomaly], None] = lambda _: None,
        eager: bool = False,
        commitlog_directory: Path | None = None,
        poll_s: float = POLL_S_DEFAULT,
        released: Callable[[], Position] | None = None,
        evicting: Callable[[], bool] = lambda: False,
        halt_on_damage: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.source = source
        self.counters = CaptureCounters()
        self._directory = directory
        self._state_directory = state_directory
        self._commitlog = commitlog_directory
        self._tables = tables
        self._unwanted = unwanted
        self._start = start
        self._stop = stop
        self._eager = eager
        self._poll_s = poll_s
        self._released = released
        self._clock = clock
        self._reports = Reporter(source, state_directory, self.counters, on_anomaly, halt=halt_on_damage)
        self.losses = Losses(source, state_directory, evicting, wall_clock)
        self._left = LeftSegments(state_directory, source)
        self._ledger = Ledger(start)
        self._switch = Switch()
        self._sender = Sender(source, transport, start, stop, self.counters, clock, wall_clock)
        self._current: OpenSegment | None = None
        self._started = False
        self._status = CaptureStatus(0, start, start, 0, 0, False)

    def run(self) -> None:
        """Follow until `stop` is set. Raises ConfigurationError (see `check_directories`, `lock_directory`,
        `check_start`, `SegmentFile`) and RetryableError when a file can't be read or kept; after that a new follower
        begins at the last durable position.
        """
        check_directories(self._directory, self._state_directory, self._commitlog)
        self._reports.measure()
        with lock_directory(self._directory):
            try:
                shortest = min(POLL_MIN_S, self._poll_s)
                pause = shortest
                while not self._stopped():
                    read_before = self.counters.mutations_read
                    if self.step():
                        continue
                    idle = self.counters.mutations_read == read_before
                    pause = min(self._poll_s, pause * 1.5) if idle else shortest
                    self._stop.wait(pause)
            finally:
                self.close()

    def step(self) -> bool:
        """Look at the directories once and read what is there, up to the end of a segment.

        Returns whether the next step may find more at once.
        """
        listing = list_directory(self._directory, self._commitlog)
        if not self._started:
            self._begin(listing)
        self._notice_losses(listing)
        advanced = False
        if self._current is None:
            advanced = self._open_next(listing)
        if self._current is not None:
            advanced = self._read(self._current, listing)
        if not self._stopped():
            advanced = self._read_moved(listing) or advanced
        if not self._stopped():
            self._sender.flush_due(8 if self._current is None else self._current.entry.version)
            self._reclaim(listing)
        self._look(listing, advanced)
        return advanced and not self._stopped()

    def status(self) -> CaptureStatus:
        """The state after the last step, with what is acknowledged now."""
        return self._status._replace(acknowledged=self._sender.acknowledged())

    def close(self) -> None:
        """Close the open segment; the follower is not used any more."""
        if self._current is not None:
            self._current.file.close()
            self._current = None

    def _begin(self, listing: Listing) -> None:
        check_start(self._directory, listing, self.source, self._start)
        if self._commitlog is None:
            self._left.discard()
        else:
            self._ledger = Ledger(self._start, self._left.load(below=self._start.segment))
        self._tell(self.losses.begin(listing, self._start))
        self._started = True

    def _stopped(self) -> bool:
        return self._sender.refused or self._stop.is_set()

    def _open_next(self, listing: Listing) -> bool:
        for entry in listing.segments:
            if self._ledger.is_read(entry.id):
                continue
            after = self._known(entry)
            if entry.indexed or entry.version <= MOVED_SEGMENT_VERSION:
                return self._open(entry, after, None)
            if not self._ledger.may_pass(entry, listing, self._clock()):
                if self._eager:
                    return self._open(entry, after, None)
                break
            self._pass_over(entry)
        for entry in listing.segments:
            if entry.version > MOVED_SEGMENT_VERSION and self._ledger.is_late(entry):
                return self._open(entry, 0, self._sender.position)
        return False

    def _known(self, entry: SegmentEntry) -> int:
        """The offset behind which the segment is read."""
        return self._start.offset if entry.id == self._start.segment else 0

    def _open(self, entry: SegmentEntry, after: int, frozen: Position | None) -> bool:
        try:
            self._current = OpenSegment(entry, after, frozen)
        except FileNotFoundError:
            return True
        if frozen is not None:
            self._reports.late(entry)
        return True

    def _pass_over(self, entry: SegmentEntry) -> None:
        self._ledger.let_pass(entry.id)
        self.counters.skip(NO_CDC_DATA)

    def _read_moved(self, listing: Listing) -> bool:
        """Read a segment of 3.11 that came to `cdc_raw` below the position; True when there was one.

        One that was followed while it was live has nothing new, usually: only its markers are looked at then.
        """
        entry = next(
            (each for each in listing.segments if each.version <= MOVED_SEGMENT_VERSION and self._late(each)), None
        )
        if entry is None or not self._sender.flush(entry.version):
            return False
        known = self._ledger.left_at(entry.id)
        try:
            late = OpenSegment(entry, known, self._sender.position)
        except FileNotFoundError:
            return True
        try:
            self._read(late, listing)
        finally:
            late.file.close()
        if late.mutations_read or known == 0:
            self._reports.late(entry)
        return True

    def _late(self, entry: SegmentEntry) -> bool:
        reading = self._current is not None and self._current.entry.id == entry.id
        return not reading and self._ledger.is_late(entry)

    def _notice_losses(self, listing: Listing) -> None:
        """Tell of what was lost since the last look."""
        reading = -1 if self._current is None else self._current.entry.id
        sent, durable = self._sender.position, self._sender.acknowledged()
        found, empty = self.losses.step(listing, self._ledger, reading, sent, durable)
        if empty:
            self.counters.skip(NO_CDC_DATA, len(empty))
        self._tell(found)

    def _tell(self, notices: list[Notice]) -> None:
        self._sender.tell(notices)
        for notice in self.losses.news(notices):
            self._reports.lost(notice)

    # Reading

    def _read(self, current: OpenSegment, listing: Listing) -> bool:
        """Forward what the open segment has; True when it is finished, or left for the next one."""
        index = current.read_index(listing)
        # Asked before the last look into the file: what was in it by then is read.
        left = index is None and current.frozen is None and self._is_left(current.entry, listing)
        while True:
            sections = current.poll(index, eager=self._eager)
            self._sender.tell(self._reports.damage(current))
            for section in sections:
                if not self._forward(current, section.mutations, section.ends):
                    return False
                if current.frozen is None:
                    self._sender.advance(Position(current.entry.id, section.end))
            if not current.file.more:
                break
        if current.file.finished:
            return self._finish(current, listing)
        return left and self._leave(current, listing)

    def _is_left(self, entry: SegmentEntry, listing: Listing) -> bool:
        """Whether the node has gone on from a segment without index, which no index will declare complete."""
        return self._switch.is_over(entry, listing, self._clock()) and not entry.index_path.exists()

    def _leave(self, current: OpenSegment, listing: Listing) -> bool:
        """Go on to the next segment although the node still holds this one."""
        self.close()
        if current.entry.version > MOVED_SEGMENT_VERSION:
            self._pass_over(current.entry)
            return True
        self._ledger.leave(current.entry.id, self._left.add(current.entry.id, current.file.offset, listing))
        return self._sender.flush(current.entry.version)

    def _forward(self, current: OpenSegment, mutations: list[bytes], ends: list[int]) -> bool:
        """Put the wanted mutations into chunks; False when the transport refused one."""
        counters = self.counters
        wanted = self._tables()
        unwanted = None if self._unwanted is None else self._unwanted()
        left_out = {
            place
            for place, mutation in enumerate(mutations)
            # Nearly all are of one update and wanted; the rest of the question is for the others.
            if not (mutation[:1] == b"\x01" and mutation[1:17] in wanted)
            and not mentions_any(mutation, wanted)
            and (unwanted is None or (mutation[:1] == b"\x01" and mutation[1:17] in unwanted))
        }
        skipped = len(left_out)
        kept = mutations if not skipped else [each for i, each in enumerate(mutations) if i not in left_out]
        kept_ends = ends if not skipped else [end for i, end in enumerate(ends) if i not in left_out]
        if not self._sender.add(current.entry.version, kept, kept_ends, current.entry.id, current.frozen):
            return False
        current.mutations_read += len(mutations)
        counters.mutations_read += len(mutations)
        counters.bytes_read += sum(map(len, mutations))
        if skipped:
            counters.skip(NOT_REPLICATED, skipped)
        return True

    def _finish(self, current: OpenSegment, listing: Listing) -> bool:
        entry = current.entry
        current.file.close()
        if current is self._current:
            self._current = None
        self._reports.finished(current)
        end = Position(entry.id, current.file.offset)
        if current.frozen is None:
            self._sender.advance(end)
            self._ledger.finish(entry.id, self._sender.position.offset)
            if entry.live:
                # It went without coming to cdc_raw.
                self._ledger.forget(entry.id)
            elif self._commitlog is not None and entry.version <= MOVED_SEGMENT_VERSION:
                self._left.add(entry.id, self._sender.position.offset, listing)
        elif current.mutations_read == 0:
            self._ledger.finish(entry.id, end.offset)
        else:
            self._ledger.finish_late(entry.id, current.frozen)
        self._sender.flush(entry.version)
        return True

    def _reclaim(self, listing: Listing) -> None:
        acknowledged = self._sender.acknowledged()
        if self._released is not None:
            acknowledged = min(acknowledged, self._released())
        reading = -1 if self._current is None else self._current.entry.id
        for entry in listing.segments:
            if entry.id != reading and self._ledger.releasable(entry, listing, acknowledged):
                self.losses.forget(entry.id)
                delete_segment(entry)
                self._ledger.forget(entry.id)
                self.counters.deleted(entry.id)
        for segment, path in listing.lone_indexes:
            if segment != reading and self._ledger.is_read(segment):
                index = read_index(path)
                if index is not None and index.completed:
                    path.unlink(missing_ok=True)

    def _look(self, listing: Listing, advanced: bool) -> None:
        reading, waiting, unread = unread_of(listing, self._ledger, self._current)
        self._status = CaptureStatus(
            segment=reading,
            position=self._sender.position,
            acknowledged=self._status.acknowledged,
            segments_waiting=waiting,
            bytes_unread=unread,
            caught_up=not advanced and not waiting and not self._stopped(),
        )
