"""What is a conflict, what counts, what becomes a dead letter, and which tables may go by arrival."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from casscade.commitlog.observations import decode_any
from casscade.core.cell import Cell, counter_cell, expiring_cell, live_cell, tombstone_cell
from casscade.core.errors import ConfigurationError
from casscade.core.limits import CONFLICTS_REMEMBERED_MAX
from casscade.core.mutation import PartitionUpdate, Row
from casscade.cql.types import CqlType
from casscade.load.conflicts import ConflictLedger
from casscade.load.counters import BatchCounts
from casscade.load.isolation import halves
from casscade.load.letters import DeadLetter
from casscade.load.observer import Committed
from casscade.merge.conflicts import conflicting
from casscade.merge.fold import Fold
from casscade.pipeline.monitor import Monitor
from casscade.schema.conflict_rules import ConflictRule, require_arrival_once
from casscade.schema.mapping import build_target
from casscade.schema.model import Column, ColumnKind, Keyspace, SchemaSnapshot, Table, assign_indexes

TABLE = assign_indexes(
    Table(
        uuid.uuid4(),
        "ks",
        "orders",
        (
            Column("p", ColumnKind.PARTITION_KEY, 0, CqlType("int")),
            Column("v", ColumnKind.REGULAR, -1, CqlType("int")),
        ),
    ),
    {},
)
SHAPE = TABLE.shape(replicated=True)
SECOND = 1_000_000


def _fold(*writes: tuple[int, Cell]) -> Fold:
    """Writes (key, cell of `v`) as they arrived."""
    fold = Fold()
    for key, cell in writes:
        update = PartitionUpdate(SHAPE, key.to_bytes(4, "big"))
        row = Row(b"", [])
        row.cells = {0: cell}
        update.rows = [row]
        fold.add([update])
    return fold


def _count(fold: Fold, rule: ConflictRule | None = None) -> tuple[BatchCounts, list[DeadLetter]]:
    counts = BatchCounts()
    target = replace(build_target(TABLE), conflicts=rule or ConflictRule())
    return counts, ConflictLedger().count(fold, lambda _: (target, False), counts)


def _cell(ts: int, value: int = 1) -> Cell:
    return live_cell(ts, value.to_bytes(4, "big"))


@pytest.mark.requirement("SC-010")
@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (live_cell(5, b"a"), live_cell(5, b"b"), True),
        (live_cell(5, b"a"), live_cell(6, b"b"), False),
        (live_cell(5, b"a"), live_cell(5, b"a"), False),
        (live_cell(5, b"a"), tombstone_cell(5), True),
        (tombstone_cell(5), tombstone_cell(5), False),
        # A read tells the end of a cell to the second.
        (expiring_cell(5, 100, 60, b"a"), expiring_cell(5, 101, 60, b"a"), False),
        (expiring_cell(5, 100, 60, b"a"), expiring_cell(5, 100, 60, b"b"), True),
        # Compaction makes a tombstone of a cell that ended; so does dropping its value here.
        (expiring_cell(5, 100, 60, b"a"), tombstone_cell(5), False),
        (expiring_cell(5, 100, 60, b"a"), (5, 100, 60, None), False),
        (counter_cell(5, b"a"), counter_cell(5, b"b"), False),
    ],
)
def test_two_writes_of_one_time_and_other_values_are_a_conflict(left: Cell, right: Cell, expected: bool) -> None:
    assert conflicting(left, right) is expected
    assert conflicting(right, left) is expected


@pytest.mark.requirement("SC-010")
def test_a_conflict_counts_once_over_batches_and_again_when_it_was_forgotten() -> None:
    ledger = ConflictLedger()
    targets = {SHAPE.id: build_target(TABLE)}

    def conflicts(*writes: tuple[int, Cell], commit: bool = True) -> int:
        counts = BatchCounts()
        assert ledger.count(_fold(*writes), lambda table_id: (targets[table_id], False), counts) == []
        if commit:
            ledger.committed()
        return counts.conflicts.total()

    one = (1, _cell(5, 1)), (1, _cell(5, 2))
    assert conflicts(*one, commit=False) == 1
    assert conflicts(*one) == 1, "a batch that was not committed counts again"
    assert conflicts(*one, *one) == 0
    many = [(key, _cell(5, value)) for key in range(2, CONFLICTS_REMEMBERED_MAX + 2) for value in (1, 2)]
    assert conflicts(*many) == CONFLICTS_REMEMBERED_MAX
    assert conflicts(*many) == 0
    assert conflicts(*one) == 1, "only the last ones are remembered"


@pytest.mark.requirement("FR-025")
def test_only_the_strategy_dead_letter_sets_aside() -> None:
    fold = _fold((1, _cell(50 * SECOND)), (1, _cell(10 * SECOND)), (2, _cell(5, 1)), (2, _cell(5, 2)))
    counts, letters = _count(fold)
    assert (counts.stale, counts.conflicts, letters) == ({"ks.orders": 1}, {"ks.orders": 1}, [])
    _, letters = _count(fold, ConflictRule("arrival_order"))
    assert letters == []
    _, letters = _count(fold, ConflictRule("dead_letter", 30))
    assert [letter.code for letter in letters] == ["stale_write", "conflicting_write"]


@pytest.mark.requirement("FR-025")
def test_a_stale_write_is_set_aside_with_its_bytes_and_both_times_but_no_value_of_its_key() -> None:
    _, letters = _count(
        _fold((7777777, _cell(50 * SECOND, 5)), (7777777, _cell(10 * SECOND, 9))), ConflictRule("dead_letter", 30)
    )
    (letter,) = letters
    (update,) = decode_any(letter.mutation, letter.encoding, {SHAPE.id: SHAPE})
    assert (update.key, update.rows[0].cells) == ((7777777).to_bytes(4, "big"), {0: _cell(10 * SECOND, 9)})
    assert letter.source_name == "ks.orders"
    assert "10000000" in letter.message
    assert "50000000" in letter.message
    assert "7777777" not in letter.message


@pytest.mark.requirement("FR-025")
def test_what_is_not_older_by_more_than_the_time_may_be_a_late_copy() -> None:
    fold = _fold((1, _cell(50 * SECOND)), (1, _cell(10 * SECOND)))
    assert len(_count(fold, ConflictRule("dead_letter", 39))[1]) == 1
    counts, letters = _count(fold, ConflictRule("dead_letter", 40))
    assert (counts.stale, letters) == ({"ks.orders": 1}, [])


@pytest.mark.requirement("FR-025")
def test_the_cell_that_lost_is_set_aside_in_either_order() -> None:
    for values in ((1, 2), (2, 1)):
        _, letters = _count(_fold(*((1, _cell(5, value)) for value in values)), ConflictRule("dead_letter", 0))
        (letter,) = letters
        (update,) = decode_any(letter.mutation, letter.encoding, {SHAPE.id: SHAPE})
        assert update.rows[0].cells == {0: _cell(5, 1)}
        assert "column v" in letter.message


@pytest.mark.requirement("FR-025")
def test_rows_that_a_read_showed_are_never_stale() -> None:
    fold = _fold((1, _cell(50)))
    update = PartitionUpdate(SHAPE, (1).to_bytes(4, "big"))
    row = Row(b"", [])
    row.cells, row.scanned = {0: _cell(10)}, True
    update.rows = [row]
    fold.add([update])
    assert _count(fold)[0].stale == {}


def test_halves_of_a_batch_share_what_was_found() -> None:
    fold = _fold((1, _cell(5, 1)), (1, _cell(5, 2)), (2, _cell(5)))
    for half in halves(fold):
        assert half.tables[SHAPE.id].findings is fold.tables[SHAPE.id].findings


@pytest.mark.requirement("SC-010")
def test_the_conflict_rate_is_shown() -> None:
    monitor = Monitor("shop")
    counts = BatchCounts()
    counts.conflicts["ks.orders"] = 1
    counts.stale["ks.orders"] = 3
    monitor.committed(Committed(counts, 1.0, 0.1, 2000, [], {}))
    status = monitor.status()
    assert status["conflicts"] == {"cells": 1, "ratio": 0.0005, "stale_rows": 3}
    exposed = monitor.metrics.render().decode()
    assert 'casscade_load_conflict_ratio{pipeline="shop"} 0.0005' in exposed
    assert 'casscade_load_conflicting_cells_total{pipeline="shop",table="ks.orders"} 1.0' in exposed
    assert 'casscade_load_stale_rows_total{pipeline="shop",table="ks.orders"} 3.0' in exposed


def _snapshot(**replication: str) -> SchemaSnapshot:
    return SchemaSnapshot({"ks": Keyspace("ks", replication={"class": "any", **replication})}, {TABLE.id: TABLE}, {})


@pytest.mark.requirement("FR-025")
def test_arrival_order_is_refused_where_it_cannot_be_right() -> None:
    require_arrival_once(_snapshot(replication_factor="1"), TABLE)
    require_arrival_once(_snapshot(dc1="1"), TABLE)
    counter = replace(TABLE, columns=(TABLE.columns[0], replace(TABLE.columns[1], type=CqlType("counter"))))
    listed = replace(
        TABLE, columns=(TABLE.columns[0], replace(TABLE.columns[1], type=CqlType("list", (CqlType("int"),))))
    )
    for snapshot, table, reason in (
        (_snapshot(replication_factor="3"), TABLE, "3 replicas"),
        (_snapshot(dc1="1", dc2="1"), TABLE, "2 replicas"),
        (_snapshot(dc1="3/1"), TABLE, "3 replicas"),
        (_snapshot(dc1="1"), counter, "counter"),
        (_snapshot(dc1="1"), listed, "non-frozen column 'v'"),
    ):
        with pytest.raises(ConfigurationError, match=reason) as caught:
            require_arrival_once(snapshot, table)
        assert caught.value.code == "arrival_order_impossible"
