"""Value bytes to Python objects and back, with bytes worked out by hand."""

from __future__ import annotations

import ipaddress
import math
import struct
import time
from decimal import Decimal
from uuid import UUID

import pytest

from casscade.core.errors import BadDataError
from casscade.cql.types import CqlType, UdtDefinition, parse_type
from casscade.cql.values import Duration, PythonValue, decode, encode

UDTS = {"addr": UdtDefinition("ks", "addr", ("street", "zip"), ("text", "int"))}


def type_of(text: str) -> CqlType:
    return parse_type(text, "ks", UDTS)


SAMPLES: list[tuple[str, str, PythonValue]] = [
    ("ascii", "617363", "asc"),
    ("text", "68c3a9e29883", "hé☃"),
    ("text", "", ""),
    ("blob", "deadbeef00", b"\xde\xad\xbe\xef\x00"),
    ("blob", "", b""),
    ("'com.example.Type'", "0102", b"\x01\x02"),
    ("boolean", "01", True),
    ("boolean", "00", False),
    ("tinyint", "80", -128),
    ("smallint", "7fff", 32767),
    ("int", "fffffffe", -2),
    ("bigint", "8000000000000000", -(1 << 63)),
    ("counter", "000000000000002a", 42),
    ("varint", "00", 0),
    ("varint", "7f", 127),
    ("varint", "0080", 128),
    ("varint", "80", -128),
    ("varint", "ff7f", -129),
    ("decimal", "0000000230", Decimal("0.48")),
    ("decimal", "0000000278", Decimal("1.20")),
    ("decimal", "fffffffd07", Decimal("7E+3")),
    ("decimal", "80000000ff", Decimal("-1E+2147483648")),
    ("float", "40500000", 3.25),
    ("double", "7ff0000000000000", math.inf),
    ("double", "8000000000000000", -0.0),
    ("timestamp", "0000018cc820db2e", 1704164645678),
    ("timestamp", "ffffffffffffffff", -1),
    ("date", "80000000", 0),
    ("date", "7fffffff", -1),
    ("date", "00000000", -(1 << 31)),
    ("time", "00004e94914effff", 86399999999999),
    ("uuid", "f47ac10b58cc4372a5670e02b2c3d479", UUID("f47ac10b-58cc-4372-a567-0e02b2c3d479")),
    ("timeuuid", "50554d6e29bb11e5b345feff819cdc9f", UUID("50554d6e-29bb-11e5-b345-feff819cdc9f")),
    ("inet", "c0a80102", ipaddress.ip_address("192.168.1.2")),
    ("inet", "20010db8000000000000000000000001", ipaddress.ip_address("2001:db8::1")),
    ("duration", "020406", Duration(1, 2, 3)),
    ("duration", "010509", Duration(-1, -3, -5)),
    ("duration", "0000e1e8480f", Duration(0, 0, -16_000_008)),
    ("frozen<list<int>>", "00000002000000040000000100000004ffffffff", [1, -1]),
    ("list<int>", "00000000", []),
    ("set<text>", "00000002000000016100000000", ["a", ""]),
    ("map<tinyint, text>", "000000010000000105000000026162", [(5, "ab")]),
    ("tuple<int, text>", "ffffffff0000000178", (None, "x")),
    ("addr", "0000000178ffffffff", {"street": "x", "zip": None}),
    ("vector<float, 2>", "3fc00000c0100000", [1.5, -2.25]),
    ("vector<smallint, 2>", "02ffff020002", [-1, 2]),
    ("vector<text, 2>", "016103626364", ["a", "bcd"]),
    ("list<frozen<list<tinyint>>>", "0000000100000009000000010000000107", [[7]]),
]


@pytest.mark.requirement("FR-009")
@pytest.mark.parametrize(("text", "data", "value"), SAMPLES)
def test_bytes_and_objects_are_two_forms_of_one_value(text: str, data: str, value: PythonValue) -> None:
    cql_type = type_of(text)
    decoded = decode(cql_type, bytes.fromhex(data))
    assert decoded == value
    assert repr(decoded) == repr(value)
    assert encode(cql_type, value).hex() == data


def test_a_nan_stays_one() -> None:
    assert math.isnan(float(str(decode(type_of("float"), bytes.fromhex("7fc00000")))))
    assert encode(type_of("double"), math.nan) == struct.pack(">d", math.nan)


@pytest.mark.parametrize(
    "text", ["int", "boolean", "decimal", "varint", "uuid", "inet", "list<int>", "tuple<int>", "empty", "date"]
)
def test_no_bytes_are_the_empty_value(text: str) -> None:
    assert decode(type_of(text), b"") is None


