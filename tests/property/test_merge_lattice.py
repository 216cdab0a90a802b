"""Merging rows is a join in a lattice, and a stored state gives the row back."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casscade.core.cell import NO_TIMESTAMP, Cell, counter_total, merge_contexts, reconcile, reconcile_older
from casscade.core.mutation import Row
from casscade.merge.row import drop_expired_values, merge_rows, newest_timestamp, shadow_from_outside
from casscade.merge.state import decode_state, encode_state
from tests.support.random_rows import NOW, content, copy_row, random_cell, random_row

seeds = st.integers(0, 2**32)


def _rows(seed: int, count: int) -> list[Row]:
    rng = random.Random(seed)
    return [random_row(rng, b"k", [b"k"], simple=4, complex_indexes=[4, 5], observed=[4, 5, 6]) for _ in range(count)]


def _merged(*rows: Row) -> Row:
    result = copy_row(rows[0])
    for row in rows[1:]:
        merge_rows(result, copy_row(row))
    return result


@pytest.mark.requirement("FR-025")
@given(seeds)
def test_rows_merge_commutatively(seed: int) -> None:
    a, b = _rows(seed, 2)
    assert content(_merged(a, b)) == content(_merged(b, a))


@pytest.mark.requirement("FR-025")
@given(seeds)
def test_rows_merge_associatively(seed: int) -> None:
    a, b, c = _rows(seed, 3)
    assert content(_merged(_merged(a, b), c)) == content(_merged(a, _merged(b, c)))


@pytest.mark.requirement("FR-003")
@given(seeds)
def test_rows_merge_idempotently(seed: int) -> None:
    a, b = _rows(seed, 2)
    once = _merged(a, b)
    assert content(_merged(once, a)) == content(once)
    assert content(_merged(once, once)) == content(once)


@given(seeds, st.integers(0, 6))
def test_an_outer_deletion_may_come_before_or_after_a_merge(seed: int, deletion: int) -> None:
    a, b = _rows(seed, 2)
    after = _merged(a, b)
    shadow_from_outside(after, deletion)
    before_a, before_b = copy_row(a), copy_row(b)
    shadow_from_outside(before_a, deletion)
    shadow_from_outside(before_b, deletion)
    assert content(_merged(before_a, before_b)) == content(after)


@pytest.mark.parametrize("reconcile", [reconcile, reconcile_older])
@given(seeds)
def test_cells_reconcile_as_a_total_order(reconcile: Callable[[Cell, Cell], Cell], seed: int) -> None:
    rng = random.Random(seed)
    a, b, c = random_cell(rng), random_cell(rng), random_cell(rng)
    assert reconcile(a, b) == reconcile(b, a)
    assert reconcile(reconcile(a, b), c) == reconcile(a, reconcile(b, c))
    assert reconcile(a, a) == a
    assert reconcile(a, b) in (a, b)


def _context(rng: random.Random) -> bytes:
    shards = sorted({bytes((rng.randint(1, 3),)) * 16 for _ in range(rng.randint(1, 3))})
    head = len(shards).to_bytes(2, "big") + b"".join(
        (i - 32768).to_bytes(2, "big", signed=True) for i in range(len(shards))
    )
    return head + b"".join(
        shard + rng.randint(1, 3).to_bytes(8, "big") + rng.randint(-5, 5).to_bytes(8, "big", signed=True)
        for shard in shards
    )


@given(seeds)
def test_counter_contexts_merge_as_a_lattice(seed: int) -> None:
    rng = random.Random(seed)
    a, b, c = _context(rng), _context(rng), _context(rng)
    assert merge_contexts(a, b) == merge_contexts(b, a)
    assert merge_contexts(merge_contexts(a, b), c) == merge_contexts(a, merge_contexts(b, c))
    assert merge_contexts(a, a) == a
    assert merge_contexts(merge_contexts(a, b), b) == merge_contexts(a, b)


def test_a_counter_is_the_sum_of_its_shards_with_the_highest_clock() -> None:
    def shard(identifier: bytes, clock: int, count: int) -> bytes:
        return b"\x00\x01\x80\x00" + identifier * 16 + clock.to_bytes(8, "big") + count.to_bytes(8, "big", signed=True)

    merged = merge_contexts(merge_contexts(shard(b"a", 1, 5), shard(b"b", 1, 10)), shard(b"a", 2, 7))
    assert counter_total(merged) == 17


@given(seeds, st.sets(st.integers(0, 3)))
def test_a_state_gives_the_row_back(seed: int, inexact: set[int]) -> None:
    row = _merged(*_rows(seed, 3))
    drop_expired_values(row, NOW)
    newest = newest_timestamp(row)
    if newest == NO_TIMESTAMP:
        return
    kept = {index for index in inexact if index in row.cells and row.cells[index][3] is not None}
    values = {index: cell[3] for index, cell in row.cells.items() if cell[3] is not None and index not in kept}
    state = encode_state(row, newest, kept, 4)
    again = Row(row.key, row.clustering)
    decode_state(again, newest, state, values)
    if row.liveness_ts != NO_TIMESTAMP and row.liveness_ttl == 0:
        row.liveness_unknown = False  # makes no difference beside a liveness that does not end
    assert content(again) == content(row)


@given(seeds)
def test_a_plain_insert_needs_no_state(seed: int) -> None:
    rng = random.Random(seed)
    row = Row(b"k", [b"k"])
    row.liveness_ts = 7
    for index in rng.sample(range(4), rng.randint(0, 4)):
        row.cells[index] = (7, (1 << 63) - 1, 0, b"value")
    assert encode_state(row, 7, set(), 4) is None
