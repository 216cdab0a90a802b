"""Values of both sides in one normal form, and the ways in which they may look different and be the same."""

from __future__ import annotations

import json
import random
import struct
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from cassandra.cqltypes import lookup_casstype

from casscade.core.errors import BadDataError
from casscade.cql.json_text import to_json
from casscade.cql.types import CqlType, UdtDefinition, parse_type
from casscade.cql.values import encode
from casscade.schema.pg_types import map_column_as
from casscade.testing.values import random_value
from casscade.verify.json_values import json_form
from casscade.verify.normal import INFINITY, MINUS_INFINITY, cassandra_form, key_form
from casscade.verify.read_postgres import postgres_form

UDTS = {"pair": UdtDefinition("ks", "pair", ("x", "y"), ("int", "text"))}
load_json = partial(json.loads, parse_float=Decimal, parse_int=Decimal)


def typed(text: str) -> CqlType:
    return parse_type(text, "ks", UDTS)


def int_bytes(value: int, length: int) -> bytes:
    return value.to_bytes(length, "big", signed=True)


def decimal_bytes(unscaled: int, scale: int) -> bytes:
    return struct.pack(">i", scale) + int_bytes(unscaled, 4)


@pytest.mark.parametrize(
    ("type_", "data", "postgres"),
    [
        ("text", b"a\x00b", "a\ufffdb"),
        ("int", b"", None),
        ("blob", b"", b""),
        ("date", b"\xff\xff\xff\xff", INFINITY),
        ("date", bytes(4), MINUS_INFINITY),
        ("date", b"\x80\x00\x00\x01", 1),
        ("timestamp", int_bytes((1 << 63) - 1, 8), INFINITY),
        ("timestamp", int_bytes(-5, 8), -5000),
        ("float", struct.pack(">f", float("nan")), float("nan")),
        ("double", struct.pack(">d", -0.0), -0.0),
        ("decimal", decimal_bytes(150, 2), Decimal("1.50")),
        ("decimal", decimal_bytes(7, -3), Decimal("7000")),
        ("decimal", decimal_bytes(7, 20_000), None),
        ("varint", int_bytes(1 << 20_000, 2502), None),
        ("duration", encode(typed("duration"), (-1, -2, -1999)), (-1, -2, -1)),
        ("vector<float, 2>", struct.pack(">ff", 1.5, float("inf")), [1.5, float("inf")]),
    ],
)
def test_the_same_on_both_sides(type_: str, data: bytes, postgres: Any) -> None:
    assert cassandra_form(typed(type_), data) == postgres_form(typed(type_), postgres)


@pytest.mark.parametrize(
    ("type_", "data", "postgres"),
    [
        ("double", struct.pack(">d", -0.0), 0.0),
        ("decimal", decimal_bytes(150, 2), Decimal("1.5")),
        ("text", b"a", "A"),
        ("frozen<list<int>>", bytes(4), None),
        ("date", b"\xff\xff\xff\xff", MINUS_INFINITY),
    ],
)
def test_not_the_same(type_: str, data: bytes, postgres: Any) -> None:
    assert cassandra_form(typed(type_), data) != postgres_form(typed(type_), postgres)


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("text", b"a\x00"),
        ("double", struct.pack(">d", -0.0)),
        ("decimal", decimal_bytes(150, 2)),
        ("decimal", decimal_bytes(2, -3)),
        ("time", int_bytes(1, 8)),
        ("date", bytes(4)),
        ("int", b""),
        ("boolean", b"\x02"),
    ],
)
def test_a_key_that_postgres_cannot_hold_has_no_form(type_: str, data: bytes) -> None:
    assert key_form(typed(type_), data) is None


NESTED = [
    "list<frozen<map<text, frozen<tuple<int, float>>>>>",
    "map<decimal, duration>",
    "map<double, timestamp>",
    "map<timeuuid, frozen<set<text>>>",
    "frozen<map<frozen<tuple<int, text>>, time>>",
    "frozen<map<frozen<pair>, boolean>>",
    "map<frozen<tuple<double, float>>, boolean>",
    "map<frozen<list<decimal>>, frozen<map<float, int>>>",
    "set<inet>",
    "list<date>",
    "frozen<pair>",
    "tuple<varint, blob, uuid, smallint, double, ascii>",
    "map<boolean, bigint>",
    "map<varint, tinyint>",
]


def test_zeros_of_both_signs_are_two_keys() -> None:
    type_ = typed("map<frozen<tuple<double>>, int>")
    parts = [part for zero in (-0.0, 0.0) for part in (int_bytes(8, 4) + struct.pack(">d", zero), int_bytes(7, 4))]
    data = int_bytes(2, 4) + b"".join(int_bytes(len(part), 4) + part for part in parts)
    written = to_json(type_, data, nul_replacement="\ufffd")
    form = cassandra_form(type_, data, map_column_as(type_, "jsonb", ""))
    assert form == json_form(type_, load_json(written))
    assert len(form) == 2


@pytest.mark.parametrize("scale", [-1, 0, 1, 16_383])
@pytest.mark.parametrize("digits", [0, 10])
def test_decimals_within_keys_keep_their_scale_but_for_zero(scale: int, digits: int) -> None:
    type_ = typed("map<frozen<list<decimal>>, int>")
    element = decimal_bytes(digits, scale)
    key = int_bytes(1, 4) + int_bytes(len(element), 4) + element
    data = int_bytes(1, 4) + b"".join(int_bytes(len(part), 4) + part for part in (key, int_bytes(7, 4)))
    written = to_json(type_, data, nul_replacement="\ufffd")
    assert cassandra_form(type_, data, map_column_as(type_, "jsonb", "")) == json_form(type_, load_json(written))


def test_a_decimal_that_no_json_holds_has_no_form_as_text_either() -> None:
    type_ = typed("frozen<list<decimal>>")
    element = decimal_bytes(0, 16_384)
    data = int_bytes(1, 4) + int_bytes(len(element), 4) + element
    assert cassandra_form(type_, data, map_column_as(type_, "text", "")) is None


@pytest.mark.parametrize("text", NESTED)
def test_our_json_has_the_form_of_the_drivers_bytes(text: str) -> None:
    type_ = typed(text)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    jsonb = map_column_as(type_, "jsonb", "")
    shown = 0
    for _ in range(100):
        data = driver_bytes(type_, random_value(rng, type_))
        try:
            written = to_json(type_, data, nul_replacement="\ufffd")
        except BadDataError:
            assert cassandra_form(type_, data, jsonb) is None
            continue
        shown += 1
        assert cassandra_form(type_, data, jsonb) == json_form(type_, load_json(written))
    assert shown > 50


def driver_bytes(type_: CqlType, value: Any) -> bytes:
    """The bytes that the driver sends for a value."""
    encoded: bytes = lookup_casstype(_driver_name(type_)).serialize(value, 5)
    return encoded


def _driver_name(type_: CqlType) -> str:
    simple = {"text": "UTF8Type", "inet": "InetAddressType", "time": "TimeType", "date": "SimpleDateType"}
    simple |= {"int": "Int32Type", "bigint": "LongType", "varint": "IntegerType", "blob": "BytesType"}
    simple |= {"smallint": "ShortType", "tinyint": "ByteType", "timeuuid": "TimeUUIDType", "uuid": "UUIDType"}
    name = {"udt": "TupleType"}.get(type_.name) or simple.get(type_.name) or f"{type_.name.capitalize()}Type"
    return f"{name}({','.join(map(_driver_name, type_.args))})" if type_.args else name
