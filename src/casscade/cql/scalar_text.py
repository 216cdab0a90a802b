"""Simple values as text, straight from their bytes.

Invariant: the text depends on the bytes alone: not on locale, time zone, Python version or decimal context.

Numbers in plain or scientific form with all digits and their scale; float and double as the shortest text that reads
back to the same bits, "NaN", "Infinity", "-Infinity"; blob "0x…"; date "2024-01-31"; time "08:12:54.1235";
timestamp "2024-01-31T08:12:54.123Z"; duration "1mo2d3ns" as Cassandra prints it, "0s" for none. Dates and timestamps
outside the years 1 to 9999 are written as their number of days or milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Any, Final
from uuid import UUID

from casscade.cql.faults import number_out_of_range
from casscade.cql.scalars import (
    CODECS,
    EXACT,
    MAX_DECIMAL_BYTES,
    decode_date,
    decode_decimal,
    decode_duration,
    decode_time,
)

TextFunction = Callable[[bytes], str]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_FIRST_DAY: Final = date.min.toordinal() - _EPOCH_ORDINAL
_LAST_DAY: Final = date.max.toordinal() - _EPOCH_ORDINAL
_MILLISECONDS_PER_DAY: Final = 86_400_000
_NANOSECONDS_PER_SECOND: Final = 1_000_000_000
_MAPPED_PREFIX: Final = bytes(10) + b"\xff\xff"
_NORMAL_FLOAT_MIN: Final = 1.1754943508222875e-38
_FLOAT: Final = Struct(">f")
_SHORT_INTEGER_BYTES: Final = 256
"""Up to here `str(int)` is never refused by the interpreter's limit on digits (at least 640)."""

_TIME_UNITS: Final = (
    (3_600_000_000_000, "h"),
    (60_000_000_000, "m"),
    (1_000_000_000, "s"),
    (1_000_000, "ms"),
    (1_000, "us"),
    (1, "ns"),
)


def _of_number(decode: Callable[[bytes], Any], data: bytes) -> str:
    return str(decode(data))


def varint_text(data: bytes) -> str:
    """All digits; `BadDataError` (`number_out_of_range`) beyond 157,826 of them."""
    number = int.from_bytes(data, "big", signed=True)
    if len(data) <= _SHORT_INTEGER_BYTES:
        return str(number)
    if len(data) > MAX_DECIMAL_BYTES:
        raise number_out_of_range("varint")
    return EXACT.to_sci_string(Decimal(number))


def decimal_text(data: bytes) -> str:
    """All digits and the scale, as `BigDecimal.toString`: 1.50, 1E+3."""
    return EXACT.to_sci_string(decode_decimal(data))


def double_text(data: bytes) -> str:
    """The shortest text that reads back to the same double."""
    return _float_words(repr(CODECS["double"][0](data)))


def float_text(data: bytes) -> str:
    """The shortest text that reads back to the same float; fewer digits than the double of the same value has."""
    number: float = CODECS["float"][0](data)
    if number != number or number in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN is not itself
        return _float_words(repr(number))
    first = 6 if abs(number) >= _NORMAL_FLOAT_MIN else 1
    for digits in range(first, 9):
        text = f"{number:.{digits}g}"
        if float(text) < 3.5e38 and _FLOAT.pack(float(text)) == data:
            return repr(float(text))
    return repr(float(f"{number:.9g}"))


def _float_words(text: str) -> str:
    if text == "nan":
        return "NaN"
    return text.replace("inf", "Infinity")


def boolean_text(data: bytes) -> str:
    """true or false."""
    return "true" if CODECS["boolean"][0](data) else "false"


def blob_text(data: bytes) -> str:
    """0x and lower-case digits."""
    return "0x" + data.hex()


def uuid_text(data: bytes) -> str:
    """Lower case, with hyphens."""
    value: UUID = CODECS["uuid"][0](data)
    return str(value)


def inet_text(data: bytes) -> str:
    """RFC 5952; an IPv4-mapped address as ::ffff:192.0.2.1, as PostgreSQL prints it."""
    address: IPv4Address | IPv6Address = CODECS["inet"][0](data)
    if data.startswith(_MAPPED_PREFIX):
        return "::ffff:" + str(IPv4Address(data[12:]))
    return str(address)


def date_text(data: bytes) -> str:
    """ISO 8601, or the number of days."""
    days = decode_date(data)
    if _FIRST_DAY <= days <= _LAST_DAY:
        return date.fromordinal(_EPOCH_ORDINAL + days).isoformat()
    return str(days)


def timestamp_text(data: bytes) -> str:
    """ISO 8601 in UTC with milliseconds, or the number of milliseconds."""
    milliseconds: int = CODECS["timestamp"][0](data)
    if _FIRST_DAY * _MILLISECONDS_PER_DAY <= milliseconds < (_LAST_DAY + 1) * _MILLISECONDS_PER_DAY:
        moment = _EPOCH + timedelta(milliseconds=milliseconds)
        return moment.isoformat(timespec="milliseconds")[:-6] + "Z"
    return str(milliseconds)


def time_text(data: bytes) -> str:
    """HH:MM:SS and as many digits of the second as there are."""
    seconds, nanoseconds = divmod(decode_time(data), _NANOSECONDS_PER_SECOND)
    minutes, second = divmod(seconds, 60)
    text = f"{minutes // 60:02}:{minutes % 60:02}:{second:02}"
    return f"{text}.{nanoseconds:09}".rstrip("0") if nanoseconds else text


def duration_text(data: bytes) -> str:
    """As `Duration.toString`: years, months, days and time units, those that are 0 left out; 0s if all are."""
    months, days, nanoseconds = decode_duration(data)
    text = "-" if min(months, days, nanoseconds) < 0 else ""
    years, months = divmod(abs(months), 12)
    for count, unit in ((years, "y"), (months, "mo"), (abs(days), "d")):
        if count:
            text += f"{count}{unit}"
    rest = abs(nanoseconds)
    for size, unit in _TIME_UNITS:
        count, rest = divmod(rest, size)
        if count:
            text += f"{count}{unit}"
    return text or "0s"


def _empty_text(_data: bytes) -> str:
    return ""


SCALAR_TEXTS: Final[dict[str, TextFunction]] = {
    "ascii": CODECS["ascii"][0],
    "bigint": partial(_of_number, CODECS["bigint"][0]),
    "blob": blob_text,
    "boolean": boolean_text,
    "counter": partial(_of_number, CODECS["counter"][0]),
    "custom": blob_text,
    "date": date_text,
    "decimal": decimal_text,
    "double": double_text,
    "duration": duration_text,
    "empty": _empty_text,
    "float": float_text,
    "inet": inet_text,
    "int": partial(_of_number, CODECS["int"][0]),
    "smallint": partial(_of_number, CODECS["smallint"][0]),
    "text": CODECS["text"][0],
    "time": time_text,
    "timestamp": timestamp_text,
    "timeuuid": uuid_text,
    "tinyint": partial(_of_number, CODECS["tinyint"][0]),
    "uuid": uuid_text,
    "varint": varint_text,
}
"""The text of every type without parameters, by its name; called with at least one byte, except for strings."""
