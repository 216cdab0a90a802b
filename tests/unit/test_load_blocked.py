"""What is written to blocked columns is taken out, and nothing else."""

from __future__ import annotations

import pytest

from casscade.core.cell import NO_TIMESTAMP, live_cell, tombstone_cell
from casscade.core.mutation import ComplexColumn, PartitionUpdate, Row
from casscade.core.observed import SETTLED
from casscade.core.table import ColumnShape, TableShape
from casscade.load.blocked import take_out

SHAPE = TableShape(b"t" * 16, "k", "t", [], [ColumnShape(b"a", 0), ColumnShape(b"b", 1)])


def row(*, liveness: int = NO_TIMESTAMP) -> Row:
    made = Row(b"", [])
    made.liveness_ts = liveness
    return made


def update(*rows: Row, static: Row | None = None) -> PartitionUpdate:
    made = PartitionUpdate(SHAPE, b"k")
    made.rows.extend(rows)
    made.static_row = static
    return made


@pytest.mark.requirement("FR-017")
def test_only_the_blocked_columns_are_taken_out_and_every_reason_is_told_once() -> None:
    first, second = row(liveness=5), row()
    first.cells = {0: live_cell(5, b"a"), 1: live_cell(5, b"b"), 2: tombstone_cell(5)}
    second.complex = {1: ComplexColumn(NO_TIMESTAMP, {b"p": live_cell(5, b"v")}), 3: ComplexColumn(4, {})}
    second.observed = {1: SETTLED}
    given = update(first, second)
    assert take_out(given, {1: "one", 2: "two", 9: "nine"}) == "one; two"
    assert given.rows == [first, second]
    assert first.cells == {0: live_cell(5, b"a")}
    assert second.complex is not None
    assert list(second.complex) == [3]
    assert second.observed is None


def test_rows_that_said_nothing_else_are_gone() -> None:
    only, static = row(), row()
    only.cells = {1: live_cell(5, b"b")}
    static.cells = {1: live_cell(5, b"b")}
    given = update(only, static=static)
    assert take_out(given, {1: "one"}) == "one"
    assert given.rows == []
    assert given.static_row is None


def test_an_update_without_them_is_left_as_it_is() -> None:
    one = row(liveness=5)
    one.cells = {0: live_cell(5, b"a")}
    given = update(one)
    assert take_out(given, {1: "one"}) is None
    assert given.rows == [one]
