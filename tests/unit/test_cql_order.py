"""The order of values, rows and range bounds, against orders read from Cassandra's comparators."""

from __future__ import annotations

import itertools
import struct
from decimal import Decimal

import pytest

from casscade.core.errors import BadDataError, InvariantError
from casscade.core.mutation import Bound
from casscade.cql.bounds import AFTER_ALL, BEFORE_ALL, ClusteringOrder, clustering_key, compare_bound
from casscade.cql.order import order_key
from casscade.cql.types import CqlType, UdtDefinition, parse_type
from casscade.cql.values import encode

UDTS = {"pair": UdtDefinition("ks", "pair", ("a", "b"), ("int", "text"))}
INT = CqlType("int")
TEXT = CqlType("text")


def type_of(text: str) -> CqlType:
    return parse_type(text, "ks", UDTS)


def cells(text: str, *values: object) -> list[bytes]:
    cql_type = type_of(text)
    return [encode(cql_type, value) for value in values]  # type: ignore[arg-type]


def doubles(*values: float) -> list[bytes]:
    return [struct.pack(">d", value) for value in values]


def from_hex(*values: str) -> list[bytes]:
    return [bytes.fromhex(value) for value in values]


ORDERS: list[tuple[str, list[bytes]]] = [
    ("text", cells("text", "", "A", "a", "a\x00", "ab", "b", "é", "☃", "𝄞")),
    ("blob", from_hex("", "00", "7f", "80", "ff", "ffff")),
    ("boolean", from_hex("", "00", "01")),
    ("tinyint", [b"", *cells("tinyint", -128, -1, 0, 127)]),
    ("smallint", [b"", *cells("smallint", -32768, -1, 0, 255, 256)]),
    ("int", [b"", *cells("int", -(1 << 31), -256, -1, 0, 1, (1 << 31) - 1)]),
    ("bigint", [b"", *cells("bigint", -(1 << 63), -1, 0, (1 << 63) - 1)]),
    ("timestamp", [b"", *cells("timestamp", -1, 0, 1)]),
    ("varint", [b"", *cells("varint", -(10**40), -129, -128, -1, 0, 127, 128, 255, 10**40)]),
    (
        "decimal",
        [
            b"",
            *cells(
                "decimal",
                Decimal("-1E+2147483647"),
                Decimal("-1.5"),
                Decimal("-1E-2147483647"),
                Decimal(0),
                Decimal("1E-2147483647"),
                Decimal("0.999"),
                Decimal("1E+2147483648"),
            ),
        ],
    ),
    (
        "double",
        [b"", *doubles(-float("inf"), -1.5, -5e-324, -0.0, 0.0, 5e-324, 1.5, float("inf"), float("nan"))],
    ),
    ("float", [b"", *from_hex("ff800000", "bf800000", "80000000", "00000000", "3f800000", "7f800000", "ffc00000")]),
    ("date", [b"", *cells("date", -(1 << 31), -1, 0, 1)]),
    ("time", [b"", *cells("time", 0, 1, 86399999999999)]),
    ("inet", [b"", *from_hex("01020304", "01020304" + "00" * 12, "7f000001", "c0a80001")]),
    (
        "uuid",  # version first; version 1 by time, whose low bits stand first in the bytes
        from_hex(
            "",
            "ffffffff000000008000000000000000",
            "ffffffff000010008000000000000000",
            "00000000000110008000000000000000",
            "00000000000110018000000000000000",
            "00000000000110018000000000000001",
            "0000000000011001ff00000000000000",
            "00000000000040008000000000000000",
            "ffffffffffff40008000000000000000",
        ),
    ),
    (
        "timeuuid",  # by time, then by signed bytes
        from_hex(
            "",
            "ffffffff000010008000000000000000",
            "00000000000110008000000000000081",
            "00000000000110008000000000000000",
            "0000000000011000800000000000007f",
            "00000000000110000000000000000000",
            "00000000000110010000000000000000",
        ),
    ),
    (
        "'org.apache.cassandra.db.marshal.LexicalUUIDType'",
        from_hex(
            "",
            "80000000000000000000000000000000",
            "ffffffffffffffff8000000000000000",
            "ffffffffffffffff0000000000000000",
            "00000000000000000000000000000000",
        ),
    ),
    ("frozen<list<int>>", [b"", *cells("frozen<list<int>>", [], [-1], [1], [1, -5], [1, 2], [2])]),
    (
        "frozen<map<int, text>>",
        [b"", *cells("frozen<map<int, text>>", [], [(-1, "z")], [(1, "a")], [(1, "a"), (2, "")], [(1, "b")])],
    ),
    ("tuple<int, text>", [b"", *cells("tuple<int, text>", (None, None), (None, "a"), (-1,), (-1, ""), (1, "a"))]),
    ("frozen<pair>", [b"", *cells("pair", {"a": 1}, {"a": 1, "b": ""}, {"a": 1, "b": "x"}, {"a": 2})]),
    ("vector<float, 2>", cells("vector<float, 2>", [-1.0, 5.0], [-0.0, 0.0], [0.0, -1.0], [0.0, 0.0])),
    ("vector<text, 2>", cells("vector<text, 2>", ["", "z"], ["a", ""], ["a", "b"], ["ab", ""])),
    ("duration", from_hex("", "000000", "000002", "020000")),
]


