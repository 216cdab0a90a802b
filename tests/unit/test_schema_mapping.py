"""From a Cassandra table to its relations in PostgreSQL."""

from __future__ import annotations

import uuid

import pytest

from casscade.core.errors import ConfigurationError
from casscade.cql.types import SIMPLE_TYPES, CqlType, parse_type
from casscade.schema.mapping import build_target, check_targets
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes, ordered_columns
from casscade.schema.pg_types import map_column

KINDS = {"p": ColumnKind.PARTITION_KEY, "c": ColumnKind.CLUSTERING, "s": ColumnKind.STATIC, "r": ColumnKind.REGULAR}


def make_table(*columns: tuple[str, str, str], name: str = "orders") -> Table:
    """A table from (name, kind letter, type) triples."""
    built = [
        Column(column, KINDS[kind], i if kind in "pc" else -1, parse_type(text, "shop", {}))
        for i, (column, kind, text) in enumerate(columns)
    ]
    return assign_indexes(Table(uuid.uuid4(), "shop", name, ordered_columns(built), cdc=True), {})


@pytest.mark.requirement("FR-009")
@pytest.mark.parametrize(
    ("text", "name", "native"),
    [
        ("ascii", "text", True),
        ("bigint", "bigint", True),
        ("blob", "bytea", True),
        ("boolean", "boolean", True),
        ("counter", "bigint", False),
        ("date", "date", False),
        ("decimal", "numeric", False),
        ("double", "double precision", True),
        ("duration", "interval", False),
        ("float", "real", True),
        ("inet", "inet", False),
        ("int", "integer", True),
        ("smallint", "smallint", True),
        ("text", "text", True),
        ("time", "time without time zone", False),
        ("timestamp", "timestamp with time zone", False),
        ("timeuuid", "uuid", True),
        ("tinyint", "smallint", False),
        ("uuid", "uuid", True),
        ("varchar", "text", True),
        ("varint", "numeric", False),
        ("vector<float, 3>", "real[]", False),
        ("vector<int, 3>", "jsonb", False),
        ("'com.acme.MyType'", "bytea", True),
    ],
)
def test_simple_types(text: str, name: str, native: bool) -> None:
    mapped = map_column(parse_type(text, "shop", {}))
    assert (mapped.name, mapped.native) == (name, native)


def test_every_simple_type_but_empty_is_mapped() -> None:
    assert all(map_column(CqlType(name)).name for name in SIMPLE_TYPES - {"empty"})


def test_the_empty_type_is_refused() -> None:
    with pytest.raises(ConfigurationError) as caught:
        map_column(CqlType("empty"))
    assert caught.value.code == "type_unsupported"


@pytest.mark.requirement("FR-010")
@pytest.mark.requirement("FR-011")
@pytest.mark.parametrize("text", ["list<int>", "frozen<set<text>>", "map<int, text>", "tuple<int, text>"])
def test_composed_types_are_jsonb(text: str) -> None:
    assert map_column(parse_type(text, "shop", {})).name == "jsonb"


def test_a_table_without_statics_is_one_relation() -> None:
    target = build_target(make_table(("id", "p", "text"), ("at", "c", "timestamp"), ("v", "r", "text")))
    assert target.rows.full_name == "shop.orders"
    assert target.statics is None
    assert target.view_name == ""
    assert [column.name for column in target.rows.key_columns] == ["id", "at"]
    assert [column.definition() for column in target.rows.columns] == [
        '"id" text COLLATE "C" NOT NULL',
        '"at" timestamp with time zone NOT NULL',
        '"v" text',
    ]


def test_statics_get_their_own_relation_and_a_view() -> None:
    table = make_table(("p", "p", "int"), ("c", "c", "int"), ("b", "s", "int"), ("a", "s", "text"), ("v", "r", "int"))
    target = build_target(table, schema="dw", name="o")
    assert target.statics is not None
    assert target.statics.full_name == "dw.o_static"
    assert [column.name for column in target.statics.columns] == ["p", "a", "b"]
    assert [column.name for column in target.statics.key_columns] == ["p"]
    assert [column.name for column in target.rows.columns] == ["p", "c", "v"]
    assert target.relation_names == ("o", "o_static", "o_with_static")


@pytest.mark.requirement("FR-006")
def test_excluded_columns_are_left_out() -> None:
    table = make_table(("p", "p", "int"), ("c", "c", "int"), ("s", "s", "int"), ("v", "r", "int"), ("w", "r", "int"))
    target = build_target(table, exclude={"v", "s"})
    assert [column.name for column in target.rows.columns] == ["p", "c", "w"]
    assert target.statics is None
    assert [column.name for column in target.excluded] == ["s", "v"]


@pytest.mark.parametrize(
    ("exclude", "code", "hint"), [("custmer", "column_unknown", "'customer'"), ("p", "column_in_key", "exclude")]
)
def test_wrong_exclusions_are_refused(exclude: str, code: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build_target(make_table(("p", "p", "int"), ("customer", "r", "text")), exclude={exclude})
    assert caught.value.code == code
    assert hint in caught.value.hint


def test_a_column_named_like_one_of_ours_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="_cdc_ts") as caught:
        build_target(make_table(("p", "p", "int"), ("_cdc_ts", "r", "text")))
    assert caught.value.code == "name_collision"


def test_a_name_equal_to_a_shortened_one_is_refused() -> None:
    long = "x" * 70
    shortened = build_target(make_table(("p", "p", "int"), (long, "r", "int"))).rows.columns[1].name
    assert len(shortened) == 63
    with pytest.raises(ConfigurationError) as caught:
        build_target(make_table(("p", "p", "int"), (long, "r", "int"), (shortened, "r", "int")))
    assert caught.value.code == "name_collision"


def test_two_targets_of_one_name_are_refused() -> None:
    with_static = build_target(make_table(("p", "p", "int"), ("c", "c", "int"), ("s", "s", "int")))
    other = build_target(make_table(("p", "p", "int"), name="orders_static"))
    check_targets([with_static])
    with pytest.raises(ConfigurationError, match=r"shop\.orders_static"):
        check_targets([with_static, other])


def test_too_many_columns_are_refused() -> None:
    table = make_table(("p", "p", "int"), *((f"v{i}", "r", "int") for i in range(1597)))
    with pytest.raises(ConfigurationError) as caught:
        build_target(table)
    assert caught.value.code == "columns_too_many"


def test_a_key_of_too_many_columns_is_refused() -> None:
    table = make_table(("p", "p", "int"), *((f"c{i}", "c", "int") for i in range(32)))
    with pytest.raises(ConfigurationError, match="33"):
        build_target(table)
