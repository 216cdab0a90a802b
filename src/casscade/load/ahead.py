"""Rows encoded before their batch is written: by the thread that decodes, while PostgreSQL works on the batch before.

Invariant: a piece holds byte for byte what the writer would make of its rows. Only plain rows get into one: their
fields depend neither on the clock nor on what is stored. Whoever changes a row of it first forgets all pieces.
"""

from __future__ import annotations

from typing import Final

from casscade.core.errors import BadDataError
from casscade.core.mutation import Row
from casscade.load.copy_encoder import RowEncoder
from casscade.load.layout import RowLayout
from casscade.load.staged import OP_DELETE, StagedRows, UnseenRow

# PostgreSQL reads what was sent while the next rows are encoded.
PIECE_ROWS: Final = 256


class Piece:
    """`PIECE_ROWS` rows at most as a piece of a COPY stream, and what became of them (see `StagedRows`)."""

    __slots__ = ("counts", "data", "unseen")

    def __init__(self, data: bytes, counts: list[int], unseen: dict[int, UnseenRow]) -> None:
        self.data: bytes = data
        self.counts: list[int] = counts
        self.unseen: dict[int, UnseenRow] = unseen

    def add_to(self, staged: StagedRows) -> bytes:
        """Note in `staged` what became of the rows; returns the bytes to copy."""
        for op in range(len(self.counts)):
            staged.counts[op] += self.counts[op]
        staged.unseen.update(self.unseen)
        return self.data


class Ahead:
    """The rows of one relation in a batch, encoded for `layout`: `pieces` by the ordinal of their first row."""

    __slots__ = ("items", "layout", "pieces")

    def __init__(self, layout: RowLayout, items: list[tuple[bytes, Row]]) -> None:
        self.layout: RowLayout = layout
        self.items: list[tuple[bytes, Row]] = items
        self.pieces: dict[int, Piece] = {}


class AheadEncoder(RowEncoder):
    """Encodes plain rows of one target; for one thread, which need not be the one that writes.

    Not for a layout with an exact key, nor where rows are judged: there codecs remember what they were last asked.
    """

    def encode_ahead(self, rows: dict[tuple[bytes, bytes], Row]) -> Ahead:
        """Encode the rows of a batch, up to the first piece in which one is not plain: such tables have more of them.

        Nothing is changed in the rows.
        """
        items = [(key[0], row) for key, row in rows.items()]
        ahead = Ahead(self.layout, items)
        for first in range(0, len(items), PIECE_ROWS):
            piece = self._piece(items, first, min(first + PIECE_ROWS, len(items)))
            if piece is None:
                break
            ahead.pieces[first] = piece
        return ahead

    def _piece(self, items: list[tuple[bytes, Row]], first: int, last: int) -> Piece | None:
        counts = [0] * len(self._heads)
        unseen: dict[int, UnseenRow] = {}
        out: list[bytes] = []
        for ordinal in range(first, last):
            partition_key, row = items[ordinal]
            slot = len(out)
            out.append(b"")
            try:
                self._key.put(out, partition_key, row)
            except BadDataError:
                return None
            op = self._put_plain(out, row, False)
            if op == 0:
                return None
            out[slot] = self._heads[op] + ordinal.to_bytes(4, "big")
            counts[op] += 1
            if op == OP_DELETE:
                unseen[ordinal] = UnseenRow(self._newest, self._state)
        return Piece(b"".join(out), counts, unseen)
