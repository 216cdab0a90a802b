"""Mutations of one segment, gathered into chunks.

Invariant: a chunk never mixes segments, never exceeds its bounds (except by one mutation that does so alone), and its
`end` covers every mutation seen so far, forwarded or left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

    def extend(self, version: int, mutations: Sequence[bytes], ends: Sequence[int], first: int, segment: int) -> int:
        """Take of `mutations`, which end at the offsets `ends` of `segment`, those from `first` on that fit.

        Returns the place behind the last one taken; `first` when the chunk is full. The position stays.
        """
        last = min(len(mutations), first + max(CHUNK_MUTATIONS_MAX - len(self._mutations), 0))
        size = _size_of(mutations[first:last])
        if self._size + size > CHUNK_BYTES_MAX:
            last, size = self._fitting(mutations, first, last)
        if last > first:
            self._version = version
            self._segment = segment
            self._mutations += mutations[first:last]
            self._offsets += ends[first:last]
            self._size += size
        return last

    def _fitting(self, mutations: Sequence[bytes], first: int, last: int) -> tuple[int, int]:
        """Up to where mutations fit in, and their size; a large one alone fits into an empty chunk."""
        size = 0
        for place in range(first, last):
            more = size + _size_of(mutations[place : place + 1])
            if self._size + more > CHUNK_BYTES_MAX and not (place == first and self.empty):
                return place, size
            size = more
        return last, size

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


def _size_of(mutations: Sequence[bytes]) -> int:
    return sum(map(len, mutations)) + len(mutations) * MUTATION_OVERHEAD_BYTES
