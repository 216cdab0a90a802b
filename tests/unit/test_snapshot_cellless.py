"""Columns whose cells the stream does not bring: every read tells all of them, and nothing settles them."""

from __future__ import annotations

import pytest

from casscade.core.cell import NO_EXPIRY, live_cell
from casscade.core.keys import pack_values
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.observed import NOTHING, UNBOUNDED
from casscade.load.layouts import build_layout
from casscade.merge.doubt import still_observed
from casscade.merge.row import is_visible, merge_rows
from casscade.rules.concealment import conceal
from casscade.schema.mapping import build_target
from casscade.snapshot.rows import TableScan
from tests.support.debezium import make_table

NOW = 1_700_000_000
TABLE = make_table("held", "p p int; v r int; s r set<int>; l r list<int>")
INDEX = {column.name: column.index for column in TABLE.columns}
ONE = bytes.fromhex("00000001 00000004 00000007")
TIMES = bytes.fromhex("00000001 00000008 0000000000000064")
KEY = (b"\x00\x00\x00\x01", pack_values([]))


def answer(turn: int, *, elements: bytes | None, found: bool = True, element_times: bool = True) -> Row:
    """What a request of number `turn` brings: `elements` in the set, nothing in the list."""
    scan = TableScan(TABLE, element_times=element_times, cellless=True)
    times: list[bytes | None] = [] if not element_times else [None, None]
    shown: list[bytes | None] = [] if not element_times else [None if elements is None else TIMES, None]
    raw = [bytes(8), KEY[0], None, *times, elements, *shown, b"\x00\x00\x00\x05", (9).to_bytes(8, "big"), None]
    update = scan.read_again([raw] if found else [], NOW, 77, turn, KEY, [], static=False)
    assert update is not None
    (row,) = update.rows
    return row


@pytest.mark.parametrize("element_times", [True, False])
def test_an_answer_tells_every_column_without_a_bound(element_times: bool) -> None:
    row = answer(3, elements=ONE, element_times=element_times)
    assert row.observed == {
        INDEX["s"]: (3, 77, UNBOUNDED, NO_EXPIRY, ONE),
        INDEX["l"]: (3, 77, UNBOUNDED, NO_EXPIRY, NOTHING),
    }
    assert row.complex is None
    assert row.cells == {INDEX["v"]: live_cell(9, b"\x00\x00\x00\x05")}


def test_a_row_that_is_gone_shows_nothing_and_may_come_back() -> None:
    row = answer(1, elements=ONE)
    row.deletion = 1_000
    merge_rows(row, answer(2, elements=None, found=False))
    assert not is_visible(row, NOW)
    merge_rows(row, answer(3, elements=ONE))
    assert is_visible(row, NOW)
    assert still_observed(row, list(INDEX.values())).keys() == {INDEX["s"], INDEX["l"]}


def test_a_deletion_leaves_what_only_a_read_can_tell() -> None:
    row, deletion = answer(1, elements=ONE), Row(b"", [])
    deletion.deletion = 1 << 60
    merge_rows(row, deletion)
    assert is_visible(row, NOW)
    assert row.cells == {}


def test_nothing_is_shown_as_null() -> None:
    layout = build_layout(target := build_target(TABLE, schema="s", name="t"), target.rows)
    (column,) = [value for value in layout.values if value.index == INDEX["s"]]
    assert column.show_observed(NOTHING) is None
    assert column.show_observed(ONE) is not None


def test_concealing_keeps_whether_there_is_a_value() -> None:
    update = PartitionUpdate(TABLE.shape(replicated=True), KEY[0])
    update.rows = [answer(1, elements=ONE)]
    conceal(update, frozenset({INDEX["s"], INDEX["l"]}))
    observed = update.rows[0].observed
    assert observed is not None
    assert [observed[INDEX[name]][4] for name in ("s", "l")] == [b"\x00", NOTHING]
