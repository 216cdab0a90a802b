"""Values as JSON for jsonb and as text for people."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from casscade.core.errors import BadDataError
from casscade.cql.json_text import to_json
from casscade.cql.text import to_text
from casscade.cql.types import CqlType, UdtDefinition, parse_type
from casscade.cql.values import PythonValue, encode

UDTS = {"addr": UdtDefinition("ks", "addr", ('st"reet', "zip"), ("text", "int"))}


def type_of(text: str) -> CqlType:
    return parse_type(text, "ks", UDTS)


TEXTS = [
    ("ascii", "617363", "asc"),
    ("text", "68c3a90a22", 'hé\n"'),
    ("blob", "dead", "0xdead"),
    ("blob", "", "0x"),
    ("'com.example.Type'", "01", "0x01"),
    ("boolean", "01", "true"),
    ("boolean", "00", "false"),
    ("tinyint", "ff", "-1"),
    ("bigint", "8000000000000000", "-9223372036854775808"),
    ("counter", "0000000000000007", "7"),
    ("varint", "00ffffffffffffffffffffff", "309485009821345068724781055"),
    ("decimal", "0000000278", "1.20"),
    ("decimal", "fffffffd07", "7E+3"),
    ("decimal", "0000000a00", "0E-10"),
    ("float", "3dcccccd", "0.1"),
    ("float", "4b800000", "16777216.0"),
    ("float", "00000001", "1e-45"),
    ("float", "7f7fffff", "3.4028235e+38"),
    ("float", "80000000", "-0.0"),
    ("float", "7fc00000", "NaN"),
    ("double", "3fb999999999999a", "0.1"),
    ("double", "7e37e43c8800759c", "1e+300"),
    ("double", "fff0000000000000", "-Infinity"),
    ("date", "80000000", "1970-01-01"),
    ("date", "80004d46", "2024-02-29"),
    ("date", "00000000", "-2147483648"),
    ("time", "0000000000000000", "00:00:00"),
    ("time", "00004e94914effff", "23:59:59.999999999"),
    ("time", "000000001dcd6500", "00:00:00.5"),
    ("timestamp", "0000018cc820db2e", "2024-01-02T03:04:05.678Z"),
    ("timestamp", "ffffffffffffffff", "1969-12-31T23:59:59.999Z"),
    ("timestamp", "ffffc77cedd32800", "0001-01-01T00:00:00.000Z"),
    ("timestamp", "ffffc77cedd327ff", "-62135596800001"),
    ("timestamp", "0000e677d21fdbff", "9999-12-31T23:59:59.999Z"),
    ("timestamp", "0000e677d21fdc00", "253402300800000"),
    ("uuid", "f47ac10b58cc4372a5670e02b2c3d479", "f47ac10b-58cc-4372-a567-0e02b2c3d479"),
    ("inet", "c0a80102", "192.168.1.2"),
    ("inet", "20010db8000000000000000000000001", "2001:db8::1"),
    ("inet", "00000000000000000000ffffc0000201", "::ffff:192.0.2.1"),
    ("duration", "1c0606", "1y2mo3d3ns"),
    ("duration", "010509", "-1mo3d5ns"),
    ("duration", "000000", "0s"),
    ("int", "", ""),
    ("empty", "", ""),
    ("frozen<list<int>>", "000000010000000400000001", "[1]"),
    ("frozen<list<int>>", "", ""),
]


@pytest.mark.parametrize(("text", "data", "expected"), TEXTS)
def test_the_text_of_a_value(text: str, data: str, expected: str) -> None:
    assert to_text(type_of(text), bytes.fromhex(data)) == expected


UNQUOTED = {"tinyint", "bigint", "counter", "varint", "decimal", "boolean"}
IEEE = {"float", "double"}


@pytest.mark.requirement("FR-010")
@pytest.mark.parametrize(("text", "data", "expected"), TEXTS)
def test_json_quotes_all_but_numbers_and_booleans(text: str, data: str, expected: str) -> None:
    written = to_json(type_of(text), bytes.fromhex(data))
    if not data and text != "blob":
        assert written == "null"
    elif text in UNQUOTED or text.startswith("frozen") or (text in IEEE and expected[-1].isdigit()):
        assert written == expected
    else:
        assert json.loads(written) == expected
        assert written.startswith('"')


NESTED: list[tuple[str, PythonValue, str]] = [
    ("list<int>", [], "[]"),
    ("set<text>", ["a", ""], '["a",""]'),
    ("vector<float, 2>", [1.5, float("nan")], '[1.5,"NaN"]'),
    ("vector<text, 2>", ["a", "b"], '["a","b"]'),
    ("tuple<int, text, boolean>", (1, None), "[1,null,null]"),
    ("addr", {'st"reet': "x\n"}, '{"st\\"reet":"x\\n","zip":null}'),
    ("map<text, double>", [("x", 1.5), ("☃", -0.0)], '{"x":1.5,"☃":-0.0}'),
    ("map<date, int>", [(0, 1)], '{"1970-01-01":1}'),
    ("map<int, text>", [(-1, "a")], '{"-1":"a"}'),
    ("map<boolean, decimal>", [(True, Decimal("1.50"))], '{"true":1.50}'),
    ("map<blob, int>", [(b"\x01", 1)], '{"0x01":1}'),
    ("map<frozen<tuple<int, text>>, int>", [((1, "a"), 2)], '{"[1,\\"a\\"]":2}'),
    ("list<frozen<map<int, frozen<list<text>>>>>", [[(1, ["a"])]], '[{"1":["a"]}]'),
]


@pytest.mark.requirement("FR-010")
@pytest.mark.requirement("FR-011")
@pytest.mark.parametrize(("text", "value", "expected"), NESTED)
def test_nested_values_as_json(text: str, value: PythonValue, expected: str) -> None:
    cql_type = type_of(text)
    assert to_json(cql_type, encode(cql_type, value)) == expected
    json.loads(expected)


def test_empty_map_keys_and_null_elements_have_a_place() -> None:
    assert to_json(type_of("map<int, int>"), bytes.fromhex("000000010000000000000000")) == '{"":null}'
    assert to_json(type_of("list<int>"), bytes.fromhex("00000001ffffffff")) == "[null]"


def test_nul_is_refused_or_replaced() -> None:
    for text, value in (("text", "a\x00b"), ("list<ascii>", ["a\x00b"]), ("map<text, int>", [("a\x00b", 1)])):
        cql_type = type_of(text)
        data = encode(cql_type, value)
        with pytest.raises(BadDataError) as caught:
            to_json(cql_type, data)
        assert caught.value.code == "nul_in_json"
        assert "a?b" in to_json(cql_type, data, nul_replacement="?")
        assert "a�b" in to_json(cql_type, data, nul_replacement="�")
    assert to_text(type_of("text"), b"a\x00b") == "a\x00b"
    assert to_text(type_of("list<text>"), encode(type_of("list<text>"), ["\x00"])) == '["\\u0000"]'


def test_a_replacement_never_loses_an_entry() -> None:
    cql_type = type_of("map<text, int>")
    data = encode(cql_type, [("a\x00", 1), ("a?", 2)])
    with pytest.raises(BadDataError):
        to_json(cql_type, data, nul_replacement="?")
    assert to_json(cql_type, data, nul_replacement="!") == '{"a!":1,"a?":2}'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("decimal", Decimal("1E+131072")),
        ("decimal", Decimal("1E-16384")),
        ("decimal", Decimal("-1E+2147483648")),
        ("varint", 10**131072),
    ],
    ids=["above", "below", "far_above", "varint"],
)
def test_numbers_that_numeric_cannot_hold_are_named(text: str, value: PythonValue) -> None:
    with pytest.raises(BadDataError) as caught:
        to_json(type_of(text), encode(type_of(text), value))
    assert caught.value.code == "number_out_of_range"


def test_the_longest_numbers_that_numeric_holds_are_written() -> None:
    decimal = type_of("decimal")
    assert to_json(decimal, encode(decimal, Decimal("1E+131071"))) == "1E+131071"
    assert to_json(decimal, encode(decimal, Decimal("1E-16383"))) == "1E-16383"
    assert to_json(decimal, encode(decimal, Decimal("0E+2147483648"))) == "0"
    varint = type_of("varint")
    assert to_json(varint, encode(varint, -(10**5000))) == "-1" + "0" * 5000


def test_an_endless_varint_is_refused() -> None:
    with pytest.raises(BadDataError) as caught:
        to_text(type_of("varint"), b"\x01" * 65_537)
    assert caught.value.code == "number_out_of_range"
