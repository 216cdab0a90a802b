"""When a row that shows what a read showed has to be read again, and when not."""

from __future__ import annotations

import itertools

import pytest

from casscade.core.cell import NO_EXPIRY, counter_cell, expiring_cell, live_cell, tombstone_cell
from casscade.core.mutation import ComplexColumn, PartitionUpdate, Row
from casscade.core.observed import NOTHING, SETTLED, UNBOUNDED, UNREAD, Observed, join_observed
from casscade.core.table import ColumnShape, TableShape
from casscade.merge.doubt import contested_columns, doubtful_columns, ended_columns, still_observed
from casscade.merge.fold import Fold
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


def shard(clock: int, count: int) -> bytes:
    """A context of one global shard."""
    return b"\x00\x01\x80\x00" + bytes(16) + clock.to_bytes(8, "big") + count.to_bytes(8, "big")


def counted(timestamp: int, *, deletion: int | None = None) -> Row:
    made = row(deletion=deletion)
    made.cells[0] = counter_cell(timestamp, shard(timestamp, 5))
    return made


def deleted_counter(timestamp: int) -> Row:
    made = row(UNREAD)
    made.cells[0] = tombstone_cell(timestamp)
    return made


@pytest.mark.requirement("FR-003")
def test_a_counter_above_a_deletion_is_read() -> None:
    assert contested_columns(counted(8)) == []
    assert contested_columns(counted(8, deletion=7)) == [0]
    assert contested_columns(counted(8), covered=True) == [0]
    merged = counted(8)
    merge_rows(merged, row(deletion=9))
    assert contested_columns(merged, covered=True) == []


@pytest.mark.requirement("FR-003")
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_deleted_counter_is_read_whatever_took_its_tombstone_away(order: tuple[int, ...]) -> None:
    parts = [deleted_counter(7), row(deletion=8), counted(9)]
    merged = parts[order[0]]
    for place in order[1:]:
        merge_rows(merged, parts[place])
    assert contested_columns(merged) == [0]
    answer = row((4, 1, UNBOUNDED, NO_EXPIRY, NOTHING))
    merge_rows(answer, merged)
    assert contested_columns(answer, covered=True) == []
    assert not is_visible(answer, NOW)


@pytest.mark.parametrize("value", [NOTHING, bytes(8)])
def test_a_counter_stays_what_reads_show(value: bytes) -> None:
    stored = row((4, 1, UNBOUNDED, NO_EXPIRY, value))
    for change in (counted(9), deleted_counter(9), row(UNREAD), row(deletion=1 << 60)):
        doubtful = doubtful_columns(change, stored, NOW)
        merge_rows(change, stored)
        assert list(still_observed(change, doubtful)) == [0]
        assert is_visible(change, NOW) == (value != NOTHING)


def test_a_scan_behind_a_deleted_counter_is_doubted() -> None:
    assert doubtful_columns(row(SCANNED), deleted_counter(7), NOW) == [0]
    assert join_observed(UNREAD, SCANNED) == SCANNED
    assert join_observed(UNREAD, SETTLED) == SETTLED


def test_the_fold_marks_deleted_counters_alone() -> None:
    counters = TableShape(bytes(16), "k", "t", [4], [ColumnShape(b"n", 0, counter=True)])
    others = TableShape(bytes(range(16)), "k", "u", [4], [ColumnShape(b"n", 0)])
    fold = Fold()
    for shape in (counters, others):
        update = PartitionUpdate(shape, b"p")
        update.static_row, update.rows = row(), [Row(b"c", [b"c"])]
        for part in (update.static_row, *update.rows):
            part.cells[0] = tombstone_cell(7)
        fold.add([update])
    marked = fold.tables[counters.id]
    assert marked.rows[b"p", b"c"].observed == {0: UNREAD} == marked.statics[b"p"].observed
    assert fold.tables[others.id].rows[b"p", b"c"].observed is None