def test_missing_trailing_fields_are_null() -> None:
    assert decode(type_of("addr"), bytes.fromhex("0000000178")) == {"street": "x", "zip": None}
    assert decode(type_of("tuple<int, int, int>"), bytes.fromhex("0000000400000001")) == (1, None, None)


def test_a_counter_context_gives_its_total() -> None:
    shard = bytes(16) + (1).to_bytes(8, "big")
    context = b"\x00\x01\x80\x00" + shard + (40).to_bytes(8, "big") + shard + (2).to_bytes(8, "big")
    two_ids = context[:36] + b"\x01" + context[37:]
    assert decode(type_of("counter"), two_ids) == 42


def test_padded_varints_and_any_true_byte_are_read() -> None:
    assert decode(type_of("varint"), bytes.fromhex("000000ff")) == 255
    assert decode(type_of("boolean"), b"\x05") is True


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("ascii", "80"),
        ("text", "ff"),
        ("text", "eda080"),
        ("boolean", "0000"),
        ("int", "000000"),
        ("smallint", "00000001"),
        ("bigint", "00"),
        ("counter", "0001"),
        ("decimal", "00000000"),
        ("date", "00"),
        ("time", "00004e94914f0000"),
        ("time", "ffffffffffffffff"),
        ("uuid", "00"),
        ("inet", "0000000000"),
        ("duration", "0202"),
        ("duration", "02020202"),
        ("duration", "020102"),
        ("duration", "f2000000000000"),
        ("duration", "f20000000000" + "00"),
        ("list<int>", "000000"),
        ("list<int>", "ffffffff"),
        ("list<int>", "7fffffff"),
        ("list<int>", "0000000100000004"),
        ("list<int>", "00000000ff"),
        ("map<int, int>", "000000010000000400000001"),
        ("tuple<int>", "0000000400000001ffffffff"),
        ("tuple<int>", "000000"),
        ("tuple<int>", "00000005"),
        ("vector<int, 2>", "00000001"),
        ("vector<text, 2>", "0161"),
        ("vector<text, 2>", "01610162ff"),
        ("vector<text, 2>", "0161ff"),
        ("vector<empty, 2147483647>", "00"),
        ("vector<text, 2147483647>", "0000"),
        ("list<frozen<list<int>>>", "0000000100000002ffff"),
    ],
)
def test_bytes_that_are_no_value_are_named(text: str, data: str) -> None:
    with pytest.raises(BadDataError) as caught:
        decode(type_of(text), bytes.fromhex(data))
    assert caught.value.code == "value_malformed"


@pytest.mark.requirement("FR-030")
def test_the_error_holds_no_value() -> None:
    with pytest.raises(BadDataError) as caught:
        decode(type_of("text"), b"secret\xff")
    assert "secret" not in caught.value.explain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("int", 1 << 31),
        ("int", "1"),
        ("int", True),
        ("tinyint", 128),
        ("varint", 1.0),
        ("decimal", Decimal("NaN")),
        ("decimal", Decimal("1E+2147483649")),
        ("decimal", 1),
        ("float", 1e39),
        ("double", "x"),
        ("boolean", 1),
        ("text", b"x"),
        ("text", "\ud800"),
        ("ascii", "é"),
        ("blob", "x"),
        ("date", 1 << 31),
        ("time", 86400000000000),
        ("uuid", "x"),
        ("inet", "::1"),
        ("duration", Duration(1, -1, 0)),
        ("duration", Duration(1 << 31, 0, 0)),
        ("duration", Duration(0, 0, 1 << 63)),
        ("duration", 5),
        ("empty", ""),
        ("list<int>", 5),
        ("list<int>", [None]),
        ("map<int, int>", [1]),
        ("map<int, int>", 5),
        ("tuple<int>", (1, 2)),
        ("addr", {"nosuch": 1}),
        ("vector<int, 2>", [1]),
        ("text", None),
    ],
)
def test_objects_that_do_not_fit_are_named(text: str, value: PythonValue) -> None:
    with pytest.raises(BadDataError) as caught:
        encode(type_of(text), value)
    assert caught.value.code == "value_unencodable"


def test_short_tuples_and_udts_are_written() -> None:
    assert encode(type_of("tuple<int, int>"), (1,)).hex() == "0000000400000001"
    assert encode(type_of("addr"), {"zip": 1}).hex() == "ffffffff0000000400000001"


def test_huge_exponents_cost_nothing() -> None:
    started = time.process_time()
    value = decode(type_of("decimal"), bytes.fromhex("8000000001"))
    assert encode(type_of("decimal"), value).hex() == "8000000001"
    assert time.process_time() - started < 0.5


def test_a_decimal_of_endless_digits_is_refused() -> None:
    with pytest.raises(BadDataError) as caught:
        decode(type_of("decimal"), bytes(4) + b"\x01" * 65_537)
    assert caught.value.code == "value_malformed"
