"""Fields of PostgreSQL give back exactly the bytes they were made of, and no bytes make a codec fail."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from casscade.cql.types import CqlType
from casscade.load.codecs import codec_for
from casscade.load.key_codecs import key_codec_for
from casscade.schema.pg_types import map_column

SIMPLE = (  # noqa: SIM905 one line reads better than nineteen
    "ascii bigint blob boolean date decimal double duration float inet int smallint text time timestamp timeuuid "
    "tinyint uuid varint"
).split()
TYPES = [
    *(CqlType(name) for name in SIMPLE),
    CqlType("vector", (CqlType("float"),), dimension=3),
    CqlType("list", (CqlType("int"),), frozen=True),
    CqlType("map", (CqlType("text"), CqlType("blob")), frozen=True),
    CqlType("tuple", (CqlType("int"), CqlType("text")), frozen=True),
]


@pytest.mark.requirement("FR-009")
@pytest.mark.parametrize("type_", TYPES, ids=lambda type_: type_.name)
def test_encode_is_exact_or_refuses(type_: CqlType) -> None:
    codec = codec_for(type_, map_column(type_).name)
    lengths = st.sampled_from([0, 1, 2, 4, 5, 6, 8, 12, 16, 20])

    @given(lengths.flatmap(lambda n: st.binary(min_size=n, max_size=n)))
    @example(b"\x80\x00\x00\x00")
    @example(b"\x7f\xff\xff\xff\xff\xff\xff\xff")
    @example("h\u00e4\x00".encode())
    def check(value: bytes) -> None:
        field = codec.encode(value)
        if field is None:
            shown = codec.show(value)
            assert shown is None or isinstance(shown, bytes)
            if shown is not None:
                codec.decode(shown)  # read back beside the kept bytes: it must not fail
        else:
            assert codec.decode(field) == value

    check()


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("int", struct.pack(">i", -7), struct.pack(">i", -7)),
        ("tinyint", b"\xff", b"\xff\xff"),
        ("tinyint", b"\x05", b"\x00\x05"),
        ("boolean", b"\x01", b"\x01"),
        ("timestamp", struct.pack(">q", 946_684_800_001), struct.pack(">q", 1000)),
        ("date", struct.pack(">I", (1 << 31) + 10957), struct.pack(">i", 0)),
        ("time", struct.pack(">q", 5_000), struct.pack(">q", 5)),
        ("inet", bytes((127, 0, 0, 1)), b"\x02\x20\x00\x04\x7f\x00\x00\x01"),
        ("duration", b"\x02\x04\x8f\xa0", struct.pack(">qii", 2, 2, 1)),
        ("varint", b"\x27\x10", struct.pack(">hhHhh", 1, 1, 0, 0, 1)),
        ("varint", b"\xff", struct.pack(">hhHhh", 1, 0, 0x4000, 0, 1)),
        ("decimal", struct.pack(">i", 2) + b"\x7b", struct.pack(">hhHhhh", 2, 0, 0, 2, 1, 2300)),
        ("decimal", struct.pack(">i", 1) + b"\x00", struct.pack(">hhHh", 0, 0, 0, 1)),
        ("decimal", struct.pack(">i", 5) + b"\x01", struct.pack(">hhHhh", 1, -2, 0, 5, 1000)),
    ],
)
def test_fields_as_postgres_defines_them(name: str, value: bytes, field: bytes) -> None:
    type_ = CqlType(name)
    assert codec_for(type_, map_column(type_).name).encode(value) == field


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("text", b"a\x00b", "a\ufffdb".encode()),
        ("text", b"\xff", "\ufffd".encode()),
        ("timestamp", struct.pack(">q", 1 << 62), struct.pack(">q", (1 << 63) - 1)),
        ("timestamp", struct.pack(">q", -(1 << 62)), struct.pack(">q", -(1 << 63))),
        ("date", b"\x00\x00\x00\x00", b"\x80\x00\x00\x00"),
        ("time", struct.pack(">q", 1_999), struct.pack(">q", 1)),
        ("duration", b"\x02\x02\x02", struct.pack(">qii", 0, 1, 1)),
        ("decimal", struct.pack(">i", -3) + b"\x01", struct.pack(">hhHhh", 1, 0, 0, 0, 1000)),
        ("decimal", struct.pack(">i", 20_000) + b"\x01", None),
        ("int", b"", None),
        ("varint", bytes(5000), None),
    ],
)
def test_what_postgres_cannot_hold_is_shown_as_the_nearest_thing(name: str, value: bytes, shown: bytes | None) -> None:
    type_ = CqlType(name)
    codec = codec_for(type_, map_column(type_).name)
    assert codec.encode(value) is None
    assert codec.show(value) == shown


@pytest.mark.parametrize(("name", "size"), [("float", 4), ("double", 8)])
def test_minus_zero_is_no_key(name: str, size: int) -> None:
    value = b"\x80" + bytes(size - 1)
    type_ = CqlType(name)
    assert key_codec_for(type_, map_column(type_).name).encode(value) is None
    assert codec_for(type_, map_column(type_).name).encode(value) == value
