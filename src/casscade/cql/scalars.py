"""Simple values: bytes to Python objects and back, one pair of functions for each type.

Invariant: `encode(decode(data)) == data` for every value that Cassandra itself writes; bytes that are no value raise
`BadDataError`. The decoders are called with at least one byte; what no bytes mean is decided in `values`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from struct import Struct
from struct import error as StructError
from typing import Any, Final, NamedTuple
from uuid import UUID

from casscade.core.cell import counter_total
from casscade.core.keys import integer_bytes
from casscade.cql.faults import malformed, unencodable
from casscade.cql.vint import read_signed, write_signed

MAX_DECIMAL_BYTES: Final = 65_536
"""The longest unscaled number of a decimal that is decoded: 157,826 digits, more than PostgreSQL's numeric can hold
(147,455); turning longer ones into decimal digits takes quadratic time, 0.4 s at this length."""

NANOSECONDS_PER_DAY: Final = 86_400_000_000_000
EPOCH_DAY: Final = 1 << 31

EXACT: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, capitals=1)
"""Arithmetic that never rounds. Only for operations whose result is no longer than their operands."""

Decoder = Callable[[bytes], Any]
Encoder = Callable[[Any], bytes]


class Duration(NamedTuple):
    """A CQL duration; the three parts have one sign."""

    months: int
    days: int
    nanoseconds: int


def decode_text(data: bytes) -> str:
    """UTF-8. Encoded surrogates, which Cassandra lets pass, are malformed: PostgreSQL takes none."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise malformed("text", data, "it is not UTF-8") from None


def decode_ascii(data: bytes) -> str:
    """Seven-bit ASCII."""
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise malformed("ascii", data, "a byte is above 127") from None


def decode_blob(data: bytes) -> bytes:
    """The bytes themselves; also for custom types."""
    return data


def decode_boolean(data: bytes) -> bool:
    """One byte, 0 is false."""
    if len(data) != 1:
        raise malformed("boolean", data, "1 byte was expected")
    return data != b"\x00"


def decode_varint(data: bytes) -> int:
    """Two's complement, big-endian, of any length; padding is accepted (`IntegerType`)."""
    return int.from_bytes(data, "big", signed=True)


def decode_decimal(data: bytes) -> Decimal:
    """i32 scale and the unscaled number; exact, the scale is kept, and the exponent's zeros are never written out."""
    if len(data) < 5:
        raise malformed("decimal", data, "at least 5 bytes were expected")
    if len(data) > 4 + MAX_DECIMAL_BYTES:
        raise malformed("decimal", data, f"its number is longer than {MAX_DECIMAL_BYTES} bytes")
    scale = int.from_bytes(data[:4], "big", signed=True)
    return EXACT.scaleb(Decimal(int.from_bytes(data[4:], "big", signed=True)), -scale)


def decode_date(data: bytes) -> int:
    """Days since 1970-01-01."""
    if len(data) != 4:
        raise malformed("date", data, "4 bytes were expected")
    return int.from_bytes(data, "big") - EPOCH_DAY


def decode_time(data: bytes) -> int:
    """Nanoseconds since midnight."""
    if len(data) != 8:
        raise malformed("time", data, "8 bytes were expected")
    nanoseconds = int.from_bytes(data, "big")
    if nanoseconds >= NANOSECONDS_PER_DAY:
        raise malformed("time", data, "it is not within a day")
    return nanoseconds


def decode_uuid(data: bytes) -> UUID:
    """16 bytes. The version is not checked, not even of a timeuuid: PostgreSQL's uuid holds them all."""
    if len(data) != 16:
        raise malformed("uuid", data, "16 bytes were expected")
    return UUID(bytes=data)


