"""Values under random input: round trips, random bytes, the order, and the Cassandra driver as a second opinion."""

from __future__ import annotations

import ipaddress
import json
import math
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from cassandra import cqltypes
from cassandra.util import Duration as DriverDuration
from hypothesis import given, settings
from hypothesis import strategies as st

from casscade.core.errors import BadDataError
from casscade.cql.json_text import to_json
from casscade.cql.order import order_key
from casscade.cql.text import to_text
from casscade.cql.types import SIMPLE_TYPES, CqlType, parse_type
from casscade.cql.values import Duration, decode, encode
from tests.support.examples import examples


def signed(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def _duration(sign: int, months: int, days: int, nanoseconds: int) -> Duration:
    return Duration(sign * months, sign * days, sign * nanoseconds)


PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FLOAT32 = st.floats(width=32, allow_nan=False)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "ascii": st.text(st.characters(max_codepoint=127), max_size=8),
    "bigint": signed(64),
    "blob": st.binary(max_size=8),
    "boolean": st.booleans(),
    "counter": signed(64),
    "date": signed(32),
    "decimal": st.builds(lambda digits, scale: Decimal(digits).scaleb(-scale), signed(80), st.integers(-6000, 6000)),
    "double": st.floats(allow_nan=False),
    "duration": st.builds(
        _duration,
        st.sampled_from([1, -1]),
        st.integers(0, (1 << 31) - 1),
        st.integers(0, (1 << 31) - 1),
        st.integers(0, (1 << 63) - 1),
    ),
    "float": FLOAT32,
    "inet": st.ip_addresses(),
    "int": signed(32),
    "smallint": signed(16),
    "text": PLAIN_TEXT,
    "time": st.integers(0, 86_399_999_999_999),
    "timestamp": signed(64),
    "timeuuid": st.uuids(version=1),
    "tinyint": signed(8),
    "uuid": st.uuids(),
    "varint": signed(200),
}
SIMPLE = st.sampled_from(sorted(VALUES)).map(CqlType)


