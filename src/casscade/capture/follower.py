"""Following one node's commit log: segments in order, live, filtered, as chunks into the transport.

Invariant: a chunk's position covers nothing that was not read, checked and either put into this or an earlier chunk,
or counted as left out; and no file is deleted before the transport has acknowledged all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from threading import Event
from typing import Final, Protocol

from casscade.capture.chunks import ChunkBuilder
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
from casscade.capture.opened import OpenSegment
from casscade.capture.quarantine import Quarantine
from casscade.capture.reclaim import Ledger, delete_segment, read_index
from casscade.commitlog.peek import mentions_any
from casscade.core.position import Position
from casscade.transport.chunk import Chunk

# Between two looks at the directory: short while data flows, longer when nothing comes.
POLL_MIN_S: Final = 0.02
POLL_MAX_S: Final = 0.1
# How often a position is sent when nothing but left-out mutations moves it.
POSITION_INTERVAL_S: Final = 1.0

NOT_REPLICATED: Final = "table_not_replicated"
NO_CDC_DATA: Final = "segment_without_cdc_data"
VANISHED: Final = "segment_vanished"
LATE: Final = "segment_late"


class Outlet(Protocol):
    """What the follower needs of a transport (see `DirectTransport`)."""

    def put(self, chunk: Chunk, stop: Event) -> bool:
        """Take the chunk, or return False when stopped."""

    def acknowledged(self, source: str) -> Position:
        """What is durable downstream."""


class Follower:
    """Follows `directory` (cdc_raw) for `source` from the position `start` on.

    - `tables` gives the ids of the tables to carry over, `unwanted` those known not to be. A mutation of an id in
      neither set goes on, because it may belong to a table that is newer than the schema that was read; without
      `unwanted` only `tables` decide.
    - `on_anomaly` hears of damage, gaps and late segments; it must not block.
    - `durable`: forward only what the node has flushed to its disk (bounded by the index).

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
        durable: bool = True,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.source = source
        self.counters = CaptureCounters()
        self._directory = directory
        self._state_directory = state_directory
        self._tables = tables
        self._unwanted = unwanted
        self._transport = transport
        self._start = start
        self._stop = stop
        self._on_anomaly = on_anomaly
        self._durable = durable
        self._clock = clock
        self._quarantine = Quarantine(state_directory)
        self._ledger = Ledger(start)
        self._builder = ChunkBuilder(source, start, wall_clock)
        self._current: OpenSegment | None = None
        self._seen: dict[int, SegmentEntry] = {}
        self._started = False
        self._refused = False
        self._sent_at = clock()
        self._status = CaptureStatus(0, start, start, 0, 0, False)

    def run(self) -> None:
        """Follow until `stop` is set. Raises ConfigurationError (see `check_directories`, `lock_directory`,
        `check_start`, `SegmentFile`) and RetryableError when a file can't be read or kept; after that a new follower
        begins at the last durable position.
        """
        check_directories(self._directory, self._state_directory)
        self.counters.quarantine_bytes = self._quarantine.size()
        with lock_directory(self._directory):
            try:
                pause = POLL_MIN_S
                while not self._stopped():
                    read_before = self.counters.mutations_read
                    if self.step():
                        continue
                    idle = self.counters.mutations_read == read_before
                    pause = min(POLL_MAX_S, pause * 1.5) if idle else POLL_MIN_S
                    self._stop.wait(pause)
            finally:
                self.close()

    def step(self) -> bool:
        """Look at the directory once and read what is there, up to the end of a segment.

        Returns whether the next step may find more at once.
        """
        listing = list_directory(self._directory)
        if not self._started:
            check_start(self._directory, listing, self.source, self._start)
            self._started = True
        self._notice_vanished(listing)
        advanced = False
        if self._current is None:
            advanced = self._open_next(listing)
        if self._current is not None:
            advanced = self._read(self._current, listing)
        if not self._stopped():
            self._send_due()
            self._reclaim(listing)
        self._look(listing, advanced)
        return advanced and not self._stopped()

    def status(self) -> CaptureStatus:
        """The state after the last step, with what is acknowledged now."""
        return self._status._replace(acknowledged=self._acknowledged())

    def close(self) -> None:
        """Close the open segment; the follower is not used any more."""
        if self._current is not None:
            self._current.file.close()
            self._current = None

    def _stopped(self) -> bool:
        return self._refused or self._stop.is_set()

    def _acknowledged(self) -> Position:
        return max(self._start, self._transport.acknowledged(self.source))

    # Which segment comes next

    def _open_next(self, listing: Listing) -> bool:
        for entry in listing.segments:
            if self._ledger.is_read(entry.id):
                continue
            if entry.indexed or entry.version <= MOVED_SEGMENT_VERSION:
                after = self._start.offset if entry.id == self._start.segment else 0
                return self._open(entry, after, None)
            if not self._ledger.may_pass(entry, listing, self._clock()):
                break
            self._ledger.let_pass(entry.id)
            self.counters.skip(NO_CDC_DATA)
        for entry in listing.segments:
            if self._ledger.is_late(entry):
                return self._open(entry, 0, self._builder.position)
        return False

    def _open(self, entry: SegmentEntry, after: int, frozen: Position | None) -> bool:
        try:
            self._current = OpenSegment(entry, after, frozen)
        except FileNotFoundError:
            return True
        if frozen is not None:
            self._report(Anomaly(self.source, Position(entry.id, 0), LATE, "it appeared below the position; read now"))
        return True

    def _notice_vanished(self, listing: Listing) -> None:
        """Report segments with CDC data that went before they were opened (`cdc_block_writes: false`, or by hand)."""
        present = {entry.id: entry for entry in listing.segments}
        for entry in self._seen.values():
            if entry.id in present or self._ledger.is_read(entry.id):
                continue
            if self._current is not None and self._current.entry.id == entry.id:
                continue
            if entry.indexed or entry.version <= MOVED_SEGMENT_VERSION:
                self.counters.gaps += 1
                after = self._start.offset if entry.id == self._start.segment else 0
                position = Position(entry.id, after)
                self._report(Anomaly(self.source, position, VANISHED, "it was deleted before it was read"))
        self._seen = {entry.id: entry for entry in listing.segments}

    # Reading

    def _read(self, current: OpenSegment, listing: Listing) -> bool:
        """Forward what the open segment has; True when it is finished."""
        index = current.read_index(listing)
        while True:
            sections = current.poll(index, self._durable)
            self._report_damage(current)
            for section in sections:
                if not self._forward(current, section.mutations, section.ends):
                    return False
                if current.frozen is None:
                    self._builder.position = Position(current.entry.id, section.end)
            if not current.file.more:
                break
        if not current.file.finished:
            return False
        return self._finish(current)

    def _forward(self, current: OpenSegment, mutations: list[bytes], ends: list[int]) -> bool:
        """Put the wanted mutations into chunks; False when the transport refused one."""
        counters = self.counters
        builder = self._builder
        wanted = self._tables()
        unwanted = None if self._unwanted is None else self._unwanted()
        segment = current.entry.id
        version = current.entry.version
        skipped = 0
        for i, mutation in enumerate(mutations):
            if not mentions_any(mutation, wanted) and (
                unwanted is None or (mutation[:1] == b"\x01" and mutation[1:17] in unwanted)
            ):
                skipped += 1
                continue
            if not builder.fits(len(mutation)) and not self._send(version):
                return False
            end = Position(segment, ends[i]) if current.frozen is None else current.frozen
            builder.add(version, mutation, end, ends[i])
        counters.mutations_read += len(mutations)
        counters.bytes_read += sum(map(len, mutations))
        if skipped:
            counters.skip(NOT_REPLICATED, skipped)
        return True

    def _finish(self, current: OpenSegment) -> bool:
        entry = current.entry
        current.file.close()
        self._current = None
        if current.damaged or self._quarantine.holds(entry.path):
            self._keep(entry)
            self.counters.segments_quarantined += 1
        self.counters.segments_finished += 1
        if current.frozen is None:
            end = max(Position(entry.id, current.file.offset), self._builder.position)
            self._builder.position = end
            self._ledger.finish(entry.id, end.offset)
        else:
            self._ledger.finish_late(entry.id, current.frozen)
        if self._builder.moved or not self._builder.empty:
            self._send(entry.version)
        return True

    def _report_damage(self, current: OpenSegment) -> None:
        """Before anything behind the damage is forwarded: the position must not pass what is not kept."""
        if not current.file.anomalies:
            return
        if not current.damaged:
            current.damaged = True
            self._keep(current.entry)
        for anomaly in current.file.anomalies:
            lost = "the rest of it" if anomaly.end < 0 else f"{anomaly.end - anomaly.start} bytes"
            detail = f"{lost} can't be read; the segment is kept in {self._quarantine.directory}"
            position = Position(current.entry.id, anomaly.start)
            self._report(Anomaly(self.source, position, anomaly.reason, detail))
        current.file.anomalies.clear()

    def _keep(self, entry: SegmentEntry) -> None:
        self._quarantine.keep(entry.path, entry.index_path)
        self.counters.quarantine_bytes = self._quarantine.size()

    def _report(self, anomaly: Anomaly) -> None:
        self.counters.anomaly(anomaly.reason)
        self._on_anomaly(anomaly)

    # Sending and deleting

    def _send_due(self) -> None:
        version = 8 if self._current is None else self._current.entry.version
        due = self._builder.moved and self._clock() - self._sent_at >= POSITION_INTERVAL_S
        if due or not self._builder.empty:
            self._send(version)

    def _send(self, version: int) -> bool:
        chunk = self._builder.take(version)
        if not self._transport.put(chunk, self._stop):
            self._refused = True
            return False
        self._sent_at = self._clock()
        self.counters.chunks_sent += 1
        self.counters.mutations_forwarded += len(chunk.mutations)
        self.counters.bytes_forwarded += sum(map(len, chunk.mutations))
        return True

    def _reclaim(self, listing: Listing) -> None:
        acknowledged = self._acknowledged()
        reading = -1 if self._current is None else self._current.entry.id
        for entry in listing.segments:
            if entry.id != reading and self._ledger.releasable(entry, listing, acknowledged):
                delete_segment(entry)
                self._ledger.forget(entry.id)
                self._seen.pop(entry.id, None)
                self.counters.segments_deleted += 1
        for segment, path in listing.lone_indexes:
            if segment != reading and self._ledger.is_read(segment):
                index = read_index(path)
                if index is not None and index.completed:
                    path.unlink(missing_ok=True)

    def _look(self, listing: Listing, advanced: bool) -> None:
        reading = 0 if self._current is None else self._current.entry.id
        waiting = [entry for entry in listing.segments if entry.indexed and not self._ledger.is_read(entry.id)]
        waiting = [entry for entry in waiting if entry.id != reading]
        unread = sum(entry.size for entry in waiting)
        if self._current is not None:
            size = next((entry.size for entry in listing.segments if entry.id == reading), 0)
            unread += max(0, size - self._current.file.offset)
        self._status = CaptureStatus(
            segment=reading,
            position=self._builder.position,
            acknowledged=self._status.acknowledged,
            segments_waiting=len(waiting),
            bytes_unread=unread,
            caught_up=not advanced and not waiting and not self._stopped(),
        )
