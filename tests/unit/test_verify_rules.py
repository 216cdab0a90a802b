"""Comparing knows of rules: rows that no condition wants are none, and values are compared as the rules leave them."""

from __future__ import annotations

import struct
import uuid
from typing import Any
from unittest.mock import MagicMock

import pytest

from casscade.core.errors import ConfigurationError
from casscade.cql.types import CqlType
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from casscade.verify.compare import compare_table
from casscade.verify.read_cassandra import CassandraTable
from casscade.verify.read_relation import _safe
from tests.support.ruled import rules_of, target_of

pytestmark = pytest.mark.requirement("FR-013")

TEXT = CqlType("text")


def _table() -> Table:
    columns = (
        Column("p", ColumnKind.PARTITION_KEY, 0, TEXT),
        Column("k", ColumnKind.CLUSTERING, 0, CqlType("int")),
        Column("s", ColumnKind.STATIC, -1, TEXT),
        Column("age", ColumnKind.REGULAR, -1, TEXT),
        Column("email", ColumnKind.REGULAR, -1, TEXT),
        Column("phone", ColumnKind.REGULAR, -1, TEXT),
    )
    return assign_indexes(Table(uuid.uuid4(), "ks", "people", columns), {})


def _reader(entry: dict[str, Any]) -> CassandraTable:
    table = _table()
    rules = rules_of(table, entry)
    return CassandraTable(MagicMock(), target_of(table, rules), 1, 100, rules)


ENTRY = {
    "where": "p <> 'x' and k > 0 and age is not null",
    "transforms": [
        {"cast": {"columns": ["age"], "to": "int"}},
        {"mask": {"columns": ["email", "s"], "with": "redact"}},
        {"null": {"columns": ["phone"]}},
    ],
}
ONE = (1).to_bytes(4, "big")


def test_values_are_those_behind_the_rules() -> None:
    reader = _reader(ENTRY)
    row: list[bytes | None] = [b"a", ONE, b"static", b"36", b"a@b.de", b"555"]
    assert reader.is_row(row)
    assert reader.value_forms(row, static=False) == (36, "***", None)
    assert reader.value_forms(row, static=True) == ("***",)
    # A value on which a rule fails is nothing that PostgreSQL could show.
    assert reader.value_forms([b"a", ONE, None, b"no number", None, None], static=False)[0] == "rule_failed"


@pytest.mark.parametrize(
    ("row", "wanted", "static"),
    [
        ([b"x", ONE, b"s", b"1", None, None], False, False),
        ([b"a", bytes(4), b"s", b"1", None, None], False, True),
        ([b"a", ONE, b"s", None, None, None], False, True),
        ([b"a", None, b"s", None, None, None], False, True),
        ([b"a", ONE, None, b"1", None, None], True, False),
        ([b"a", ONE, None, b"\xff", None, None], False, False),
    ],
)
def test_rows_that_no_condition_wants_are_none(row: list[bytes | None], wanted: bool, static: bool) -> None:
    reader = _reader(ENTRY)
    assert reader.is_row(row) is wanted
    assert reader.has_statics(row) is static


def test_hashed_keys_can_not_be_compared() -> None:
    table = _table()
    rules = rules_of(table, {"transforms": [{"hash": {"columns": ["p"]}}]})
    with pytest.raises(ConfigurationError, match="is hashed"):
        compare_table(MagicMock(), MagicMock(), target_of(table, rules), rules=rules)


def test_what_postgres_shows_is_read_as_the_type_that_the_rules_give() -> None:
    columns = (Column("p", ColumnKind.PARTITION_KEY, 0, TEXT), Column("x", ColumnKind.REGULAR, -1, CqlType("double")))
    table = assign_indexes(Table(uuid.uuid4(), "ks", "t", columns), {})
    rules = rules_of(table, {"transforms": [{"cast": {"columns": ["x"], "to": "text"}}]})
    target = target_of(table, rules)
    reader = CassandraTable(MagicMock(), target, 1, 100, rules)
    (column,) = target.rows.value_columns
    assert _safe(column, "1.5") == "1.5"
    assert reader.value_forms([b"a", struct.pack(">d", 1.5)], static=False) == ("1.5",)
