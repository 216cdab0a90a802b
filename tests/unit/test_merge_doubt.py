"""When a row that shows what a read showed has to be read again, and when not."""

from __future__ import annotations

import pytest

from casscade.core.cell import counter_cell, expiring_cell, live_cell
from casscade.core.mutation import ComplexColumn, Row
from casscade.core.observed import SETTLED, UNBOUNDED, Observed
from casscade.merge.doubt import doubtful_columns, ended_columns, still_observed
from casscade.merge.row import drop_expired_values, is_visible, merge_rows

NOW = 1000
SCANNED: Observed = (0, 5, 10, (1 << 63) - 1, b"old")
ANSWER: Observed = (7, 6, 10, (1 << 63) - 1, b"new")


def row(observed: Observed | None = None, *, deletion: int | None = None, column: ComplexColumn | None = None) -> Row:
    made = Row(b"", [])
    if observed is not None:
        made.observed = {0: observed}
    if deletion is not None:
        made.deletion = deletion
    if column is not None:
        made.complex = {0: column}
    return made


APPEND = ComplexColumn(-(1 << 63), {b"path": live_cell(11, b"x")})


def changes() -> list[Row]:
    counted = Row(b"", [])
    counted.cells[0] = counter_cell(11, b"\x00\x00")
    return [row(column=APPEND), row(column=ComplexColumn(9, {})), row(deletion=9), counted]


@pytest.mark.parametrize("change", changes(), ids=["append", "overwrite", "row", "counter"])
def test_a_change_of_what_a_read_showed_is_followed_by_another_read(change: Row) -> None:
    assert doubtful_columns(change, row(SCANNED), NOW) == [0]


@pytest.mark.parametrize("change", changes(), ids=["append", "overwrite", "row", "counter"])
def test_a_first_observation_that_meets_changes_may_be_older_than_they(change: Row) -> None:
    assert doubtful_columns(row(SCANNED), change, NOW) == [0]


def test_a_first_observation_under_an_older_deletion_is_doubted() -> None:
    assert doubtful_columns(row(SCANNED), None, NOW) == []
    assert doubtful_columns(row(SCANNED), None, NOW, covered=True) == [0]


def test_an_answer_is_the_end_of_it() -> None:
    stored = row(SCANNED, column=APPEND)
    answer = row(ANSWER)
    assert doubtful_columns(answer, stored, NOW) == []
    merge_rows(answer, stored)
    assert answer.observed == {0: ANSWER}
    assert doubtful_columns(row(SCANNED), answer, NOW) == []


def test_other_columns_do_not_matter() -> None:
    change = Row(b"", [])
    change.cells[3] = live_cell(20, b"x")
    assert doubtful_columns(change, row(SCANNED), NOW) == []


@pytest.mark.requirement("FR-008")
def test_what_has_ended_is_read_again_even_if_its_answer_comes_late() -> None:
    ended: Observed = (8, 6, 10, NOW, b"ended")
    assert doubtful_columns(row(ended), row(SCANNED), NOW) == [0]
    assert doubtful_columns(Row(b"", []), row(ended), NOW) == [0]
    assert doubtful_columns(row((9, 6, 10, NOW + 1, b"renewed")), row(ended), NOW) == []
    assert ended_columns(row(ended), NOW) == [0]
    assert ended_columns(row(ended), NOW - 1) == []


@pytest.mark.requirement("FR-008")
def test_the_end_of_an_element_that_was_written_since_is_read_again() -> None:
    stored = row(SCANNED, column=ComplexColumn(-(1 << 63), {b"path": expiring_cell(11, NOW, 60, b"x")}))
    other = Row(b"", [])
    other.cells[3] = live_cell(20, b"x")
    assert (ended_columns(stored, NOW - 1), doubtful_columns(other, stored, NOW - 1)) == ([], [])
    assert (ended_columns(stored, NOW), doubtful_columns(other, stored, NOW)) == ([0], [0])
    drop_expired_values(stored, NOW)
    assert (ended_columns(stored, NOW), doubtful_columns(other, stored, NOW)) == ([], [])


def test_a_deletion_of_all_that_was_seen_settles_without_a_read() -> None:
    for deleted in (row(deletion=10), row(column=ComplexColumn(10, {}))):
        doubtful = doubtful_columns(deleted, row(SCANNED), NOW)
        merge_rows(deleted, row(SCANNED))
        assert deleted.observed == {0: SETTLED}
        assert still_observed(deleted, doubtful) == {}
        assert not is_visible(deleted, NOW)


def test_without_write_times_only_a_read_settles() -> None:
    deleted = row(deletion=1 << 62)
    merge_rows(deleted, row((0, 5, UNBOUNDED, (1 << 63) - 1, b"old")))
    assert is_visible(deleted, NOW)
    merge_rows(deleted, row(SETTLED))
    assert not is_visible(deleted, NOW)
