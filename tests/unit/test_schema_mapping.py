"""From a Cassandra table to its relations in PostgreSQL."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from casscade.config.tables import Choice
from casscade.core.errors import ConfigurationError
from casscade.cql.types import SIMPLE_TYPES, CqlType, UdtDefinition, parse_type
from casscade.schema.choices import ColumnChoices
from casscade.schema.mapping import Target, build_target, check_targets
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes, ordered_columns
from casscade.schema.pg_types import allowed_forms, map_column, map_column_as

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
        ("vector<int, 3>", "integer[]", False),
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
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("list<int>", "integer[]"),
        ("frozen<set<text>>", "text[]"),
        ("list<timestamp>", "timestamp with time zone[]"),
        ("set<timeuuid>", "uuid[]"),
        ("vector<text, 2>", "text[]"),
        ("map<int, text>", "jsonb"),
        ("tuple<int, text>", "jsonb"),
        ("list<frozen<tuple<int, text>>>", "jsonb"),
        ("set<frozen<list<int>>>", "jsonb"),
        ("vector<vector<float, 2>, 2>", "jsonb"),
    ],
)
def test_lists_and_sets_of_simple_elements_are_arrays_and_the_rest_jsonb(text: str, name: str) -> None:
    assert map_column(parse_type(text, "shop", {})).name == name


UDTS = {
    "home": UdtDefinition("shop", "home", ("street", "where", "tags"), ("text", "frozen<Place>", "frozen<set<text>>")),
    "place": UdtDefinition("shop", "place", ("Lat", "user", "m"), ("double", "int", "frozen<map<int, int>>")),
}


@pytest.mark.parametrize(
    ("text", "forms"),
    [
        ("int", ("plain", "text", "bytea")),
        ("counter", ("plain",)),
        ("time", ("plain", "bigint", "text", "bytea")),
        ("timestamp", ("plain", "bigint", "text", "bytea")),
        ("list<int>", ("array", "jsonb", "text", "bytea")),
        ("map<int, int>", ("jsonb", "text", "bytea")),
        ("vector<float, 3>", ("array", "jsonb", "vector", "text", "bytea")),
        ("vector<float, 16001>", ("array", "jsonb", "text", "bytea")),
        ("vector<int, 3>", ("array", "jsonb", "text", "bytea")),
        ("home", ("jsonb", "composite", "text", "bytea")),
    ],
)
def test_what_a_column_may_be(text: str, forms: tuple[str, ...]) -> None:
    assert allowed_forms(parse_type(text, "shop", UDTS)) == forms


def test_a_udt_becomes_composite_types_inside_out() -> None:
    mapped = map_column_as(parse_type("home", "shop", UDTS), "composite", 's"x')
    assert mapped.name == '"s""x"."home"'
    assert [inner.composite for inner in mapped.composites()] == [('s"x', "place"), ('s"x', "home")]
    assert [(name, field.name) for name, field in mapped.fields] == [
        ("street", "text"),
        ("where", '"s""x"."place"'),
        ("tags", "text[]"),
    ]


def with_choices(text: str, form: str) -> Target:
    column = Column("v", ColumnKind.REGULAR, -1, parse_type(text, "shop", UDTS))
    key = Column("p", ColumnKind.PARTITION_KEY, 0, CqlType("int"))
    table = assign_indexes(Table(uuid.uuid4(), "shop", "orders", (key, column)), {})
    return build_target(table, choices=ColumnChoices({"v": Choice(form, "casscade.yaml:12")}, inexact="convert"))


@pytest.mark.parametrize(
    ("text", "form", "name"),
    [
        ("list<int>", "jsonb", "jsonb"),
        ("list<int>", "array", "integer[]"),
        ("home", "composite", '"shop"."home"'),
        ("decimal", "text", "text"),
        ("ascii", "text", "text"),
        ("timestamp", "bigint", "bigint"),
        ("map<int, int>", "bytea", "bytea"),
        ("vector<float, 3>", "vector", "vector(3)"),
    ],
)
def test_a_configuration_chooses_the_form(text: str, form: str, name: str) -> None:
    column = with_choices(text, form).rows.value_columns[0]
    assert (column.pg_type.name, column.inexact) == (name, "convert")


@pytest.mark.parametrize(
    ("text", "form", "allowed"),
    [
        ("int", "jsonb", "it can be text, bytea"),
        ("map<int, int>", "array", "it can be jsonb, text, bytea"),
        ("vector<int, 3>", "vector", "it can be array, jsonb, text, bytea"),
        ("date", "bigint", "it can be text, bytea"),
        ("tuple<int, int>", "composite", "it can be jsonb, text, bytea"),
        ("counter", "text", "remove it: this type has one representation only"),
    ],
)
def test_a_form_that_does_not_fit_is_refused_with_its_place_and_what_does(text: str, form: str, allowed: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        with_choices(text, form)
    assert (caught.value.code, caught.value.where) == ("column_type_refused", "casscade.yaml:12")
    assert caught.value.hint == allowed
    assert form in caught.value.what


def test_composite_types_are_shared_when_equal_and_refused_when_not() -> None:
    one = with_choices("home", "composite")
    check_targets([one, replace(one, table=replace(one.table, name="other"), rows=replace(one.rows, name="other"))])
    home = UDTS["home"]
    changed = UDTS | {"home": replace(home, field_types=("ascii", "int", "int"))}
    column = one.rows.value_columns[0]
    other_type = map_column_as(parse_type("home", "shop", changed), "composite", "shop")
    other = replace(
        one,
        table=replace(one.table, name="other"),
        rows=replace(one.rows, name="other", columns=(replace(column, pg_type=other_type),)),
    )
    for targets in ([one, other], [one, replace(other, rows=replace(one.rows, name="place"))]):
        with pytest.raises(ConfigurationError) as caught:
            check_targets(targets)
        assert caught.value.code == "name_collision"


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
