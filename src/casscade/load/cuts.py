"""What TRUNCATE made void: mutations of a commit log up to a position, rows that were read from the table before.

Invariant: timestamps don't count, only where in its log a mutation lies, or when a row was read.
"""

from __future__ import annotations

from collections.abc import Mapping

from casscade.core.position import START, Position
from casscade.transport.chunk import Chunk


class Cuts:
    """What is void of the tables that were truncated.

    `logs`: by host id and table id (16 bytes), the position up to which mutations are void. `reads`: by table id, the
    Unix time in seconds up to which rows that were read are void.
    """

    def __init__(
        self, logs: Mapping[str, Mapping[bytes, Position]] | None = None, reads: Mapping[bytes, float] | None = None
    ) -> None:
        self._logs = logs or {}
        self._reads = reads or {}
        # Segments behind it hold nothing that is void, so that the stream's front pays one comparison a chunk.
        self._segments = {
            host: max((cut.segment for cut in tables.values()), default=-1) for host, tables in self._logs.items()
        }
        self._newest_read = max(self._reads.values(), default=float("-inf"))

    def concern(self, chunk: Chunk) -> bool:
        """Whether any mutation of the chunk may be void."""
        if chunk.scanned:
            return chunk.captured_at <= self._newest_read
        return chunk.segment <= self._segments.get(chunk.origin, -1)

    def void(self, chunk: Chunk, offset: int, table_id: bytes) -> bool:
        """Whether an update of a table, in the mutation that ends at `offset` of the chunk's segment, is void."""
        if chunk.scanned:
            return chunk.captured_at <= self._reads.get(table_id, float("-inf"))
        return Position(chunk.segment, offset) <= self._logs[chunk.origin].get(table_id, START)
