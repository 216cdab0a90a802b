"""Fields of PostgreSQL give back exactly the bytes they were made of, and no bytes make a codec fail."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from casscade.cql.types import CqlType, UdtDefinition, parse_type
from casscade.load.codecs import codec_for
from casscade.load.key_codecs import key_codec_for
from casscade.load.transcode import Codec
from casscade.schema.pg_types import Form, allowed_forms, map_column, map_column_as
from tests.support.examples import examples
from tests.support.value_bytes import random_bytes

SIMPLE = (  # noqa: SIM905 one line reads better than nineteen
    "ascii bigint blob boolean date decimal double duration float inet int smallint text time timestamp timeuuid "
    "tinyint uuid varint"
).split()
UDTS = {
    "inner": UdtDefinition("ks", "inner", ("when", "numbers"), ("date", "frozen<list<decimal>>")),
    "outer": UdtDefinition("ks", "outer", ("a", "b", "c", "j"), ("text", "frozen<inner>", "time", "frozen<set<text>>")),
    "holder": UdtDefinition("ks", "holder", ("m", "i"), ("frozen<map<text, int>>", "frozen<inner>")),
}
OIDS = {'"s"."inner"': 40_000, '"s"."outer"': 40_001, '"s"."holder"': 40_002}
COMPOSED = (
    "frozen<map<text, blob>>",
    "tuple<int, text>",
    "frozen<inner>",
    "frozen<outer>",
    "frozen<holder>",
    "frozen<list<frozen<map<int, text>>>>",
    "vector<frozen<list<int>>, 2>",
)
ARRAYS = [
    *(f"frozen<list<{name}>>" for name in SIMPLE),
    *(f"frozen<set<{name}>>" for name in SIMPLE if name != "duration"),
    *(f"vector<{name}, 3>" for name in SIMPLE),
]
CASES = [
    (text, form)
    for text in (*SIMPLE, *ARRAYS, *COMPOSED)
    for form in allowed_forms(parse_type(text, "ks", UDTS))
    if form in ("plain", "array") or text in SIMPLE + list(COMPOSED) or "<float" in text or "list<text>" in text
]


def typed(text: str) -> CqlType:
    return parse_type(text, "ks", UDTS)


def codec_of(text: str, form: Form | None = None) -> Codec:
    type_ = typed(text)
    return codec_for(type_, map_column(type_) if form is None else map_column_as(type_, form, "s"), OIDS)


def shown(codec: Codec, value: bytes) -> bytes | None:
    """What stands in the column."""
    field = codec.encode(value)
    return codec.show(value) if field is None else field


def check(codec: Codec, value: bytes) -> None:
    """The laws of a codec."""
    field = codec.encode(value)
    if field is not None:
        assert codec.decode(field) == value
        return
    near = codec.show(value)
    said = codec.says_all(value)
    assert said in (True, False)
    assert near is not None or not said
    if near is None:
        # what is stored for a value that was converted to nothing
        assert shown(codec, b"") is None
        return
    decoded = codec.decode(near)  # read back beside the kept bytes: it must not fail
    if codec.reads_back:
        # what is stored for a value that was converted is shown as the same, again and again
        assert shown(codec, decoded) == near
        assert codec.decode(near) == decoded


@pytest.mark.requirement("FR-009")
@pytest.mark.requirement("FR-010")
@pytest.mark.requirement("FR-011")
@pytest.mark.parametrize(("text", "form"), CASES, ids=str)
def test_encode_is_exact_or_refuses(text: str, form: Form) -> None:
    codec = codec_of(text, form)
    type_ = typed(text)
    lengths = st.sampled_from([0, 1, 2, 4, 5, 6, 8, 12, 16, 20])

    @settings(max_examples=examples(15))
    @given(lengths.flatmap(lambda n: st.binary(min_size=n, max_size=n)))
    @example(b"\x80\x00\x00\x00")
    @example(b"\x7f\xff\xff\xff\xff\xff\xff\xff")
    @example("h\u00e4\x00".encode())
    @example(bytes.fromhex("00000001ffffffff"))
    @example(bytes.fromhex("00000001fffffffe"))
    @example(bytes.fromhex("0000000100000000"))
    @example(bytes.fromhex("00000000"))
    def any_bytes(value: bytes) -> None:
        check(codec, value)

    any_bytes()
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(60):
        check(codec, random_bytes(rng, type_))


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
    assert codec_for(type_, map_column(type_)).encode(value) == field


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
    codec = codec_for(type_, map_column(type_))
    assert codec.encode(value) is None
    assert codec.show(value) == shown


@pytest.mark.parametrize(("name", "size"), [("float", 4), ("double", 8)])
def test_minus_zero_is_no_key(name: str, size: int) -> None:
    value = b"\x80" + bytes(size - 1)
    type_ = CqlType(name)
    assert key_codec_for(type_).encode(value) is None
    assert codec_for(type_, map_column(type_)).encode(value) == value


def test_fields_of_composed_types_as_postgres_defines_them() -> None:
    array = struct.pack(">iiIii", 1, 1, 23, 2, 1) + struct.pack(">ii", 4, 7) + b"\xff\xff\xff\xff"
    assert codec_of("frozen<list<int>>").encode(bytes.fromhex("000000020000000400000007ffffffff")) == array
    assert codec_of("frozen<list<int>>").encode(bytes(4)) == struct.pack(">iiI", 0, 0, 23)
    record = struct.pack(">iIiiIi", 2, 1082, 4, 0, 1231, -1)
    when = (0x80000000 + 10957).to_bytes(4, "big")
    assert codec_of("frozen<inner>", "composite").encode(b"\0\0\0\4" + when + b"\xff\xff\xff\xff") == record
    floats = struct.pack(">ff", 1.5, -0.0)
    assert codec_of("vector<float, 2>", "vector").encode(floats) == b"\x00\x02\x00\x00" + floats


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_pgvector_holds_finite_numbers_only(wrong: float) -> None:
    codec = codec_of("vector<float, 2>", "vector")
    for pair in ((1.0, wrong), (wrong, 3.4028234e38)):
        value = struct.pack(">ff", *pair)
        assert (codec.encode(value), codec.show(value), codec.says_all(value)) == (None, None, False)
    assert codec.encode(struct.pack(">ff", 3.4028234e38, -3.4028234e38)) is not None


def test_a_udt_without_its_last_fields_says_all_but_is_not_its_bytes() -> None:
    codec = codec_of("frozen<inner>", "composite")
    short = b"\0\0\0\4" + (0x80000000 + 10957).to_bytes(4, "big")
    assert codec.encode(short) is None
    assert codec.says_all(short)
    assert codec.show(short) == codec.encode(short + b"\xff\xff\xff\xff")


@pytest.mark.parametrize(
    ("text", "form", "value", "exact"),
    [
        ("frozen<list<int>>", "jsonb", "000000010000000400000007", True),
        ("frozen<list<int>>", "jsonb", "00000001ffffffff", True),
        ("frozen<list<int>>", "jsonb", "0000000100000000", False),
        ("frozen<list<text>>", "jsonb", "00000001000000046e756c6c", True),
        ("frozen<list<text>>", "jsonb", "000000010000000100", False),
        ("frozen<list<text>>", "jsonb", "0000000100000003efbfbd", True),
        ("frozen<list<text>>", "text", "000000010000000100", True),
        ("frozen<list<int>>", "text", "0000000100000000", False),
        ("frozen<list<double>>", "jsonb", "00000001000000088000000000000000", False),
        ("frozen<list<double>>", "text", "00000001000000088000000000000000", True),
        ("frozen<list<decimal>>", "jsonb", "0000000100000005fffffffd01", False),
        ("frozen<map<text, blob>>", "jsonb", "0000000100000001000000000161", False),
        ("frozen<map<text, blob>>", "jsonb", "00000001000000016100000000", True),
        ("decimal", "text", "fffffffd01", True),
        ("time", "text", "0000000000000001", True),
        ("time", "text", "", False),
        ("text", "plain", "00", False),
    ],
)
def test_what_is_inexact(text: str, form: Form, value: str, exact: bool) -> None:
    data = bytes.fromhex(value)
    codec = codec_of(text, form)
    assert codec.encode(data) is None
    assert codec.says_all(data) is exact