def _nested(inner: st.SearchStrategy[CqlType]) -> st.SearchStrategy[CqlType]:
    return st.one_of(
        st.builds(lambda a: CqlType("list", (a,), frozen=True), inner),
        st.builds(lambda a: CqlType("set", (a,), frozen=True), inner),
        st.builds(lambda a, b: CqlType("map", (a, b), frozen=True), inner, inner),
        st.builds(lambda a: CqlType("tuple", tuple(a), frozen=True), st.lists(inner, min_size=1, max_size=3)),
        st.builds(
            lambda a: CqlType(
                "udt",
                tuple(a),
                frozen=True,
                udt_name="t",
                field_names=tuple(f"f {i}" for i in range(len(a))),
            ),
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(lambda a, n: CqlType("vector", (a,), frozen=True, dimension=n), inner, st.integers(1, 3)),
    )


TYPES = st.recursive(SIMPLE, _nested, max_leaves=4)
ANY_TYPES = st.recursive(st.sampled_from([*sorted(SIMPLE_TYPES), "custom"]).map(CqlType), _nested, max_leaves=4)


def values_of(cql_type: CqlType) -> st.SearchStrategy[Any]:
    args = [values_of(arg) for arg in cql_type.args]
    match cql_type.name:
        case "list" | "set":
            return st.lists(args[0], max_size=3)
        case "map":
            # Keys that differ in the order alone in which hypothesis drew the fields of a UDT are one key.
            return st.lists(
                st.tuples(args[0], args[1]),
                max_size=3,
                unique_by=lambda pair: repr(_in_field_order(cql_type.args[0], pair[0])),
            )
        case "vector":
            return st.lists(args[0], min_size=cql_type.dimension, max_size=cql_type.dimension)
        case "tuple":
            return st.tuples(*[st.none() | arg for arg in args])
        case "udt":
            return st.fixed_dictionaries(
                {name: st.none() | arg for name, arg in zip(cql_type.field_names, args, strict=True)}
            )
        case name:
            return VALUES[name]


def _in_field_order(cql_type: CqlType, value: Any) -> Any:
    """The value with the fields of its UDTs in their types' order; hypothesis shuffles them."""
    if value is None or not cql_type.args:
        return value
    args = cql_type.args
    match cql_type.name:
        case "udt":
            named = zip(cql_type.field_names, args, strict=True)
            return {name: _in_field_order(arg, value[name]) for name, arg in named}
        case "tuple":
            return tuple(_in_field_order(arg, item) for arg, item in zip(args, value, strict=True))
        case "map":
            return [(_in_field_order(args[0], k), _in_field_order(args[1], v)) for k, v in value]
        case _:
            return [_in_field_order(args[0], item) for item in value]


def _holds(cql_type: CqlType, *names: str) -> bool:
    return cql_type.name in names or any(_holds(arg, *names) for arg in cql_type.args)


@st.composite
def typed_values(draw: st.DrawFn, count: int = 1) -> tuple[CqlType, list[Any]]:
    cql_type = draw(TYPES)
    values = values_of(cql_type)
    return cql_type, [draw(values) for _ in range(count)]


@pytest.mark.requirement("FR-009")
@settings(max_examples=examples(150))
@given(typed_values())
def test_every_value_survives_the_round_trip(sample: tuple[CqlType, list[Any]]) -> None:
    cql_type, (value,) = sample
    data = encode(cql_type, value)
    decoded = decode(cql_type, data)
    assert repr(decoded) == repr(_in_field_order(cql_type, value))
    assert encode(cql_type, decoded) == data


@settings(max_examples=examples(150))
@given(typed_values())
def test_json_of_every_value_is_valid_and_whole(sample: tuple[CqlType, list[Any]]) -> None:
    cql_type, (value,) = sample
    parsed = json.loads(to_json(cql_type, encode(cql_type, value), nul_replacement="\ufffd"), parse_float=Decimal)
    if cql_type.name in ("list", "set", "vector", "tuple", "udt"):
        assert len(parsed) == len(value)
    elif cql_type.name in ("float", "double") and math.isfinite(value):
        form = ">f" if cql_type.name == "float" else ">d"
        assert struct.pack(form, float(parsed)) == struct.pack(form, value)
    elif cql_type.name in ("decimal", "int", "bigint", "varint"):
        assert parsed == value


def _only_bad_data(function: Callable[[], object]) -> None:
    code = ""
    try:
        function()
    except BadDataError as error:
        code = error.code
    assert code in ("", "value_malformed", "nul_in_json", "number_out_of_range")


@settings(max_examples=examples(250))
@given(ANY_TYPES, st.binary(max_size=40))
def test_random_bytes_end_in_a_value_or_the_named_error(cql_type: CqlType, data: bytes) -> None:
    _only_bad_data(lambda: decode(cql_type, data))
    _only_bad_data(lambda: to_json(cql_type, data))
    _only_bad_data(lambda: to_text(cql_type, data))


@settings(max_examples=examples(150))
@given(typed_values(), st.data())
def test_damaged_values_end_in_a_value_or_the_named_error(
    sample: tuple[CqlType, list[Any]], data: st.DataObject
) -> None:
    cql_type, (value,) = sample
    good = encode(cql_type, value)
    cut = data.draw(st.integers(0, len(good)))
    damaged = bytearray(good[:cut] if data.draw(st.booleans()) else good)
    if damaged:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    _only_bad_data(lambda: decode(cql_type, bytes(damaged)))
    _only_bad_data(lambda: to_json(cql_type, bytes(damaged)))
    if not _holds(cql_type, "counter"):
        _only_bad_data(lambda: order_key(cql_type)(bytes(damaged)))


@settings(max_examples=examples(150))
@given(TYPES.filter(lambda t: not _holds(t, "counter")), st.data(), st.booleans())
def test_keys_are_a_total_order(cql_type: CqlType, data: st.DataObject, descending: bool) -> None:
    values = st.just(b"") | values_of(cql_type).map(lambda value: encode(cql_type, value))
    drawn = [data.draw(values) for _ in range(3)]
    forward = order_key(cql_type)
    key = order_key(cql_type, descending=descending)
    for left in drawn:
        for right in drawn:
            less, equal, greater = (
                key(left) < key(right),
                key(left) == key(right),
                key(left) > key(right),
            )
            assert [less, equal, greater].count(True) == 1
            assert equal == (forward(left) == forward(right))
            assert less == (forward(right) < forward(left) if descending else forward(left) < forward(right))
    ordered = sorted(drawn, key=key)
    assert key(ordered[0]) <= key(ordered[2])


NATURAL = ["bigint", "boolean", "date", "decimal", "double", "float", "int", "smallint", "time", "tinyint", "varint"]


@settings(max_examples=examples(150))
@given(st.sampled_from(NATURAL), st.data())
def test_keys_of_numbers_follow_the_numbers(name: str, data: st.DataObject) -> None:
    cql_type = CqlType(name)
    left, right = data.draw(VALUES[name]), data.draw(VALUES[name])
    key = order_key(cql_type)
    if left != right:
        assert (key(encode(cql_type, left)) < key(encode(cql_type, right))) == (left < right)


def _identity(value: Any) -> Any:
    return value


DRIVER: dict[str, tuple[type[Any], Callable[[Any], Any]]] = {
    "ascii": (cqltypes.AsciiType, _identity),
    "bigint": (cqltypes.LongType, _identity),
    "blob": (cqltypes.BytesType, _identity),
    "boolean": (cqltypes.BooleanType, _identity),
    "decimal": (cqltypes.DecimalType, _identity),
    "double": (cqltypes.DoubleType, _identity),
    "duration": (cqltypes.DurationType, lambda d: DriverDuration(*d)),
    "float": (cqltypes.FloatType, _identity),
    "inet": (cqltypes.InetAddressType, str),
    "int": (cqltypes.Int32Type, _identity),
    "smallint": (cqltypes.ShortType, _identity),
    "text": (cqltypes.UTF8Type, _identity),
    "time": (cqltypes.TimeType, _identity),
    "timestamp": (cqltypes.TimestampType, _identity),
    "timeuuid": (cqltypes.TimeUUIDType, _identity),
    "tinyint": (cqltypes.ByteType, _identity),
    "uuid": (cqltypes.UUIDType, _identity),
    "varint": (cqltypes.IntegerType, _identity),
}
PROTOCOL = 5


def _driver_type(cql_type: CqlType) -> Any:
    args = [_driver_type(arg) for arg in cql_type.args]
    match cql_type.name:
        case "list":
            return cqltypes.ListType.apply_parameters(args)
        case "set":
            return cqltypes.SetType.apply_parameters(args)
        case "map":
            return cqltypes.MapType.apply_parameters(args)
        case "tuple":
            return cqltypes.TupleType.apply_parameters(args)
        case name:
            return DRIVER[name][0]


def _driver_value(cql_type: CqlType, value: Any) -> Any:
    match cql_type.name:
        case "list":
            return [_driver_value(cql_type.args[0], item) for item in value]
        case "tuple":
            fields = zip(cql_type.args, value, strict=True)
            return tuple(None if item is None else _driver_value(arg, item) for arg, item in fields)
        case name:
            return DRIVER[name][1](value)


DRIVER_TYPES = st.recursive(
    st.sampled_from(sorted(DRIVER)).map(CqlType),
    lambda inner: st.one_of(
        st.builds(lambda a: CqlType("list", (a,), frozen=True), inner),
        st.builds(lambda a: CqlType("tuple", tuple(a), frozen=True), st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=4,
)


@pytest.mark.requirement("FR-009")
@settings(max_examples=examples(200))
@given(DRIVER_TYPES, st.data())
def test_the_driver_writes_the_same_bytes(cql_type: CqlType, data: st.DataObject) -> None:
    value = data.draw(values_of(cql_type))
    written = _driver_type(cql_type).serialize(_driver_value(cql_type, value), PROTOCOL)
    assert encode(cql_type, value) == written
    assert repr(decode(cql_type, written)) == repr(value)


@settings(max_examples=examples(200))
@given(st.sampled_from(["bigint", "decimal", "double", "float", "inet", "varint", "uuid", "text"]), st.data())
def test_the_driver_reads_the_same_value(name: str, data: st.DataObject) -> None:
    cql_type = CqlType(name)
    value = data.draw(VALUES[name])
    read = DRIVER[name][0].deserialize(encode(cql_type, value), PROTOCOL)
    assert (ipaddress.ip_address(read) if name == "inet" else read) == value


@settings(max_examples=examples(200))
@given(ANY_TYPES.filter(lambda t: not _holds(t, "udt", "custom")))
def test_type_strings_come_back(cql_type: CqlType) -> None:
    assert parse_type(cql_type.cql(), "ks", {}) == cql_type


@settings(max_examples=examples(150))
@given(st.text(max_size=30) | st.text("<>,\"' intlsfrozeap1", max_size=30))
def test_random_type_strings_end_in_a_type_or_the_named_error(text: str) -> None:
    code = ""
    try:
        parse_type(text, "ks", {})
    except BadDataError as error:
        code = error.code
    assert code in ("", "type_malformed", "type_unknown")


@settings(max_examples=examples(200))
@given(st.uuids(version=1), st.uuids(version=1))
def test_timeuuids_sort_by_time_first(left: UUID, right: UUID) -> None:
    key = order_key(CqlType("timeuuid"))
    if left.time != right.time:
        assert (key(left.bytes) < key(right.bytes)) == (left.time < right.time)
