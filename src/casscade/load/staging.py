"""Rows on their way to a staging table.

Invariant: what `copy_rows` tells of the rows is true of what it copied, whoever encoded it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from psycopg import Connection

from casscade.core import failpoints
from casscade.core.mutation import Row
from casscade.load.ahead import PIECE_ROWS, Piece
from casscade.load.copy_encoder import COPY_HEADER, COPY_TRAILER, RowEncoder
from casscade.load.staged import StagedRows

NO_PIECES: Final[Mapping[int, Piece]] = MappingProxyType({})


def copy_rows(
    connection: Connection[Any],
    statement: bytes,
    encoder: RowEncoder,
    items: list[tuple[bytes, Row]],
    staged: StagedRows,
    now: int,
    *,
    merged: bool,
    pieces: Mapping[int, Piece] = NO_PIECES,
) -> None:
    """Copy rows with `statement`, their ordinals being their places in `items`; `pieces` are encoded already.

    `staged` tells of them afterwards, and of those that are left out because PostgreSQL can't hold them.

    `now` and `merged`: see `RowEncoder.encode_rows`. Raises psycopg errors.
    """
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(COPY_HEADER)
        for first in range(0, len(items), PIECE_ROWS):
            piece = pieces.get(first)
            if piece is None:
                last = min(first + PIECE_ROWS, len(items))
                copy.write(encoder.encode_rows(staged, items, first, last, now, merged))
            else:
                copy.write(piece.add_to(staged))
        copy.write(COPY_TRAILER)
    if failpoints.ARMED:
        failpoints.reach("batch_staged")
