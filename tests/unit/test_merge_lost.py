"""Deletions that were lost are made up from their effect, and never reach anything newer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casscade.core.cell import COUNTER_TTL, NO_TIMESTAMP, Cell, is_alive, live_cell
from casscade.core.mutation import ComplexColumn, Row
from casscade.merge.lost import complete
from casscade.merge.row import is_visible, merge_rows
from tests.support.random_rows import copy_row

NOW = 1000
TIMES = st.integers(1, 6)
VALUES = st.sampled_from([b"a", b"b"])
CELLS = st.dictionaries(st.integers(0, 3), st.tuples(TIMES, VALUES), max_size=4)


def row(
    cells: dict[int, tuple[int, bytes]], liveness: int = NO_TIMESTAMP, paths: dict[bytes, int] | None = None
) -> Row:
    made = Row(b"k", [b"k"])
    made.liveness_ts = liveness
    made.cells = {index: live_cell(time, value) for index, (time, value) in cells.items()}
    if paths:
        made.complex = {9: ComplexColumn(NO_TIMESTAMP, {path: live_cell(time, b"") for path, time in paths.items()})}
    return made


def alive(merged: Row) -> dict[int, Cell]:
    return {index: cell for index, cell in merged.cells.items() if is_alive(cell, NOW)}


@pytest.mark.requirement("FR-023")
def test_a_row_that_is_gone_goes_with_all_that_is_stored_of_it() -> None:
    stored = row({0: (5, b"v"), 1: (9, b"w")}, 7, {b"p": 8})
    made = complete(stored, None, NOW, static=False)
    assert made is not None
    assert made.deletion == 7
    merge_rows(stored, made)
    assert not is_visible(stored, NOW)


def test_a_write_behind_the_read_survives_what_was_made_up() -> None:
    stored = row({0: (5, b"v")}, 5)
    made = complete(stored, None, NOW, static=False)
    assert made is not None
    later = row({0: (6, b"new")}, 6)
    merge_rows(later, made)
    assert is_visible(later, NOW)
    assert later.cells[0] == live_cell(6, b"new")


def test_columns_and_elements_that_are_gone_end_at_their_own_times() -> None:
    stored = row({0: (5, b"v"), 1: (3, b"w")}, 3, {b"x": 4, b"y": 6})
    shown = row({0: (5, b"v")}, NO_TIMESTAMP, {b"y": 6})
    made = complete(stored, shown, NOW, static=False)
    assert made is not None
    assert made.deletion == NO_TIMESTAMP
    merge_rows(stored, made)
    assert alive(stored) == {0: live_cell(5, b"v")}
    assert stored.complex is not None
    assert [path for path, cell in stored.complex[9].cells.items() if is_alive(cell, NOW)] == [b"y"]


def test_counters_and_observations_end_by_a_deletion_of_the_row() -> None:
    stored = row({})
    stored.cells[0] = (5, 1 << 62, COUNTER_TTL, b"shards")
    made = complete(stored, None, NOW, static=False)
    assert made is not None
    assert made.deletion == 5


def test_what_is_only_shown_by_a_read_is_left_to_the_recheck() -> None:
    stored = row({}, 3, {b"p": 4})
    shown = row({0: (1, b"a")})
    shown.observed = {9: (0, 5, 6, 1 << 62, b"list")}
    made = complete(stored, shown, NOW, static=False)
    assert made is not None
    assert made.complex is None


def test_equal_rows_need_nothing() -> None:
    assert complete(Row(b"k", [b"k"]), None, NOW, static=False) is None


@given(CELLS, CELLS, st.booleans(), TIMES, st.dictionaries(VALUES, TIMES), st.dictionaries(VALUES, TIMES))
def test_afterwards_all_is_as_shown_and_once_more_changes_nothing(
    stored_cells: dict[int, tuple[int, bytes]],
    newer: dict[int, tuple[int, bytes]],
    gone: bool,
    liveness: int,
    paths: dict[bytes, int],
    kept: dict[bytes, int],
) -> None:
    """Whatever Cassandra shows is stored, or newer than what is stored: nothing older comes back."""
    stored = row(stored_cells, liveness, paths)
    later = {index: (time + 10, value) for index, (time, value) in newer.items()}
    shown = None if gone else row(later, 20, {path: time + 10 for path, time in kept.items()})
    expected = {} if shown is None else dict(shown.cells)
    expected_paths = set() if shown is None else set(kept)
    made = complete(copy_row(stored), None if shown is None else copy_row(shown), NOW, static=False)
    if made is not None:
        merge_rows(stored, copy_row(made))
    assert is_visible(stored, NOW) == (shown is not None)
    assert alive(stored) == expected
    elements = {} if stored.complex is None else stored.complex.get(9, ComplexColumn(NO_TIMESTAMP, {})).cells
    assert {path for path, cell in elements.items() if is_alive(cell, NOW)} == expected_paths
    once = copy_row(stored)
    if made is not None:
        merge_rows(stored, made)
    assert (stored.cells, stored.deletion) == (once.cells, once.deletion)
