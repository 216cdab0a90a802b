"""The direct transport: capture and load in one process, a queue bounded in bytes between them.

Invariant: chunks come out in the order in which they went in, and the queue never holds more than `queue_bytes`,
except for a single chunk that is larger than that alone. Nothing here is durable: the commit log itself is the
buffer, and what was queued when the process dies is read from it again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Final

from casscade.core import failpoints
from casscade.core.errors import InvariantError
from casscade.core.position import START, Position
from casscade.transport.chunk import Chunk

# A chunk's own objects, so that chunks which only move a position can't pile up without a bound either.
CHUNK_OVERHEAD_BYTES: Final = 256
# A producer that waits for room looks at its stop event this often; the event can't notify the condition.
_STOP_CHECK_S: Final = 0.05


def chunk_cost(chunk: Chunk) -> int:
    """Bytes that the queue counts for `chunk`."""
    return chunk.size + CHUNK_OVERHEAD_BYTES


class DirectTransport:
    """A bounded queue of chunks with the way back for acknowledgements; every method may be called by any thread."""

    def __init__(self, queue_bytes: int) -> None:
        if queue_bytes <= 0:
            raise InvariantError("transport_queue_bytes", f"queue_bytes must be positive, not {queue_bytes}")
        self._queue_bytes = queue_bytes
        self._changed = threading.Condition()
        self._chunks: deque[Chunk] = deque()
        # Producers are served in the order of their arrival: else small chunks could keep a large one out for ever.
        self._waiting: deque[object] = deque()
        self._bytes = 0
        self._closed = False
        self._life = 0
        self._acknowledged: dict[str, Position] = {}

    @property
    def queue_bytes(self) -> int:
        """The bound, in bytes."""
        return self._queue_bytes

    @property
    def bytes_queued(self) -> int:
        """Bytes held now (`chunk_cost` of every queued chunk)."""
        with self._changed:
            return self._bytes

    @property
    def chunks_queued(self) -> int:
        """Chunks held now."""
        with self._changed:
            return len(self._chunks)

    @property
    def closed(self) -> bool:
        """Whether `close` was called: nothing enters any more, what is queued can still be taken."""
        with self._changed:
            return self._closed

    def put(self, chunk: Chunk, stop: threading.Event) -> bool:
        """Queue `chunk`; wait while it does not fit, unless the queue is empty.

        Returns False, and has not taken the chunk, when `stop` was set or the transport closed before there was room.
        """
        cost = chunk_cost(chunk)
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                while not self._closed:
                    if self._waiting[0] is ticket and (not self._chunks or self._bytes + cost <= self._queue_bytes):
                        self._chunks.append(chunk)
                        self._bytes += cost
                        return True
                    if stop.is_set():
                        return False
                    self._changed.wait(_STOP_CHECK_S)
                return False
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def get(self, timeout_s: float) -> Chunk | None:
        """The oldest chunk; None when none came within `timeout_s` seconds, or at once when closed and empty."""
        return self.take(timeout_s)[1]

    def take(self, timeout_s: float) -> tuple[int, Chunk | None]:
        """As `get`, with the life of the queue that the answer belongs to: how often `clear` was called before."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not self._chunks:
                remaining = deadline - time.monotonic()
                if self._closed or remaining <= 0:
                    return self._life, None
                self._changed.wait(remaining)
            chunk = self._chunks.popleft()
            self._bytes -= chunk_cost(chunk)
            self._changed.notify_all()
            return self._life, chunk

    @property
    def life(self) -> int:
        """How often `clear` was called."""
        with self._changed:
            return self._life

    def clear(self) -> None:
        """Forget every queued chunk, since their source is read again: another life of the queue begins."""
        with self._changed:
            self._life += 1
            self._chunks.clear()
            self._bytes = 0
            self._changed.notify_all()

    def close(self) -> None:
        """Refuse further chunks and wake everyone who waits; may be called again."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def acknowledge(self, source: str, position: Position) -> None:
        """Everything of `source` up to `position` is durable downstream; an older position changes nothing."""
        with self._changed:
            if position > self._acknowledged.get(source, START):
                self._acknowledged[source] = position
        if failpoints.ARMED:
            failpoints.reach("acknowledged")

    def acknowledged(self, source: str) -> Position:
        """The newest acknowledged position of `source`; `START` when there is none."""
        with self._changed:
            return self._acknowledged.get(source, START)
