"""What is encoded before a batch is written is what the writer would have encoded."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from casscade.commitlog.encoder import clustering_key
from casscade.core.mutation import Row
from casscade.load.ahead import PIECE_ROWS, AheadEncoder
from casscade.load.copy_encoder import RowEncoder
from casscade.load.layouts import build_layout
from casscade.load.staged import StagedRows
from casscade.schema.mapping import build_target
from tests.support.examples import examples
from tests.support.oracle import oracle_table
from tests.support.random_rows import NOW, content, copy_row, random_row

TABLE = oracle_table(clustering=True, statics=False)
TARGET = build_target(TABLE)
LAYOUT = build_layout(TARGET, TARGET.rows)
ENCODER = AheadEncoder(LAYOUT)
Rows = dict[tuple[bytes, bytes], Row]


def rows_of(rng: random.Random, count: int, plain: float) -> Rows:
    found: Rows = {}
    for number in range(count):
        clustering: list[bytes | None] = [number.to_bytes(4, "big")]
        key = clustering_key(clustering, [4])
        found[b"\0\0\0\1", key] = random_row(rng, key, clustering, simple=4, complex_indexes=[4], plain=plain)
    return found


def told(staged: StagedRows) -> tuple[object, ...]:
    unseen = {ordinal: (each.newest, each.state, each.expires_at) for ordinal, each in staged.unseen.items()}
    return staged.counts, unseen, staged.rejected, staged.deferred, staged.hidden


@settings(max_examples=examples(60))
@given(st.integers(0, 2**32), st.sampled_from((1, 3, PIECE_ROWS, PIECE_ROWS + 40)), st.sampled_from((0.5, 0.99, 1.0)))
def test_pieces_hold_what_the_writer_would_encode(seed: int, count: int, plain: float) -> None:
    rows = rows_of(random.Random(seed), count, plain)
    before = [content(row) for row in rows.values()]
    ahead = ENCODER.encode_ahead(rows)
    assert [content(row) for row in rows.values()] == before, "nothing is changed in the rows"
    assert [row for _, row in ahead.items] == list(rows.values())
    writer = RowEncoder(LAYOUT)
    for first, piece in ahead.pieces.items():
        now = random.Random(seed).choice((0, NOW, 2 * NOW))  # no clock has a say
        alone, together = StagedRows(), StagedRows()
        items = [(key, copy_row(row)) for key, row in ahead.items]
        last = min(first + PIECE_ROWS, count)
        assert piece.add_to(together) == writer.encode_rows(alone, items, first, last, now, False)
        assert told(together) == told(alone)


def test_plain_rows_are_encoded_ahead_up_to_the_first_piece_with_another() -> None:
    rng = random.Random(1)
    rows: Rows = {}
    for key, row in rows_of(rng, 3 * PIECE_ROWS, 1.0).items():
        row.complex, row.liveness_unknown = None, False
        row.liveness_ts = 7
        row.cells = {index: (7, cell[1], cell[2], cell[3]) for index, cell in row.cells.items()}
        rows[key] = row
    assert sorted(ENCODER.encode_ahead(rows).pieces) == [0, PIECE_ROWS, 2 * PIECE_ROWS]
    expiring = list(rows.values())[PIECE_ROWS]
    expiring.liveness_ttl, expiring.liveness_expires_at = 60, NOW + 60
    assert sorted(ENCODER.encode_ahead(rows).pieces) == [0]


def test_a_key_that_postgresql_cannot_hold_is_left_to_the_writer() -> None:
    row = Row(b"bad", [b"\0"])
    row.liveness_ts = 7
    assert ENCODER.encode_ahead({(b"\0\0\0\1", b"bad"): row}).pieces == {}
    row.clustering = [bytes(4)]
    assert list(ENCODER.encode_ahead({(b"\0\0\0\1", b"good"): row}).pieces) == [0]
