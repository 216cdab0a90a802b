"""Mutations of one segment, gathered into chunks.

Invariant: a chunk never mixes segments, never exceeds its bounds (except by one mutation that does so alone), and its
`end` covers every mutation seen so far, forwarded or left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from casscade.core.limits import CHUNK_BYTES_MAX, CHUNK_MUTATIONS_MAX
from casscade.core.notice import Notice
from casscade.core.position import Position
from casscade.transport.chunk import Chunk

# What a mutation costs the queue beside its bytes: the bytes object's header, two list slots and the offset.
MUTATION_OVERHEAD_BYTES: Final = 96


class ChunkBuilder:
    """Gathers mutations of `source`; `position` is the end of everything that was added or passed over."""

    def __init__(self, source: str, start: Position, clock: Callable[[], float]) -> None:
        self._source = source
        self._clock = clock
        self._sent = start
        self._version = 0
        self._mutations: list[bytes] = []
        self._offsets: list[int] = []
        self._size = 0
        self._segment = -1
        self.notices: list[Notice] = []
        self.position: Position = start

    @property
    def empty(self) -> bool:
        """Whether no mutation and no notice is waiting."""
        return not self._mutations and not self.notices

    @property
    def moved(self) -> bool:
        """Whether the position has moved since the last chunk was taken."""
        return self.position != self._sent

    def fits(self, length: int) -> bool:
        """Whether a mutation of `length` bytes can join the chunk that is being built."""
        if self.empty:
            return True
        return (
            len(self._mutations) < CHUNK_MUTATIONS_MAX
            and self._size + length + MUTATION_OVERHEAD_BYTES <= CHUNK_BYTES_MAX
        )

    def add(self, version: int, mutation: bytes, end: Position, offset: int, segment: int) -> None:
        """Take a mutation that ends at `offset` of `segment`, after `fits`; `end` is the position behind it."""
        self._version = version
        self._segment = segment
        self._mutations.append(mutation)
        self._offsets.append(offset)
        self._size += len(mutation) + MUTATION_OVERHEAD_BYTES
        self.position = end

    def tell(self, notice: Notice) -> None:
        """Take a notice, after `fits` of its content."""
        self.notices.append(notice)
        self._size += len(notice.content)

    def take(self, version: int) -> Chunk:
        """The chunk so far, possibly without mutations; a new one begins."""
        chunk = Chunk(
            source=self._source,
            version=self._version if self._mutations else version,
            end=self.position,
            captured_at=self._clock(),
            mutations=self._mutations,
            offsets=self._offsets,
            size=self._size,
            segment=self._segment if self._mutations else -1,
            notices=self.notices,
        )
        self.notices = []
        self._mutations = []
        self._offsets = []
        self._size = 0
        self._sent = self.position
        return chunk
