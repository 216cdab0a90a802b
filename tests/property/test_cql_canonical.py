"""Canonical bytes are equal exactly where the order keys are, which Cassandra itself was asked about."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casscade.core.keys import canonical_key, key_field, unpack_values
from casscade.cql.canonical import canonical_of
from casscade.cql.order import order_key
from casscade.cql.types import CqlType, UdtDefinition, parse_type
from tests.support.examples import examples

UDTS = {"pair": UdtDefinition("ks", "pair", ("x", "y"), ("decimal", "boolean"))}


def typed(text: str) -> CqlType:
    return parse_type(text, "ks", UDTS)


def _part(data: bytes | None) -> bytes:
    return b"\xff" * 4 if data is None else len(data).to_bytes(4, "big") + data


DECIMALS = st.sampled_from(
    [
        "0000000001",
        "00000000010a",
        "000000010a",
        "00000001000a",
        "0000000264",
        "00000000000a",
        "ffffffff01",
        "00000001f6",
    ]
).map(bytes.fromhex)
VARINTS = st.sampled_from(["00", "0000", "ff", "ffff", "00ff", "7f", "007f", "80", "ff80", "ff7f"]).map(bytes.fromhex)
FLOATS = st.sampled_from(["7fc00000", "ffc00001", "7f800001", "7f800000", "ff800000", "80000000", "00000000"]).map(
    bytes.fromhex
)
DOUBLES = st.sampled_from(["7ff8000000000000", "fff0000000000001", "7ff0000000000000", "8000000000000000"]).map(
    bytes.fromhex
)
BOOLEANS = st.sampled_from([b"\x00", b"\x01", b"\xff"])
FIELDS = st.lists(st.one_of(st.none(), DECIMALS), max_size=1).flatmap(
    lambda first: st.lists(st.one_of(st.none(), BOOLEANS), max_size=len(first)).map(
        lambda second: b"".join(map(_part, first + second))
    )
)
LISTS = st.lists(DECIMALS, max_size=2).map(lambda parts: len(parts).to_bytes(4, "big") + b"".join(map(_part, parts)))
MAPS = st.lists(st.tuples(FLOATS, FIELDS), max_size=2).map(
    lambda pairs: len(pairs).to_bytes(4, "big") + b"".join(_part(k) + _part(v) for k, v in pairs)
)
CASES = {
    "decimal": DECIMALS,
    "varint": VARINTS,
    "float": FLOATS,
    "double": DOUBLES,
    "boolean": BOOLEANS,
    "frozen<list<decimal>>": LISTS,
    "frozen<pair>": FIELDS,
    "frozen<tuple<decimal, boolean>>": FIELDS,
    "frozen<map<float, frozen<pair>>>": MAPS,
    "vector<float, 2>": st.tuples(FLOATS, FLOATS).map(b"".join),
    "vector<varint, 1>": VARINTS.map(lambda value: bytes([len(value)]) + value),
}


@pytest.mark.requirement("FR-009")
@pytest.mark.parametrize("name", CASES)
def test_equal_bytes_mean_equal_values(name: str) -> None:
    canonical = canonical_of(typed(name))
    assert canonical is not None
    order = order_key(typed(name))

    @settings(max_examples=examples(50))
    @given(CASES[name] | st.just(b""), CASES[name])
    def check(left: bytes, right: bytes) -> None:
        assert (canonical.of(left) == canonical.of(right)) == (order(left) == order(right))
        assert order(canonical.of(left)) == order(left)
        assert canonical.of(canonical.of(left)) == canonical.of(left)

    check()


@pytest.mark.parametrize(
    "name", ["int", "text", "blob", "timeuuid", "date", "inet", "frozen<list<int>>", "vector<int, 2>"]
)
def test_types_without_a_second_serialization(name: str) -> None:
    assert canonical_of(typed(name)) is None


@pytest.mark.parametrize("name", CASES)
def test_what_is_no_value_stays(name: str) -> None:
    canonical = canonical_of(typed(name))
    assert canonical is not None
    if name not in ("varint", "decimal", "boolean"):
        assert canonical.of(b"\x00\x00\x00\x09\x01") == b"\x00\x00\x00\x09\x01"
    assert canonical.of(b"") == b""


def test_a_clusterings_key_tells_its_values() -> None:
    loose = [canonical_of(typed("decimal")), None]
    short, long = b"\x00\x00\x00\x01\x1b", b"\x00\x00\x00\x02\x01\x0e"
    assert canonical_key([short, b"x"], loose) == canonical_key([long, b"x"], loose)
    assert canonical_key([None, b"x"], loose) != canonical_key([b"", b"x"], loose)
    assert unpack_values(canonical_key([long, None], loose)) == [short, None]


@given(st.binary(max_size=40), st.binary(max_size=40), st.sampled_from([1000, 1024, 1025, 5000]))
def test_key_fields_are_equal_only_for_equal_keys(left: bytes, right: bytes, padding: int) -> None:
    one, other = left + bytes(padding), right + bytes(padding)
    assert (key_field(one) == key_field(other)) == (one == other)
    assert len(key_field(one)) <= 1056
    assert key_field(key_field(one)) != key_field(one) or len(one) <= 1024
