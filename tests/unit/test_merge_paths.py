"""Elements of one value under several paths: one stays, the same in any order."""

from __future__ import annotations

import itertools
import random

import pytest

from casscade.core.cell import Cell, expiring_cell, live_cell, tombstone_cell
from casscade.core.mutation import ComplexColumn, Row
from casscade.cql.canonical import canonical_of
from casscade.cql.types import CqlType
from casscade.merge.paths import unify_paths
from casscade.merge.row import merge_rows

DECIMAL = canonical_of(CqlType("decimal"))
ONE, ONE_ZERO, ONE_ZERO_ZERO = b"\x00\x00\x00\x00\x01", b"\x00\x00\x00\x01\x0a", b"\x00\x00\x00\x02\x64"
TWO = b"\x00\x00\x00\x00\x02"


def _row(cells: dict[bytes, Cell]) -> Row:
    row = Row(b"", [])
    row.complex = {3: ComplexColumn(-(1 << 63), dict(cells))}
    return row


def _unified(cells: list[tuple[bytes, Cell]]) -> dict[bytes, Cell]:
    assert DECIMAL is not None
    row = _row({})
    for path, cell in cells:
        merge_rows(row, _row({path: cell}))
        unify_paths(row, {3: DECIMAL})
    assert row.complex is not None
    return row.complex[3].cells


@pytest.mark.requirement("FR-009")
@pytest.mark.requirement("FR-025")
@pytest.mark.parametrize(
    ("cells", "path"),
    [
        ([(ONE, live_cell(1, b"")), (ONE_ZERO, live_cell(2, b""))], ONE_ZERO),
        ([(ONE, live_cell(2, b"")), (ONE_ZERO, live_cell(1, b""))], ONE),
        ([(ONE, live_cell(1, b"b")), (ONE_ZERO, live_cell(1, b"a"))], ONE),
        ([(ONE, tombstone_cell(2)), (ONE_ZERO, live_cell(2, b""))], ONE),
        ([(ONE, live_cell(2, b"")), (ONE_ZERO, live_cell(2, b""))], ONE_ZERO),
    ],
)
def test_what_cassandra_keeps(cells: list[tuple[bytes, Cell]], path: bytes) -> None:
    for order in itertools.permutations([*cells, (TWO, live_cell(5, b""))]):
        assert _unified(list(order)) == {path: dict(cells)[path], TWO: live_cell(5, b"")}


def test_the_order_makes_no_difference() -> None:
    rng = random.Random(5)
    for _ in range(200):
        paths = (ONE, ONE_ZERO, ONE_ZERO_ZERO, TWO)
        choices = [
            live_cell(1, b"a"),
            live_cell(1, b"b"),
            tombstone_cell(1),
            expiring_cell(1, 99, 5, b"a"),
            live_cell(2, b"a"),
        ]
        cells = [(rng.choice(paths), rng.choice(choices)) for _ in range(5)]
        expected = _unified(cells)
        rng.shuffle(cells)
        assert _unified(cells) == expected
        assert _unified([*cells, *cells]) == expected


def test_other_columns_stay_as_they_are() -> None:
    assert DECIMAL is not None
    row = _row({ONE: live_cell(1, b""), ONE_ZERO: live_cell(2, b"")})
    unify_paths(row, {4: DECIMAL})
    assert row.complex is not None
    assert len(row.complex[3].cells) == 2
    unify_paths(Row(b"", []), {3: DECIMAL})
