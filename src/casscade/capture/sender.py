"""The way from the follower into the transport: chunks, positions, and what was counted on the way.

Invariant: what is put into the transport carries a position that never goes back, and after a refusal nothing more is
put.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from threading import Event
from typing import Final, Protocol

from casscade.capture.chunks import ChunkBuilder
from casscade.capture.counters import CaptureCounters
from casscade.core import failpoints
from casscade.core.notice import Notice
from casscade.core.position import Position
from casscade.transport.chunk import Chunk

# How often a position is sent when nothing but left-out mutations moves it.
POSITION_INTERVAL_S: Final = 1.0


class Outlet(Protocol):
    """What the follower needs of a transport (see `DirectTransport`)."""

    def put(self, chunk: Chunk, stop: Event) -> bool:
        """Take the chunk, or return False when stopped."""

    def acknowledged(self, source: str) -> Position:
        """What is durable downstream."""


class Sender:
    """Puts the mutations of `source` behind `start` into `transport`; `refused` once it was stopped meanwhile."""

    def __init__(
        self,
        source: str,
        transport: Outlet,
        start: Position,
        stop: Event,
        counters: CaptureCounters,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self.refused = False
        self._source = source
        self._transport = transport
        self._start = start
        self._stop = stop
        self._counters = counters
        self._clock = clock
        self._builder = ChunkBuilder(source, start, wall_clock)
        self._sent_at = clock()

    @property
    def position(self) -> Position:
        """The end of everything that was added or passed over."""
        return self._builder.position

    def advance(self, position: Position) -> None:
        """Everything before `position` was added or passed over; an older one changes nothing."""
        self._builder.position = max(self._builder.position, position)

    def acknowledged(self) -> Position:
        """What is durable downstream."""
        return max(self._start, self._transport.acknowledged(self._source))

    def add(
        self, version: int, mutations: Sequence[bytes], ends: Sequence[int], segment: int, frozen: Position | None
    ) -> bool:
        """Take mutations that end at the offsets `ends` of `segment`; False when the transport refused a chunk.

        Each moves the position to its end, or all to `frozen`.
        """
        builder = self._builder
        taken = 0
        while taken < len(mutations):
            before, taken = taken, builder.extend(version, mutations, ends, taken, segment)
            if taken > before:
                builder.position = Position(segment, ends[taken - 1]) if frozen is None else frozen
            if taken < len(mutations) and not self._send(version):
                return False
        return True

    def tell(self, notices: Iterable[Notice]) -> None:
        """Send `notices` with what goes next, before any position behind them."""
        for notice in notices:
            if self._builder.fits(len(notice.content)) or self._send(notice.version):
                self._builder.tell(notice)

    def flush(self, version: int) -> bool:
        """Send what there is, be it only a position; False when the transport refused it."""
        if self._builder.moved or not self._builder.empty:
            return self._send(version)
        return True

    def flush_due(self, version: int) -> None:
        """Send mutations at once, a mere position now and then."""
        due = self._builder.moved and self._clock() - self._sent_at >= POSITION_INTERVAL_S
        if due or not self._builder.empty:
            self._send(version)

    def _send(self, version: int) -> bool:
        chunk = self._builder.take(version)
        if not self._transport.put(chunk, self._stop):
            self.refused = True
            return False
        if failpoints.ARMED:
            failpoints.reach("chunk_handed_over")
        self._sent_at = self._clock()
        self._counters.chunks_sent += 1
        self._counters.mutations_forwarded += len(chunk.mutations)
        self._counters.bytes_forwarded += sum(map(len, chunk.mutations))
        return True
