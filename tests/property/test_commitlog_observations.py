"""Observations go beside a mutation and come back with it; broken bytes are told, whatever they are."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casscade.commitlog.observations import OBSERVING, decode_any, encode_observing, has_observations
from casscade.core.errors import BadDataError
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.table import ColumnShape, TableShape
from tests.support.random_rows import content, random_observed, random_row

COLUMNS = [
    ColumnShape(b"a", 0),
    ColumnShape(b"b", 1),
    ColumnShape(b"l", 2, multi_cell=True),
    ColumnShape(b"n", 3, counter=True),
    ColumnShape(b"s", 4, static=True, multi_cell=True),
]
SHAPE = TableShape(bytes(16), "k", "t", [-1], COLUMNS)
TABLES = {SHAPE.id: SHAPE}


def update(seed: int) -> PartitionUpdate:
    rng = random.Random(seed)
    made = PartitionUpdate(SHAPE, b"key")
    for number in range(rng.randint(0, 4)):
        clustering: list[bytes | None] = [bytes((number,))]
        if rng.random() < 0.3:
            row = Row(b"\x00\x01" + bytes((number,)), clustering)
            row.observed = {2: random_observed(rng)}
        else:
            row = random_row(rng, b"\x00\x01" + bytes((number,)), clustering, simple=2, observed=[2, 3])
        row.liveness_unknown = False
        made.rows.append(row)
    if rng.random() < 0.5:
        made.static_row = Row(b"", [])
        made.static_row.observed = {4: random_observed(rng)}
    return made


def contents(of: PartitionUpdate) -> tuple[object, ...]:
    rows = {row.key: content(row) for row in of.rows if content(row) != content(Row(row.key, row.clustering))}
    return (of.key, rows, None if of.static_row is None else content(of.static_row))


@given(st.integers(0, 2**32))
def test_observations_come_back(seed: int) -> None:
    made = update(seed)
    (again,) = decode_any(encode_observing(made), OBSERVING, TABLES)
    assert contents(again) == contents(made)
    assert has_observations(again) == has_observations(made)


@given(st.integers(0, 2**32), st.data())
def test_broken_observations_are_bad_data(seed: int, data: st.DataObject) -> None:
    encoded = encode_observing(update(seed))
    cut = data.draw(st.integers(1, len(encoded)))
    with pytest.raises(BadDataError):
        decode_any(encoded[:-cut], OBSERVING, TABLES)


def test_a_dropped_column_is_left_out() -> None:
    made = PartitionUpdate(SHAPE, b"key")
    made.static_row = Row(b"", [])
    made.static_row.observed = {4: (0, 1, 2, 3, b"x")}
    dropped = TableShape(bytes(16), "k", "t", [-1], [ColumnShape(b"s", 4, static=True, multi_cell=True, dropped=True)])
    (again,) = decode_any(encode_observing(made), OBSERVING, {dropped.id: dropped})
    assert again.static_row is None
