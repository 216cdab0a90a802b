"""The demo's tables, statements and workload: readable for people, whole and repeatable for the proof."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from casscade.demo.tables import DEVICES, STATEMENTS, Existing, Write
from casscade.demo.workload import TTL_S_MAX, TTL_S_MIN, Workload

EXISTING = Existing.of(500)


def some(seed: int, count: int = 3000) -> list[Write]:
    return list(islice(Workload(seed, EXISTING), count))


@pytest.mark.parametrize("rows", [10, 11, 12, 13, 14, 5000])
def test_existing_rows_are_as_many_as_asked_for(rows: int) -> None:
    existing = Existing.of(rows)
    written = Counter(write.statements[0][0] for write in existing.writes(0))
    assert existing.customers + existing.orders + existing.events == rows
    assert (written["existing_customer"], written["existing_order"]) == (existing.customers, existing.orders)
    assert written["existing_event"] == existing.events


def test_no_existing_row_is_written_twice() -> None:
    positions = {"existing_customer": (0,), "existing_order": (0, 1), "existing_event": (0, 1)}
    keys = [
        (name, *(values[position] for position in positions[name]))
        for write in Existing.of(7 * DEVICES).writes(0)
        for name, values in write.statements
        if name in positions
    ]
    assert len(set(keys)) == len(keys) == 7 * DEVICES


def test_existing_rows_have_the_write_time_given() -> None:
    for write in EXISTING.writes(123_456_789):
        assert 123_456_789 in write.statements[0][1]


def test_every_statement_gets_as_many_values_as_it_has_places() -> None:
    for write in [*EXISTING.writes(0), *some(1)]:
        for name, values in write.statements:
            assert STATEMENTS[name].count("?") == len(values), name


def test_every_statement_is_used() -> None:
    used = {name for write in [*EXISTING.writes(0), *some(1, 15_000)] for name, _ in write.statements}
    assert used == set(STATEMENTS)


def test_the_seed_decides() -> None:
    assert some(7) == some(7)
    assert some(7) != some(8)


def test_all_kinds_occur_soon() -> None:
    kinds = Counter(write.kind for write in some(3, 1000))
    assert set(kinds) == set(Workload(3, EXISTING).kinds)
    assert kinds["insert"] > 250
    assert kinds["partition delete"] < 60, "most of what was written has to be there at the end"


def test_batches_hold_two_statements_and_nothing_else_does() -> None:
    for write in some(4):
        assert len(write.statements) == (2 if write.kind == "batch" else 1)


def test_ttls_run_out_while_the_demo_runs() -> None:
    places = {"set_coupon": 0, "insert_event_ttl": -1}
    ttls = {values[places[name]] for write in some(5) for name, values in write.statements if name in places}
    assert ttls == set(range(TTL_S_MIN, TTL_S_MAX + 1))
