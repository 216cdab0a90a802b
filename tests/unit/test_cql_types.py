"""Parsing and printing CQL types, and their lengths in the commit log."""

from __future__ import annotations

import pytest

from casscade.core.errors import BadDataError
from casscade.cql.types import MAX_TYPE_DEPTH, CqlType, UdtDefinition, parse_type

INT = CqlType("int")
TEXT = CqlType("text")
ADDRESS = UdtDefinition("shop", "addr", ("street", "tags"), ("text", "set<text>"))
UDTS = {
    "addr": ADDRESS,
    "Outer T": UdtDefinition("shop", "Outer T", ("A b", "inner"), ("int", "frozen<addr>")),
    "loop": UdtDefinition("shop", "loop", ("next",), ("frozen<list<frozen<loop>>>",)),
    "int": UdtDefinition("shop", "int", ("x",), ("text",)),
}


def parse(text: str) -> CqlType:
    return parse_type(text, "shop", UDTS)


@pytest.mark.parametrize(
    "text",
    [
        "int",
        "list<int>",
        "frozen<list<int>>",
        "map<text, double>",
        "map<int, frozen<list<frozen<addr>>>>",
        "frozen<tuple<int, text, frozen<list<int>>>>",
        "vector<float, 3>",
        "addr",
        'frozen<"Outer T">',
        'frozen<"int">',
        "'com.example.Type(a,b)'",
    ],
)
def test_the_strings_of_system_schema_come_back(text: str) -> None:
    assert parse(text).cql() == text


def test_only_a_collection_or_udt_on_top_is_multi_cell() -> None:
    assert parse("map<int, text>").multi_cell
    assert parse("addr").multi_cell
    for text in ("frozen<map<int, text>>", "frozen<addr>", "tuple<int>", "vector<int, 2>", "text"):
        assert not parse(text).multi_cell


def test_nested_types_are_frozen_even_if_the_text_does_not_say_so() -> None:
    assert parse("list<set<int>>") == parse("list<frozen<set<int>>>")
    assert parse("addr").args[1] == CqlType("set", (TEXT,), frozen=True)


def test_a_udt_has_its_fields() -> None:
    outer = parse('"Outer T"')
    assert outer.field_names == ("A b", "inner")
    assert outer.args[1].udt_name == "addr"
    assert outer.args[1].frozen
    assert (outer.udt_keyspace, outer.udt_name) == ("shop", "Outer T")


def test_names_ignore_case_and_have_synonyms() -> None:
    assert parse("INT") == INT
    assert parse("varchar") == TEXT
    assert parse("ADDR") == parse("addr")
    assert parse("frozen<int>") == INT
    assert parse("'org.apache.cassandra.db.marshal.EmptyType'") == CqlType("empty")


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("empty", 0),
        ("boolean", 1),
        ("int", 4),
        ("float", 4),
        ("bigint", 8),
        ("double", 8),
        ("timestamp", 8),
        ("uuid", 16),
        ("timeuuid", 16),
        ("'org.apache.cassandra.db.marshal.LexicalUUIDType'", 16),
        ("'org.apache.cassandra.db.marshal.DateType'", 8),
        ("vector<float, 3>", 12),
        ("vector<vector<double, 2>, 3>", 48),
        ("vector<smallint, 2>", -1),
        ("tinyint", -1),
        ("smallint", -1),
        ("date", -1),
        ("time", -1),
        ("counter", -1),
        ("inet", -1),
        ("frozen<list<int>>", -1),
        ("'com.example.Type'", -1),
    ],
)
def test_only_these_types_have_a_fixed_length(text: str, length: int) -> None:
    assert parse(text).fixed_length == length


@pytest.mark.parametrize(
    "text",
    [
        "",
        "list<",
        "list<int",
        "list<int>>",
        "map<int>",
        "list<int, int>",
        "vector<int>",
        "vector<int, 0>",
        "vector<int, ²>",
        "vector<int, 99999999999>",
        "tuple<>",
        "int int",
        "<int>",
        '"open',
        "a;b",
        "7",
        "loop",
        "frozen<" * (MAX_TYPE_DEPTH + 1) + "int" + ">" * (MAX_TYPE_DEPTH + 1),
    ],
)
def test_other_strings_are_refused(text: str) -> None:
    with pytest.raises(BadDataError) as caught:
        parse(text)
    assert caught.value.code == "type_malformed"


def test_an_unknown_name_is_told_apart() -> None:
    with pytest.raises(BadDataError, match="nosuch") as caught:
        parse("list<frozen<nosuch>>")
    assert caught.value.code == "type_unknown"


def test_types_that_multiply_are_refused() -> None:
    udts = {f"t{i}": UdtDefinition("shop", f"t{i}", ("a", "b", "c"), (f"frozen<t{i + 1}>",) * 3) for i in range(20)}
    udts["t20"] = UdtDefinition("shop", "t20", ("a",), ("int",))
    with pytest.raises(BadDataError) as caught:
        parse_type("t0", "shop", udts)
    assert caught.value.code == "type_malformed"


def test_a_udt_whose_fields_lack_types_is_refused() -> None:
    with pytest.raises(BadDataError) as caught:
        parse_type("t", "shop", {"t": UdtDefinition("shop", "t", ("a", "b"), ("int",))})
    assert caught.value.code == "type_malformed"
