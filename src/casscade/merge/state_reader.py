"""Reads the parts that a row's stored state is made of; their layout is described in `casscade.merge.state`.

Invariant: bytes that end too early raise CorruptionError, whatever they hold.
"""

from __future__ import annotations

from typing import Final

from casscade.core.cell import COUNTER_TTL, NO_EXPIRY, Cell
from casscade.core.errors import CorruptionError
from casscade.core.observed import Observed

CELL_EXPIRES: Final = 0x01
CELL_VALUE: Final = 0x02
CELL_GONE: Final = 0x04
CELL_COUNTER: Final = 0x08


class StateReader:
    """Takes one part after another from a state."""

    __slots__ = ("data", "offset")

    def __init__(self, data: bytes, offset: int) -> None:
        self.data: bytes = data
        self.offset: int = offset

    def leb(self) -> int:
        value = 0
        shift = 0
        data = self.data
        offset = self.offset
        while True:
            if offset >= len(data) or shift > 70:
                raise state_corrupt()
            byte = data[offset]
            offset += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                self.offset = offset
                return value
            shift += 7

    def take(self, length: int) -> bytes:
        end = self.offset + length
        if end > len(self.data):
            raise state_corrupt()
        taken = self.data[self.offset : end]
        self.offset = end
        return taken

    def cell(self, newest: int, value: bytes | None) -> Cell:
        """A cell; `value` is what PostgreSQL's column holds, for cells that keep none here."""
        kind = self.take(1)[0]
        timestamp = newest - self.leb()
        ttl = COUNTER_TTL if kind & CELL_COUNTER else 0
        expires_at = NO_EXPIRY
        if kind & CELL_EXPIRES:
            ttl = self.leb()
            expires_at = self.leb()
        elif kind & CELL_GONE:
            expires_at = 0
        if kind & CELL_GONE:
            return (timestamp, expires_at, ttl, None)
        if kind & CELL_VALUE:
            return (timestamp, expires_at, ttl, self.take(self.leb()))
        if value is None:
            raise state_corrupt()
        return (timestamp, expires_at, ttl, value)

    def observed(self) -> Observed:
        turn = self.leb()
        read_at = int.from_bytes(self.take(8), "big", signed=True)
        bound = int.from_bytes(self.take(8), "big", signed=True)
        expires_at = self.leb()
        return (turn, read_at, bound, expires_at if expires_at else NO_EXPIRY, self.take(self.leb()))


def state_corrupt() -> CorruptionError:
    """The error for a state that does not fit its row."""
    return CorruptionError(
        "state_corrupt",
        "The stored state of a row does not fit its values",
        now="the row is left as it is",
        hint="check who else writes to the target table, then read the row again with casscade snapshot start",
    )
