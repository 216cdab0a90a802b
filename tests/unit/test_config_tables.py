"""Which tables are replicated, where to, and with which columns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from casscade.config.load import parse_config
from casscade.config.model import PipelineConfig
from casscade.config.tables import Choice, TableRule, matches, resolve_tables, select_columns
from casscade.core.errors import ConfigurationError

AVAILABLE = [
    ("shop", "orders"),
    ("shop", "customers"),
    ("stock", "items"),
    ("system_auth", "roles"),
    ("system", "local"),
]


def config(*tables: dict[str, object], control_schema: str = "casscade") -> PipelineConfig:
    content = {
        "name": "shop",
        "cassandra": {"contact_points": ["h"], "local_datacenter": "dc"},
        "capture": {"cdc_directory": "/cdc", "state_directory": "/state"},
        "postgres": {"dsn": "postgresql://h/db", "control_schema": control_schema},
        "tables": list(tables),
    }
    return parse_config(yaml.safe_dump(content, sort_keys=False).encode(), "pipeline.yaml", {}, Path("/"))


def targets(*tables: dict[str, object]) -> dict[str, str]:
    rules = resolve_tables(config(*tables), AVAILABLE)
    return {f"{rule.keyspace}.{rule.table}": f"{rule.target_schema}.{rule.target_table}" for rule in rules}


def refused(*tables: dict[str, object]) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        resolve_tables(config(*tables), AVAILABLE)
    return caught.value


@pytest.mark.requirement("FR-006")
def test_only_the_selected_tables_are_replicated() -> None:
    assert targets({"source": "shop.orders"}) == {"shop.orders": "shop.orders"}
    assert targets({"source": "shop.*"}) == {"shop.customers": "shop.customers", "shop.orders": "shop.orders"}
    assert targets({"source": "s*.?tem?"}) == {"stock.items": "stock.items"}


def test_cassandras_own_keyspaces_match_no_wildcard() -> None:
    assert sorted(targets({"source": "*.*"})) == ["shop.customers", "shop.orders", "stock.items"]
    assert "no table of the cluster matches" in refused({"source": "sys*.*"}).what


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("analytics.*", "analytics.orders"),
        ("*.*", "shop.orders"),
        ("c_*.t_*_x", "c_shop.t_orders_x"),
        ("analytics.sales", "analytics.sales"),
    ],
)
def test_a_star_in_the_target_stands_for_the_name(target: str, expected: str) -> None:
    assert targets({"source": "shop.orders", "target": target}) == {"shop.orders": expected}


@pytest.mark.requirement("FR-006")
def test_later_entries_refine_earlier_ones() -> None:
    rules = resolve_tables(
        config(
            {"source": "*.*", "target": "analytics.*", "columns": {"exclude": ["password_hash"]}},
            {"source": "shop.*", "columns": {"include": ["name"]}},
            {"source": "shop.customers", "target": "crm.people", "columns": {"exclude": ["email", "password_hash"]}},
            {"source": "shop.customers", "columns": {"include": ["name", "city"]}},
        ),
        AVAILABLE,
    )
    assert rules == [
        TableRule("shop", "customers", "crm", "people", ("name", "city"), ("password_hash", "email")),
        TableRule("shop", "orders", "analytics", "orders", ("name",), ("password_hash",)),
        TableRule("stock", "items", "analytics", "items", None, ("password_hash",)),
    ]


def test_a_source_that_does_not_exist_is_named_with_its_line_and_the_nearest() -> None:
    error = refused({"source": "shop.*"}, {"source": "shop.custmers"})
    assert 'the table "shop.custmers" does not exist' in error.what
    assert error.where == "pipeline.yaml:14"
    assert 'did you mean "shop.customers"?' in error.hint


def test_a_keyspace_that_does_not_exist_is_named() -> None:
    error = refused({"source": "shp.*"})
    assert 'the keyspace "shp" does not exist' in error.what
    assert 'did you mean "shop"?' in error.hint
    assert 'the keyspace "zzz" does not exist' in refused({"source": "zzz.orders"}).what


def test_two_tables_never_share_a_target() -> None:
    error = refused({"source": "shop.*", "target": "analytics.all"})
    assert "shop.customers and shop.orders have the same target analytics.all" in error.what
    assert "same target" in refused({"source": "*.*"}, {"source": "stock.items", "target": "shop.orders"}).what


def test_a_target_must_fit_postgresql_and_stay_out_of_the_control_schema() -> None:
    table = "t" * 64
    with pytest.raises(ConfigurationError, match="more than 63 characters"):
        resolve_tables(config({"source": "shop.*"}), [("shop", table)])
    with pytest.raises(ConfigurationError, match='lies in the control schema "shop"'):
        resolve_tables(config({"source": "shop.*"}, control_schema="shop"), AVAILABLE)


@pytest.mark.requirement("FR-009")
def test_choices_for_columns_add_up_and_know_their_lines() -> None:
    rules = resolve_tables(
        config(
            {"source": "shop.*", "inexact": "convert", "columns": {"types": {"tags": "jsonb", "home": "composite"}}},
            {
                "source": "shop.customers",
                "inexact": "dead_letter",
                "columns": {"types": {"tags": "text"}, "inexact": {"birthday": "keep"}},
            },
        ),
        AVAILABLE,
    )
    customers, orders = rules
    assert customers.types == {
        "tags": Choice("text", "pipeline.yaml:23"),
        "home": Choice("composite", "pipeline.yaml:18"),
    }
    assert customers.column_inexact == {"birthday": Choice("keep", "pipeline.yaml:25")}
    assert customers.inexact == "dead_letter"
    assert {column: choice.word for column, choice in orders.types.items()} == {"tags": "jsonb", "home": "composite"}
    assert (orders.column_inexact, orders.inexact) == ({}, "convert")


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"types": {"tags": "json"}}, "must be 'array', 'jsonb', 'composite', 'text', 'bytea', 'bigint' or 'vector'"),
        ({"inexact": {"tags": "drop"}}, "must be 'keep', 'convert' or 'dead_letter'"),
        ({"types": ["tags"]}, "must be a section of keys"),
    ],
)
def test_a_word_that_is_no_choice_is_refused(columns: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config({"source": "shop.*", "columns": columns})
    assert what in str(caught.value)
    assert "pipeline.yaml:" in str(caught.value)


COLUMNS = ("id", "at", "name", "email")


@pytest.mark.parametrize(
    ("column", "what", "hint"),
    [
        ("emial", 'no column "emial"', 'did you mean "email"?'),
        ("at", "belongs to its primary key", "remove it: docs/types.md says what key columns become"),
    ],
)
def test_a_choice_for_no_column_or_for_a_key_is_refused_with_its_line(column: str, what: str, hint: str) -> None:
    choice = {column: Choice("text", "pipeline.yaml:9")}
    plain = TableRule("shop", "customers", "a", "b", None, ())
    for rule in (replace(plain, types=choice), replace(plain, column_inexact=choice)):
        with pytest.raises(ConfigurationError, match=what) as caught:
            select_columns(rule, {"id", "at"}, COLUMNS)
        assert (caught.value.where, caught.value.hint) == ("pipeline.yaml:9", hint)


def select(include: tuple[str, ...] | None, exclude: tuple[str, ...]) -> tuple[str, ...]:
    return select_columns(TableRule("shop", "customers", "a", "b", include, exclude), {"id", "at"}, COLUMNS)


@pytest.mark.requirement("FR-006")
def test_columns_are_selected_in_the_tables_order_and_the_key_always() -> None:
    assert select(None, ()) == COLUMNS
    assert select(("email",), ()) == ("id", "at", "email")
    assert select(None, ("email",)) == ("id", "at", "name")
    assert select(("name", "email"), ("email",)) == ("id", "at", "name")


def test_excluding_a_key_column_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r'"at" of shop\.customers belongs to its primary key'):
        select(None, ("email", "at"))


@pytest.mark.parametrize(("include", "exclude"), [(("emial",), ()), (None, ("emial",))])
def test_a_column_that_does_not_exist_is_an_error(include: tuple[str, ...] | None, exclude: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match='no column "emial"') as caught:
        select(include, exclude)
    assert caught.value.hint == 'did you mean "email"?'


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "", True),
        ("?", "", False),
        ("a*c", "abbc", True),
        ("a*c", "abbcd", False),
        ("a?c", "abc", True),
        ("a*b*c", "a_b_b_c", True),
        ("A", "a", False),
        ("a", "ab", False),
    ],
)
def test_patterns(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) is expected


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_matching_agrees_with_the_definition(pattern: str, name: str) -> None:
    def definition(pattern: str, name: str) -> bool:
        if not pattern:
            return not name
        if pattern[0] == "*":
            return definition(pattern[1:], name) or (bool(name) and definition(pattern, name[1:]))
        return bool(name) and pattern[0] in ("?", name[0]) and definition(pattern[1:], name[1:])

    assert matches(pattern, name) is definition(pattern, name)


@pytest.mark.requirement("FR-009")
def test_a_later_entry_changes_the_form_of_the_key() -> None:
    rules = resolve_tables(
        config({"source": "shop.*", "key": "exact"}, {"source": "shop.orders", "key": "natural"}, {"source": "*.*"}),
        AVAILABLE,
    )
    assert {rule.table: rule.key for rule in rules} == {"customers": "exact", "orders": "natural", "items": "auto"}
    with pytest.raises(ConfigurationError, match="key"):
        config({"source": "shop.*", "key": "hash"})


@pytest.mark.requirement("FR-006")
def test_tables_are_excluded_by_pattern() -> None:
    chosen = targets({"source": "*.*", "exclude": ["shop.cust*", "system_?.*"]})
    assert sorted(chosen) == ["shop.orders", "stock.items"]
    # Another entry may still select what one leaves out.
    assert "shop.orders" in targets({"source": "*.*", "exclude": ["shop.*"]}, {"source": "shop.orders"})


@pytest.mark.requirement("FR-013")
def test_conditions_and_transforms_add_up_in_the_order_of_the_file() -> None:
    (rule,) = resolve_tables(
        config(
            {"source": "shop.*", "where": "a = 1", "transforms": [{"trim": {"columns": ["n*"]}}]},
            {
                "source": "shop.orders",
                "where": "b = 2",
                "transforms": [{"mask": {"columns": ["email"], "with": "redact"}}],
            },
        ),
        [("shop", "orders")],
    )
    assert [condition.word for condition in rule.conditions] == ["a = 1", "b = 2"]
    assert [placed.transform.word for placed in rule.transforms] == ["trim", "mask"]
    assert all(placed.where.startswith("pipeline.yaml:") for placed in rule.transforms)
    lines = [int(placed.where.rpartition(":")[2]) for placed in rule.transforms]
    assert lines == sorted(lines)


@pytest.mark.requirement("FR-025")
def test_strategies_for_conflicts_of_later_entries_replace_earlier_ones() -> None:
    everything: dict[str, object] = {"source": "shop.*", "conflicts": "dead_letter", "conflicts_after_seconds": 0}
    rules = resolve_tables(config(everything, {"source": "shop.orders", "conflicts": "arrival_order"}), AVAILABLE)
    found = {rule.table: (rule.conflicts, rule.conflicts_after_s) for rule in rules}
    assert found == {"orders": ("arrival_order", 0), "customers": ("dead_letter", 0)}
    (rule,) = resolve_tables(config({"source": "shop.orders"}), AVAILABLE)
    assert (rule.conflicts, rule.conflicts_after_s) == ("last_write_wins", 10_800)