@pytest.mark.parametrize(("text", "values"), ORDERS, ids=[text for text, _ in ORDERS])
def test_keys_have_the_order_of_the_comparator_in_both_directions(text: str, values: list[bytes]) -> None:
    up = order_key(type_of(text))
    down = order_key(type_of(text), descending=True)
    for low, high in itertools.combinations(values, 2):
        assert up(low) < up(high)
        assert down(high) < down(low)
        assert up(low) != up(high)
        assert down(low) != down(high)
    assert all(up(value) == up(value) and down(value) == down(value) for value in values)


@pytest.mark.parametrize(
    ("text", "left", "right"),
    [
        ("boolean", "01", "05"),
        ("varint", "7f", "0000007f"),
        ("decimal", "000000010a", "0000000001"),
        ("double", "7ff8000000000000", "fff8000000000001"),
        ("tuple<int, int>", "0000000400000001", "0000000400000001ffffffff"),
        ("empty", "", "01"),
        ("frozen<list<boolean>>", "000000010000000101", "000000010000000102"),
    ],
)
def test_values_that_compare_equal_have_equal_keys(text: str, left: str, right: str) -> None:
    for descending in (False, True):
        key = order_key(type_of(text), descending=descending)
        assert key(bytes.fromhex(left)) == key(bytes.fromhex(right))


@pytest.mark.parametrize("text", ["int", "date", "time", "inet", "uuid", "timeuuid", "float", "list<int>", "boolean"])
def test_malformed_values_are_named(text: str) -> None:
    with pytest.raises(BadDataError) as caught:
        order_key(type_of(text))(b"\x01\x02\x03\x04\x05")
    assert caught.value.code == "value_malformed"


@pytest.mark.parametrize("text", ["counter", "'com.example.Type'", "frozen<list<'com.example.Type'>>"])
def test_types_without_a_known_order_are_refused_before_any_value(text: str) -> None:
    with pytest.raises(InvariantError, match="order"):
        order_key(type_of(text))


def row(number: int, text: str) -> tuple[bytes, bytes]:
    return (encode(INT, number), text.encode())


def test_rows_sort_by_their_columns_directions() -> None:
    key = clustering_key((INT, TEXT), (False, True))
    rows = [row(-1, "a"), row(1, "b"), row(1, "ab"), row(1, "a"), row(1, ""), row(2, "z")]
    shuffled = rows[::-1]
    assert sorted(shuffled, key=key) == rows


def test_a_null_comes_first_in_either_direction() -> None:
    for descending in (False, True):
        key = clustering_key((INT,), (descending,))
        nothing: tuple[bytes | None, ...] = (None,)
        assert key(nothing) < key((b"",))
        assert key(nothing) < key((encode(INT, -5),))
        assert key(nothing) == key(nothing)


@pytest.mark.requirement("FR-007")
def test_bounds_lie_before_or_after_the_rows_of_their_prefix() -> None:
    order = ClusteringOrder((INT, TEXT), (False, False))
    one = (encode(INT, 1),)
    ab = (*one, b"ab")
    places: list[list[Bound | tuple[bytes, ...]]] = [
        [BEFORE_ALL],
        [row(0, "zzz")],
        [Bound(0, list(one)), Bound(1, list(one)), Bound(2, list(one))],
        [row(1, "")],
        [row(1, "a")],
        [Bound(0, list(ab)), Bound(1, list(ab)), Bound(2, list(ab))],
        [ab],
        [Bound(5, list(ab)), Bound(6, list(ab)), Bound(7, list(ab))],
        [row(1, "b")],
        [Bound(5, list(one)), Bound(6, list(one)), Bound(7, list(one))],
        [row(2, "")],
        [AFTER_ALL],
    ]
    for (i, lefts), (j, rights) in itertools.product(enumerate(places), repeat=2):
        for left, right in itertools.product(lefts, rights):
            assert compare_bound(order, left, right) == (i > j) - (i < j)


def test_a_bound_on_a_descending_column() -> None:
    order = ClusteringOrder((INT,), (True,))
    start = Bound(1, [encode(INT, 5)])
    end = Bound(0, [encode(INT, 2)])
    covered = [n for n in range(8) if order.bound(start) < order.row((encode(INT, n),)) < order.bound(end)]
    assert covered == [3, 4, 5]


def test_a_null_lies_inside_the_whole_partition() -> None:
    order = ClusteringOrder((INT,), (False,))
    assert order.bound(BEFORE_ALL) < order.row((None,)) < order.bound(AFTER_ALL)


@pytest.mark.parametrize("bound", [Bound(3, []), Bound(4, []), Bound(9, []), Bound(1, [b"", b""])])
def test_other_kinds_and_shapes_are_no_bounds(bound: Bound) -> None:
    with pytest.raises(BadDataError) as caught:
        ClusteringOrder((INT,), (False,)).bound(bound)
    assert caught.value.code == "value_malformed"


def test_a_row_has_a_value_for_each_column() -> None:
    with pytest.raises(InvariantError):
        clustering_key((INT,), (False,))(())
    with pytest.raises(InvariantError):
        clustering_key((INT,), ())


@pytest.mark.requirement("FR-004")
@pytest.mark.parametrize("name", ["bigint", "varint", "timestamp", "time", "double"])
def test_keys_tell_numbers_apart_that_a_float_can_not(name: str) -> None:
    low, high = ((1 << 62).to_bytes(8, "big"), ((1 << 62) + 1).to_bytes(8, "big"))
    key = order_key(CqlType(name))
    if name == "time":
        low, high = ((1 << 45) + 1).to_bytes(8, "big"), ((1 << 45) + 2).to_bytes(8, "big")
    assert key(low) < key(high)
    assert key(low) != key(high)
    descending = order_key(CqlType(name), descending=True)
    assert descending(high) < descending(low)
