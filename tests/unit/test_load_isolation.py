"""Poison is found by halves: what PostgreSQL refuses is set aside alone, everything else is written once."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import errors

from casscade.core.errors import InvariantError
from casscade.core.mutation import Bound, PartitionUpdate, RangeTombstone, Row
from casscade.core.table import TableShape
from casscade.load.counters import BatchCounts
from casscade.load.isolation import LIKELY_MAX, POISON_ITEMS_MAX, is_data_error, isolate
from casscade.load.trail import Suspect
from casscade.merge.fold import Fold, TableFold

FIRST = TableShape(b"1" * 16, "ks", "first", [4], [])
SECOND = TableShape(b"2" * 16, "ks", "second", [], [])
Written = set[tuple[bytes, str, bytes, bytes]]


def _row(key: int, ts: int = 1) -> Row:
    row = Row(key.to_bytes(4, "big"), [key.to_bytes(4, "big")])
    row.liveness_ts = ts
    return row


def _fold(rows: int) -> Fold:
    """`rows` rows over two tables, and of the first table a static row and a deletion for every tenth partition."""
    fold = Fold()
    for number in range(rows):
        update = PartitionUpdate(FIRST if number % 3 else SECOND, number.to_bytes(4, "big"))
        update.rows = [_row(number)] if number % 3 else [Row(b"", [])]
        update.rows[0].liveness_ts = 1
        if number % 10 == 1 and update.table is FIRST:
            static = Row(b"", [])
            static.liveness_ts = 1
            update.static_row = static
            update.range_tombstones.append(RangeTombstone(Bound(1, [b"\0" * 4]), Bound(6, [b"\1" * 4]), 1))
        fold.add([update])
    return fold


def _items_of(table: TableFold) -> Written:
    table_id = table.table.id
    found: Written = {(table_id, "row", *key) for key in table.rows}
    found |= {(table_id, "static", key, b"") for key in table.statics}
    return found | {(table_id, "deletions", key, b"") for key in table.deletions}


def _items(fold: Fold) -> Written:
    return set().union(*(_items_of(table) for table in fold.tables.values()))


class FakePostgres:
    """Keeps what was written in savepoints that stayed, and refuses what is poison."""

    def __init__(self, poison: Written, error: type[psycopg.Error] = errors.ProgramLimitExceeded) -> None:
        self.poison = poison
        self.written: list[Written] = []
        self.attempts = 0
        self.last: Written = set()
        self._error = error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        kept = len(self.written)
        try:
            yield
        except BaseException:
            del self.written[kept:]
            raise

    def write(self, fold: Fold, counts: BatchCounts) -> None:
        self.attempts += 1
        items = self.last = _items(fold)
        self.written.append(items)
        counts.rows += len(items)
        if items & self.poison:
            raise self._error("index row size 5016 exceeds the maximum of secret")


def _row_of(items: Written) -> Suspect:
    """A row of `items`, or what stands for one."""
    table_id, kind, partition_key, key = max(items, key=lambda item: (item[1] == "row", item))
    return Suspect(table_id, kind == "static", (partition_key, key))


@pytest.mark.requirement("FR-022")
def test_a_row_that_is_named_costs_three_writes() -> None:
    everything = _items(_fold(300))
    poison = {item for item in sorted(everything) if item[1] == "row"}.pop()
    postgres = FakePostgres({poison})
    counts = BatchCounts()
    connection: Any = postgres
    named = _row_of({poison})
    found = isolate(connection, _fold(300), postgres.write, counts, lambda _: named)
    assert set().union(*(_items_of(one.table) for one in found)) == {poison}
    assert postgres.attempts == 3
    assert counts.rows == len(everything) - 1


@pytest.mark.requirement("FR-022")
@pytest.mark.parametrize(("long", "attempts_max"), [(1, 2), (50, 51), (LIKELY_MAX + 1, 1000)])
def test_rows_with_long_keys_are_written_alone_at_once_unless_most_have_some(long: int, attempts_max: int) -> None:
    """Every second of them is poison."""

    def fold() -> Fold:
        made = _fold(300)
        for number in range(long):
            update = PartitionUpdate(SECOND, number.to_bytes(4, "big") * 700)
            update.rows = [Row(b"", [])]
            update.rows[0].liveness_ts = 1
            made.add([update])
        return made

    everything = _items(fold())
    poison = set(sorted(item for item in everything if len(item[2]) > 4)[::2])
    postgres = FakePostgres(poison)
    _, found = _isolate(postgres, fold())
    assert set().union(*(_items_of(one.table) for one in found)) == poison
    assert {one.code for one in found} == {"key_too_long"}
    assert sorted(item for items in postgres.written for item in items) == sorted(everything - poison)
    assert postgres.attempts <= attempts_max


@pytest.mark.requirement("FR-022")
@pytest.mark.parametrize("named", ["always the right one", "now and then", "a sound one", "one that is not there"])
@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_suspicions_change_nothing_in_what_is_set_aside(named: str, share: float) -> None:
    rng = random.Random(named)
    everything = _items(_fold(100))
    poison = {item for item in sorted(everything) if rng.random() < share}
    postgres = FakePostgres(poison)

    def suspect(_error: psycopg.Error) -> Suspect | None:
        if named == "one that is not there":
            return Suspect(rng.choice([FIRST.id, b"3" * 16]), rng.random() < 0.5, (b"nowhere", b""))
        sound = named == "a sound one" or (named == "now and then" and rng.random() < 0.5)
        among = postgres.last - postgres.poison if sound else postgres.last & postgres.poison
        return _row_of(among) if among else None

    counts = BatchCounts()
    connection: Any = postgres
    found = isolate(connection, _fold(100), postgres.write, counts, suspect)
    written = [item for items in postgres.written for item in items]
    assert sorted(written) == sorted(everything - poison)
    assert set().union(*(_items_of(one.table) for one in found)) == poison
    assert all(len(_items_of(one.table)) == 1 for one in found)
    assert counts.rows == len(written)


def _isolate(postgres: FakePostgres, fold: Fold) -> tuple[BatchCounts, list[Any]]:
    counts = BatchCounts()
    connection: Any = postgres
    found = isolate(connection, fold, postgres.write, counts)
    return counts, found


@pytest.mark.requirement("FR-022")
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_exactly_the_poison_is_set_aside(rows: int, share: float) -> None:
    rng = random.Random(rows)
    everything = _items(_fold(rows))
    poison = {item for item in sorted(everything) if rng.random() < share}
    postgres = FakePostgres(poison)
    counts, found = _isolate(postgres, _fold(rows))
    written = [item for items in postgres.written for item in items]
    assert sorted(written) == sorted(everything - poison)
    assert set().union(*(_items_of(one.table) for one in found)) == poison
    assert all(len(_items_of(one.table)) == 1 for one in found)
    assert counts.rows == len(written)


@pytest.mark.requirement("FR-022")
def test_one_poison_row_costs_the_logarithm_of_the_batch() -> None:
    fold = _fold(1000)
    poison = {sorted(_items(fold))[517]}
    postgres = FakePostgres(poison)
    _isolate(postgres, fold)
    assert postgres.attempts <= 2 * math.ceil(math.log2(len(_items(_fold(1000))))) + 1


def test_the_code_is_the_sqlstate_and_the_message_holds_no_value() -> None:
    _, found = _isolate(FakePostgres(_items(_fold(1)), errors.UniqueViolation), _fold(1))
    assert [one.code for one in found] == ["postgres_23505"]
    assert "secret" not in found[0].message
    assert "UniqueViolation" in found[0].message


def test_other_errors_pass_and_nothing_stays() -> None:
    postgres = FakePostgres(_items(_fold(9)), errors.AdminShutdown)
    with pytest.raises(errors.AdminShutdown):
        _isolate(postgres, _fold(9))
    assert postgres.written == []


def test_a_batch_full_of_poison_is_no_bad_row_but_a_wrong_table() -> None:
    fold = _fold(POISON_ITEMS_MAX * 2)
    with pytest.raises(InvariantError) as caught:
        _isolate(FakePostgres(_items(fold), errors.DatatypeMismatch), fold)
    assert caught.value.code == "postgres_refuses_all"
    assert "42804" in caught.value.what


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.NumericValueOutOfRange, True),
        (errors.CheckViolation, True),
        (errors.ProgramLimitExceeded, True),
        (errors.DatatypeMismatch, True),
        (errors.CardinalityViolation, True),
        (errors.RaiseException, True),
        (errors.UndefinedTable, False),
        (errors.InsufficientPrivilege, False),
        (errors.DiskFull, False),
        (errors.DeadlockDetected, False),
        (errors.QueryCanceled, False),
        (psycopg.OperationalError, False),
    ],
)
def test_which_errors_are_the_fault_of_a_row(error: type[psycopg.Error], expected: bool) -> None:
    assert is_data_error(error("")) is expected