def decode_inet(data: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """4 or 16 bytes."""
    if len(data) == 4:
        return ipaddress.IPv4Address(data)
    if len(data) == 16:
        return ipaddress.IPv6Address(data)
    raise malformed("inet", data, "4 or 16 bytes were expected")


def decode_duration(data: bytes) -> Duration:
    """Three signed vints (`DurationSerializer.validate`: months and days fit 32 bits, all parts have one sign)."""
    try:
        months, offset = read_signed(data, 0)
        days, offset = read_signed(data, offset)
        nanoseconds, offset = read_signed(data, offset)
    except IndexError:
        raise malformed("duration", data, "it ends too early") from None
    if offset != len(data):
        raise malformed("duration", data, "bytes follow its last part")
    if not (-EPOCH_DAY <= months < EPOCH_DAY and -EPOCH_DAY <= days < EPOCH_DAY):
        raise malformed("duration", data, "its months or days do not fit 32 bits")
    if min(months, days, nanoseconds) < 0 < max(months, days, nanoseconds):
        raise malformed("duration", data, "its parts differ in sign")
    return Duration(months, days, nanoseconds)


def decode_counter(data: bytes) -> int:
    """A total: 8 bytes as CQL sends them, or a counter context as the commit log holds it.

    A context has i16 header length, 2 bytes for each header element and 32 for each shard, so never 8 bytes.
    """
    if len(data) == 8:
        return int.from_bytes(data, "big", signed=True)
    header = abs(int.from_bytes(data[:2], "big", signed=True))
    shard_bytes = len(data) - 2 - 2 * header
    if len(data) < 2 or shard_bytes < 0 or shard_bytes % 32:
        raise malformed("counter", data, "neither a total nor a context")
    return counter_total(data)


def decode_empty(data: bytes) -> None:
    """Nothing. Bytes in such a column are ignored, as `EmptyType` does (CASSANDRA-15790)."""


def _fixed_decoder(name: str, form: str) -> Decoder:
    unpack = Struct(form).unpack

    def decode_fixed(data: bytes) -> Any:
        try:
            return unpack(data)[0]
        except StructError:
            raise malformed(name, data, f"{Struct(form).size} byte(s) were expected") from None

    return decode_fixed


def _integer_encoder(name: str, form: str) -> Encoder:
    pack = Struct(form).pack

    def encode_integer(value: Any) -> bytes:
        if not isinstance(value, int) or isinstance(value, bool):
            raise unencodable(name, "an integer was expected")
        try:
            return pack(value)
        except StructError:
            raise unencodable(name, "it is out of range") from None

    return encode_integer


def _float_encoder(name: str, form: str) -> Encoder:
    pack = Struct(form).pack

    def encode_float(value: Any) -> bytes:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise unencodable(name, "a number was expected")
        try:
            return pack(value)
        except (OverflowError, StructError):
            raise unencodable(name, "it is out of range") from None

    return encode_float


def encode_text(value: Any) -> bytes:
    """UTF-8."""
    if not isinstance(value, str):
        raise unencodable("text", "a string was expected")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise unencodable("text", "a lone surrogate has no UTF-8 form") from None


def encode_ascii(value: Any) -> bytes:
    """Seven-bit ASCII."""
    if not isinstance(value, str) or not value.isascii():
        raise unencodable("ascii", "a string of ASCII characters was expected")
    return value.encode("ascii")


def encode_blob(value: Any) -> bytes:
    """The bytes themselves."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise unencodable("blob", "bytes were expected")
    return bytes(value)


def encode_boolean(value: Any) -> bytes:
    """One byte, 0 or 1."""
    if not isinstance(value, bool):
        raise unencodable("boolean", "True or False was expected")
    return b"\x01" if value else b"\x00"


def encode_varint(value: Any) -> bytes:
    """The shortest two's complement, at least one byte (`BigInteger.toByteArray`)."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise unencodable("varint", "an integer was expected")
    return integer_bytes(value)


def encode_decimal(value: Any) -> bytes:
    """i32 scale and the unscaled number; the scale is kept, a negative zero becomes zero."""
    if not isinstance(value, Decimal) or not value.is_finite():
        raise unencodable("decimal", "a finite Decimal was expected")
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or not -EPOCH_DAY < exponent <= EPOCH_DAY:
        raise unencodable("decimal", "its scale does not fit 32 bits")
    if value.adjusted() - exponent >= MAX_DECIMAL_BYTES * 2.408:
        raise unencodable("decimal", f"its number is longer than {MAX_DECIMAL_BYTES} bytes")
    unscaled = int(EXACT.scaleb(value, -exponent))
    return (-exponent).to_bytes(4, "big", signed=True) + encode_varint(unscaled)


def encode_date(value: Any) -> bytes:
    """Days since 1970-01-01."""
    if not isinstance(value, int) or not -EPOCH_DAY <= value < EPOCH_DAY:
        raise unencodable("date", "days from -2^31 to 2^31 - 1 were expected")
    return (value + EPOCH_DAY).to_bytes(4, "big")


def encode_time(value: Any) -> bytes:
    """Nanoseconds since midnight."""
    if not isinstance(value, int) or not 0 <= value < NANOSECONDS_PER_DAY:
        raise unencodable("time", "nanoseconds within a day were expected")
    return value.to_bytes(8, "big")


def encode_uuid(value: Any) -> bytes:
    """16 bytes."""
    if not isinstance(value, UUID):
        raise unencodable("uuid", "a UUID was expected")
    return value.bytes


def encode_inet(value: Any) -> bytes:
    """4 or 16 bytes."""
    if not isinstance(value, ipaddress.IPv4Address | ipaddress.IPv6Address):
        raise unencodable("inet", "an IP address was expected")
    return value.packed


def encode_duration(value: Any) -> bytes:
    """Three signed vints."""
    if not isinstance(value, tuple) or len(value) != 3 or not all(isinstance(part, int) for part in value):
        raise unencodable("duration", "months, days and nanoseconds were expected")
    if min(value) < 0 < max(value):
        raise unencodable("duration", "its parts differ in sign")
    if any(not -EPOCH_DAY <= part < EPOCH_DAY for part in value[:2]):
        raise unencodable("duration", "its months or days do not fit 32 bits")
    try:
        return b"".join([write_signed(part) for part in value])
    except ValueError:
        raise unencodable("duration", "its nanoseconds do not fit 64 bits") from None


def encode_empty(_value: Any) -> bytes:
    """Nothing has a form."""
    raise unencodable("empty", "the type has no values")


CODECS: Final[dict[str, tuple[Decoder, Encoder]]] = {
    "ascii": (decode_ascii, encode_ascii),
    "bigint": (_fixed_decoder("bigint", ">q"), _integer_encoder("bigint", ">q")),
    "blob": (decode_blob, encode_blob),
    "boolean": (decode_boolean, encode_boolean),
    "counter": (decode_counter, _integer_encoder("counter", ">q")),
    "custom": (decode_blob, encode_blob),
    "date": (decode_date, encode_date),
    "decimal": (decode_decimal, encode_decimal),
    "double": (_fixed_decoder("double", ">d"), _float_encoder("double", ">d")),
    "duration": (decode_duration, encode_duration),
    "empty": (decode_empty, encode_empty),
    "float": (_fixed_decoder("float", ">f"), _float_encoder("float", ">f")),
    "inet": (decode_inet, encode_inet),
    "int": (_fixed_decoder("int", ">i"), _integer_encoder("int", ">i")),
    "smallint": (_fixed_decoder("smallint", ">h"), _integer_encoder("smallint", ">h")),
    "text": (decode_text, encode_text),
    "time": (decode_time, encode_time),
    "timestamp": (_fixed_decoder("timestamp", ">q"), _integer_encoder("timestamp", ">q")),
    "timeuuid": (decode_uuid, encode_uuid),
    "tinyint": (_fixed_decoder("tinyint", ">b"), _integer_encoder("tinyint", ">b")),
    "uuid": (decode_uuid, encode_uuid),
    "varint": (decode_varint, encode_varint),
}
"""Decoder and encoder of every type without parameters, by its name."""
