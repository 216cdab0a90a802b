"""A page as it came over the wire.

Invariant: nothing of it is decoded before somebody asks.
"""

from __future__ import annotations


def split_rows(data: bytes, count: int, columns: int) -> list[list[bytes | None]]:
    """`count` rows of `columns` values, each an `[int]` length (negative: null) and its bytes."""
    rows: list[list[bytes | None]] = []
    offset = 0
    for _ in range(count):
        row: list[bytes | None] = []
        for _ in range(columns):
            length = int.from_bytes(data[offset : offset + 4], "big", signed=True)
            offset += 4
            if length < 0:
                row.append(None)
            else:
                row.append(data[offset : offset + length])
                offset += length
        rows.append(row)
    return rows


class Page:
    """One page: the bytes of `count` rows, the second that their TTLs count from, how to go on (None at the end).

    `read_at` is the microsecond at which the read began, by the clock of this host.
    """

    __slots__ = ("columns", "count", "data", "now", "paging_state", "read_at")

    def __init__(
        self, data: bytes, count: int, columns: int, *, now: int, read_at: int, paging_state: bytes | None
    ) -> None:
        self.data: bytes = data
        self.count: int = count
        self.columns: int = columns
        self.now: int = now
        self.read_at: int = read_at
        self.paging_state: bytes | None = paging_state

    @property
    def rows(self) -> list[list[bytes | None]]:
        """The values of each row."""
        return split_rows(self.data, self.count, self.columns)
