"""Rules against tables: what does not fit is refused with file, line and remedy; what fits is in the target."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from casscade.core.errors import ConfigurationError
from casscade.cql.types import CqlType
from casscade.load.rewriting import rewriting_of
from casscade.load.row_filter import row_filter
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from tests.support.ruled import rules_of, target_of

TEXT = CqlType("text")


def table() -> Table:
    columns = (
        Column("id", ColumnKind.PARTITION_KEY, 0, CqlType("uuid")),
        Column("k", ColumnKind.CLUSTERING, 0, CqlType("int")),
        Column("shared", ColumnKind.STATIC, -1, TEXT),
        Column("age", ColumnKind.REGULAR, -1, CqlType("int")),
        Column("email", ColumnKind.REGULAR, -1, TEXT),
        Column("name", ColumnKind.REGULAR, -1, TEXT),
        Column("tags", ColumnKind.REGULAR, -1, CqlType("set", (TEXT,))),
    )
    return assign_indexes(Table(uuid.uuid4(), "ks", "people", columns), {})


def refused(entry: dict[str, Any], **options: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        rules_of(table(), entry, **options)
    assert caught.value.code == "config_rules"
    return caught.value


def transform(word: str, column: str = "email", **section: Any) -> dict[str, Any]:
    return {"transforms": [{word: {"columns": [column], **section}}]}


@pytest.mark.requirement("FR-006")
@pytest.mark.requirement("FR-013")
@pytest.mark.parametrize(
    ("entry", "part"),
    [
        ({"where": "emial = 'x'"}, 'did you mean "email"'),
        ({"where": "email ="}, "at character 8"),
        ({"where": "age = 'x'"}, "no value of a column of type int"),
        ({"where": "shared = 'x'"}, "static column"),
        ({"where": "email = 'x'", **transform("null")}, "hidden or left out"),
        ({"where": "email = 'x'", **transform("drop")}, "hidden or left out"),
        ({"where": "email = 'x'", "columns": {"exclude": ["email"]}}, "hidden or left out"),
        (transform("trim", "emali"), 'did you mean "email"'),
        (transform("trim", "age"), "needs a text"),
        (transform("trim", "id"), "different values must stay different"),
        (transform("hash", "k"), "clustering column"),
        (transform("trim", "tags"), "written one by one"),
        (transform("drop", "id"), "can't be dropped"),
        (transform("hash", "id"), '"tags" is a column that may have to be read again'),
        (transform("json_path", path="x"), "begins with $"),
        ({"transforms": [{"rename": {"column": "nmae", "to": "x"}}]}, 'did you mean "name"'),
        ({"transforms": [{"rename": {"column": "name", "to": "email"}}]}, 'the name is that of "email"'),
        ({"transforms": [{"rename": {"column": "name", "to": "_cdc_ts"}}]}, "column of Casscade's own"),
        (
            {"transforms": [{"rename": {"column": c, "to": "x"}} for c in ("name", "email")]},
            'the name is that of "name"',
        ),
    ],
)
def test_what_does_not_fit_the_table_is_refused_with_its_line(entry: dict[str, Any], part: str) -> None:
    error = refused(entry)
    assert part in f"{error.what} ({error.hint})"
    assert "ks.people" in error.what
    line = 9 if "where" in entry else 10
    assert error.where.startswith("pipeline.yaml:")
    assert int(error.where.rpartition(":")[2]) >= line
    assert "nothing was started" in error.now


def test_debezium_can_not_ask_for_hashed_keys() -> None:
    entry = {"transforms": [{"drop": {"columns": ["tags"]}}, {"hash": {"columns": ["id"]}}]}
    assert rules_of(table(), entry).hides_keys
    assert "Debezium" in refused(entry, foreign=True).what


def test_a_pattern_may_mean_nothing_here_and_a_name_must_be_there() -> None:
    assert not rules_of(table(), transform("null", "no_such_*")).active
    assert set(rules_of(table(), transform("trim", "*m*")).chains) == {"email", "name"}
    refused(transform("null", "no_such_column"))


def test_the_target_has_the_types_and_names_of_the_rules() -> None:
    entry = {
        "transforms": [
            {"cast": {"columns": ["age"], "to": "text"}},
            {"mask": {"columns": ["email"], "with": "hmac-sha256"}},
            {"rename": {"column": "name", "to": "full_name"}},
            {"rename": {"column": "id", "to": "person"}},
            {"drop": {"columns": ["tags"]}},
            {"hash": {"columns": ["id"]}},
        ]
    }
    made = table()
    target = target_of(made, rules_of(made, entry))
    columns = {column.name: column.pg_type.name for column in target.rows.columns}
    assert columns == {"person": "text", "k": "integer", "age": "text", "email": "text", "full_name": "text"}
    assert target.statics is not None
    assert target.statics.key_columns[0].name == "person"


def test_names_may_be_exchanged_and_taken_from_what_is_left_out() -> None:
    swap = [{"rename": {"column": "name", "to": "email"}}, {"rename": {"column": "email", "to": "name"}}]
    made = table()
    assert target_of(made, rules_of(made, {"transforms": swap})).rows is not None
    assert rules_of(made, {"columns": {"exclude": ["email"]}, "transforms": swap[:1]}).renames == {"name": "email"}
    twice = [{"rename": {"column": "name", "to": "email"}}, {"rename": {"column": "name", "to": "x"}}]
    assert rules_of(made, {"transforms": twice}).renames == {"name": "x"}


def test_conditions_are_sorted_by_when_they_can_be_decided() -> None:
    rules = rules_of(
        table(), {"where": "k > 1 and id <> '00000000-0000-0000-0000-000000000000' and (k = 2 or age > 1)"}
    )
    conditions = rules.conditions
    assert conditions is not None
    assert [len(part) for part in (conditions.partition, conditions.key, conditions.row)] == [1, 1, 1]
    # A key that is hashed afterwards can still be asked as it is.
    entry = {"where": "id is not null", "transforms": [{"drop": {"columns": ["tags"]}}, {"hash": {"columns": ["id"]}}]}
    assert rules_of(table(), entry).conditions is not None
    assert "hidden" in refused({**entry, "where": "id is not null or age = 1"}).what


def test_tables_without_rules_pay_nothing() -> None:
    rules = rules_of(table(), {})
    assert not rules.active
    assert rewriting_of([rules]) is None
    assert rewriting_of([]) is None
    assert row_filter(rules, table()) is None
    assert row_filter(None, table()) is None
    # What is only shown in another way is no matter of decoding.
    assert rewriting_of([rules_of(table(), transform("trim"))]) is None
