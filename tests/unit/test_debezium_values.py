"""JSON values to Cassandra's bytes: each type, what is inexact, and what is no value."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import Any

import pytest

from casscade.core.errors import BadDataError
from casscade.cql.types import CqlType, parse_type
from casscade.cql.values import decode
from casscade.debezium.values import InexactError, reader
from tests.support.debezium import UDTS

UUID = "123e4567-e89b-12d3-a456-426614174000"


def cql(text: str) -> CqlType:
    return parse_type(text, "shop", UDTS)


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        ("text", "é\x00", "é\x00"),
        ("ascii", "", ""),
        ("tinyint", -128, -128),
        ("bigint", -(1 << 63), -(1 << 63)),
        ("boolean", False, False),
        ("float", 0.1, pytest.approx(0.1, rel=1e-7)),
        ("double", 3, 3.0),
        ("double", "-Infinity", float("-inf")),
        ("blob", "", b""),
        ("decimal", "-0012.500", Decimal("-12.500")),
        ("decimal", {"scale": -3, "value": base64.b64encode(b"\xff").decode()}, Decimal("-1E+3")),
        ("varint", "-12345678901234567890", -12345678901234567890),
        ("timestamp", -1, -1),
        ("date", -1, -1),
        ("time", 0, 0),
        ("inet", "/2001:db8:0:0:0:0:0:1", None),
        ("inet", "localhost/127.0.0.1", None),
        ("frozen<set<int>>", [3, -1, 2, 3], [-1, 2, 3]),
        ("frozen<map<text, int>>", {"b": 1, "a": 2}, [("a", 2), ("b", 1)]),
        ("frozen<map<int, text>>", [[10, "x"], [9, "y"]], [(9, "y"), (10, "x")]),
        ("frozen<map<uuid, boolean>>", {UUID: True}, None),
        ("frozen<list<frozen<set<text>>>>", [["b", "a"], []], [["a", "b"], []]),
        ("tuple<int, text>", {"field1": None, "field2": "x"}, (None, "x")),
        ("frozen<addr>", {"zip": 1}, {"street": None, "zip": 1}),
        ("vector<float, 2>", [1, 2.5], [1.0, 2.5]),
    ],
)
def test_a_value_has_the_bytes_that_cassandra_stores(type_: str, value: Any, expected: Any) -> None:
    found = decode(cql(type_), reader(cql(type_))(json.loads(json.dumps(value))))
    if expected is None:
        assert found is not None
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("decimal", 1.5),
        ("decimal", 3),
        ("varint", 7),
        ("duration", 2775600000000000),
        ("'org.example.Custom'", "x"),
        ("frozen<list<duration>>", [1]),
        ("frozen<map<text, varint>>", {"a": 1}),
        ("tuple<int, decimal>", {"field1": 1, "field2": 0.1}),
    ],
)
def test_a_rounded_value_is_never_taken(type_: str, value: Any) -> None:
    with pytest.raises(InexactError):
        reader(cql(type_))(value)


HOSTILE: list[Any] = [
    True, -1.5, 1 << 70, "", "x", "=", "\ud800", [], [None], [[]], [1, 2, 3], {}, {"a": None}, {"scale": 1 << 40},
    {"field1": []}, {"street": 1, "zip": "x"}, {"field9": 1}, "1" * 200_000, "1E9999999999", "NaN", "10.0.0.1/24",
]  # fmt: skip
TYPES = (
    "bigint blob boolean date decimal double duration float inet int smallint text time timestamp tinyint "
    "ascii timeuuid varint frozen<list<int>> frozen<set<text>> frozen<map<int,text>> frozen<addr> tuple<int,text> "
    "vector<float,3>"
)


@pytest.mark.parametrize("type_", TYPES.split())
def test_whatever_comes_is_a_value_or_a_clear_refusal(type_: str) -> None:
    codes = []
    for value in HOSTILE:
        try:
            data = reader(cql(type_))(value)
        except InexactError:
            continue
        except BadDataError as error:
            codes.append(error.code)
            continue
        decode(cql(type_), data)
    assert set(codes) == (set() if type_ == "duration" else {"value_unencodable"})


def test_a_number_may_be_longer_than_python_prints() -> None:
    digits = "-" + "9" * 5_000
    assert decode(cql("varint"), reader(cql("varint"))(digits)) == int(Decimal(digits))
