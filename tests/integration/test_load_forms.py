"""Every type in every form goes into PostgreSQL by COPY and comes back: for its clients, and for the loader's merge."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from casscade.core.cell import NO_TIMESTAMP
from casscade.cql.elements import join_tuple, split_tuple
from casscade.cql.types import CqlType
from casscade.schema.pg_types import PgType
from casscade.verify.normal import cassandra_form
from tests.support.forms import FROZEN, MULTI_CELL, SIMPLE, FormsTable, cells_of
from tests.support.random_rows import content

pytestmark = pytest.mark.servers
ROWS = 24


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as opened:
        yield opened


def expected(forms: FormsTable, values: dict[int, bytes]) -> list[Any]:
    """What the columns should show, by the comparison's own decoding."""
    return [_expected(column.column.type, values.get(column.column.index), column.pg_type) for column in forms.columns]


def _expected(type_: Any, value: bytes | None, pg: PgType) -> Any:
    # an empty collection that is not frozen is null to CQL
    if type_.multi_cell and value is not None and not cells_of(type_, value, 1):
        return None
    if type_.multi_cell and value is not None and type_.name == "udt":
        parts = split_tuple(value, len(type_.args), "udt")
        value = join_tuple(parts + [None] * (len(type_.args) - len(parts)), "udt")
    return cassandra_form(type_, value, pg)


@pytest.mark.requirement("FR-009")
@pytest.mark.requirement("FR-010")
@pytest.mark.requirement("FR-011")
@pytest.mark.parametrize("types", [FROZEN, MULTI_CELL], ids=["frozen", "multi-cell"])
def test_every_type_in_every_form_comes_back(connection: psycopg.Connection[Any], types: tuple[str, ...]) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    forms = FormsTable(connection, types)
    values = {key: forms.random_values(rng) for key in range(ROWS)}
    rows = {key: forms.row(values[key]) for key in values}
    counts = forms.write(rows)
    assert (counts.rows, counts.dead_letters) == (ROWS, {})
    assert counts.inexact.keys() == {("ks.forms", "keep")}
    shown = forms.shown()
    for key, row_values in values.items():
        for column, left, right in zip(forms.columns, expected(forms, row_values), shown[key], strict=True):
            what = f"{column.column.type.cql()} as {column.pg_type.name}: {row_values.get(column.column.index)!r}"
            assert left == right, what
    stored = forms.stored()
    assert {key: content(row) for key, row in stored.items()} == {key: content(row) for key, row in rows.items()}
    again = forms.write(rows)
    assert (again.rows, again.merged) == (ROWS, 0)


@pytest.mark.requirement("FR-009")
def test_what_is_converted_is_gone_and_shows_the_same(connection: psycopg.Connection[Any]) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    forms = FormsTable(connection, (*SIMPLE, "frozen<list<text>>", "frozen<outer>"), policy="convert")
    values = {key: forms.random_values(rng) for key in range(ROWS)}
    rows = {key: forms.row(values[key], insert=key % 2 == 0) for key in values}
    counts = forms.write(rows)
    assert counts.inexact.keys() == {("ks.forms", "convert")}
    shown = forms.shown()
    converted = 0
    for key, row in forms.stored().items():
        assert shown[key] == expected(forms, values[key])
        for place, column in enumerate(forms.columns):
            cell = row.cells.get(column.column.index)
            if cell is None or column.pg_type.form not in {"plain", "array", "composite"}:
                continue
            # an empty value stands for one that shows nothing; what is shown for ASCII is text
            type_ = CqlType("text") if column.column.type.name == "ascii" else column.column.type
            assert cassandra_form(type_, cell[3], column.pg_type) == shown[key][place]
            converted += cell[3] != values[key][column.column.index]
    assert converted > ROWS
    assert counts.inexact["ks.forms", "convert"] == _inexact(forms, values)
    assert forms.write(rows).merged == 0
    assert forms.shown() == shown


def _inexact(forms: FormsTable, values: dict[int, dict[int, bytes]]) -> int:
    """How many values their columns can't show exactly."""
    codecs = {column.index: column.codec for column in forms.layout().values}
    given = [(codecs[index], value) for row in values.values() for index, value in row.items()]
    return sum(
        codec is not None and codec.encode(value) is None and not codec.says_all(value) for codec, value in given
    )


@pytest.mark.requirement("FR-009")
def test_rows_with_inexact_values_are_set_aside(connection: psycopg.Connection[Any]) -> None:
    forms = FormsTable(connection, ("time", "frozen<list<text>>", "set<time>"), policy="dead_letter")
    first = {column.column.type.cql(): column.column.index for column in reversed(forms.columns)}
    sound = {
        first["time"]: bytes(8),
        first["frozen<list<text>>"]: bytes.fromhex("000000010000000161"),
        first["set<time>"]: bytes.fromhex("00000001000000080000000000000000"),
    }
    wrong = {
        first["time"]: bytes(7) + b"\1",
        first["frozen<list<text>>"]: bytes.fromhex("000000010000000100"),
        first["set<time>"]: bytes.fromhex("00000001000000080000000000000001"),
    }
    rows = {0: forms.row(sound)}
    rows |= {key: forms.row(sound | {index: value}) for key, (index, value) in enumerate(wrong.items(), 1)}
    rows[4] = forms.row(sound)
    counts = forms.write(rows)
    assert counts.dead_letters == {"value_not_representable": 3}
    assert counts.inexact == {("ks.forms", "dead_letter"): 3}
    assert forms.stored().keys() == {0, 4}
    before = forms.shown()
    assert before[0] == expected(forms, sound)
    # what is set aside changes nothing, also where there is a row already, or a row that was deleted
    gone = forms.row({})
    gone.liveness_ts, gone.deletion = NO_TIMESTAMP, 7
    forms.write({0: forms.row(sound | {first["time"]: wrong[first["time"]]}, ts=9), 4: gone})
    assert forms.write({4: forms.row(wrong, ts=9)}).dead_letters == {"value_not_representable": 1}
    assert forms.shown() == {0: before[0]}
    forms.write({4: forms.row(sound, ts=6)})
    assert forms.shown() == {0: before[0]}
