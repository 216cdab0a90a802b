"""Value bytes of Cassandra to value bytes of PostgreSQL's binary formats, and back.

Invariant: what `encode` returns, `decode` turns back into exactly the bytes it came from. A value that PostgreSQL
can't hold exactly makes `encode` return None: then `show` gives the nearest thing that can be displayed (None for
NULL) and the loader keeps the original bytes in the row's state, so that nothing is lost.
"""

from __future__ import annotations

import struct
from typing import Final

from casscade.cql.vint import read_signed, write_signed

PG_EPOCH_DAYS: Final = 10957
PG_EPOCH_MILLIS: Final = 946_684_800_000
TIMESTAMP_MICROS_MIN: Final = -211_813_488_000_000_000
TIMESTAMP_MICROS_MAX: Final = 9_223_371_331_199_999_999
DATE_DAYS_MIN: Final = -2_451_545
DATE_DAYS_MAX: Final = 2_145_031_948
INT64_MAX: Final = (1 << 63) - 1
INT64_MIN: Final = -(1 << 63)

_Q: Final = struct.Struct(">q")
_I: Final = struct.Struct(">i")
_U: Final = struct.Struct(">I")
_INTERVAL: Final = struct.Struct(">qii")


class Codec:
    """One pair of formats. `encode` and `show` take the bytes of one CQL value, `decode` those of one field.

    `reads_back`: `decode` understands what `show` gives; else (jsonb, text form) the state keeps the bytes always.
    """

    reads_back: bool = True

    def encode(self, value: bytes) -> bytes | None:
        """The field, or None when PostgreSQL's type can't hold the value exactly."""
        raise NotImplementedError

    def show(self, value: bytes) -> bytes | None:  # noqa: ARG002 most types have nothing near to show
        """The nearest field for a value that `encode` refused; None for NULL."""
        return None

    def says_all(self, value: bytes) -> bool:  # noqa: ARG002 a value that was refused is not what is shown
        """Whether `show` tells all of a value that `encode` refused, though not its bytes (jsonb); else it is inexact.

        (`encode` refuses every value where the bytes can't be had back from the field.)
        """
        return False

    def decode(self, field: bytes) -> bytes:
        """The value whose encoding `field` is; for a field that `show` gave, a value that is shown as this field."""
        return field


class FixedCodec(Codec):
    """The same bytes on both sides: int, bigint, smallint, uuid, timeuuid, float, double."""

    def __init__(self, length: int) -> None:
        self.length: int = length

    def encode(self, value: bytes) -> bytes | None:
        return value if len(value) == self.length else None


class BlobCodec(Codec):
    """bytea: any bytes."""

    def encode(self, value: bytes) -> bytes | None:
        return value


class BooleanCodec(Codec):
    """Cassandra takes every non-zero byte as true; PostgreSQL gives 1 back."""

    def encode(self, value: bytes) -> bytes | None:
        return value if value in {b"\x00", b"\x01"} else None

    def show(self, value: bytes) -> bytes | None:
        return b"\x01" if len(value) == 1 else None


class TextCodec(Codec):
    """text in UTF-8; PostgreSQL refuses U+0000 and anything that is not UTF-8."""

    def encode(self, value: bytes) -> bytes | None:
        if not value.isascii():
            try:
                value.decode("utf-8")
            except UnicodeDecodeError:
                return None
        return None if b"\x00" in value else value

    def show(self, value: bytes) -> bytes | None:
        return value.decode("utf-8", "replace").replace("\x00", "�").encode()


class TinyintCodec(Codec):
    """tinyint as smallint."""

    def encode(self, value: bytes) -> bytes | None:
        if len(value) != 1:
            return None
        return (b"\xff" if value[0] & 0x80 else b"\x00") + value

    def decode(self, field: bytes) -> bytes:
        return field[1:]


class TimestampCodec(Codec):
    """Milliseconds since 1970 as timestamptz; beyond PostgreSQL's range infinity is shown."""

    def encode(self, value: bytes) -> bytes | None:
        if len(value) != 8:
            return None
        micros = (int.from_bytes(value, "big", signed=True) - PG_EPOCH_MILLIS) * 1000
        if TIMESTAMP_MICROS_MIN <= micros <= TIMESTAMP_MICROS_MAX:
            return micros.to_bytes(8, "big", signed=True)
        return None

    def show(self, value: bytes) -> bytes | None:
        if len(value) != 8:
            return None
        return _Q.pack(INT64_MIN if value[0] & 0x80 else INT64_MAX)

    def decode(self, field: bytes) -> bytes:
        return (int.from_bytes(field, "big", signed=True) // 1000 + PG_EPOCH_MILLIS).to_bytes(8, "big", signed=True)


class DateCodec(Codec):
    """Days with 1970-01-01 as 2^31, as date; beyond PostgreSQL's range infinity is shown."""

    def encode(self, value: bytes) -> bytes | None:
        if len(value) != 4:
            return None
        days = int.from_bytes(value, "big") - (1 << 31) - PG_EPOCH_DAYS
        return _I.pack(days) if DATE_DAYS_MIN <= days <= DATE_DAYS_MAX else None

    def show(self, value: bytes) -> bytes | None:
        if len(value) != 4:
            return None
        return b"\x7f\xff\xff\xff" if value[0] & 0x80 else b"\x80\x00\x00\x00"

    def decode(self, field: bytes) -> bytes:
        days = int.from_bytes(field, "big", signed=True)
        if days == 0x7FFFFFFF or days == -0x80000000:  # noqa: PLR1714 two comparisons of machine integers are quicker
            return b"\xff\xff\xff\xff" if days > 0 else b"\x00\x00\x00\x00"
        return _U.pack(days + PG_EPOCH_DAYS + (1 << 31))


class TimeCodec(Codec):
    """Nanoseconds since midnight as time, which has microseconds: the rest is cut off in what is shown."""

    def encode(self, value: bytes) -> bytes | None:
        if len(value) != 8:
            return None
        nanos = int.from_bytes(value, "big", signed=True)
        if nanos % 1000 or not 0 <= nanos < 86_400_000_000_000:
            return None
        return _Q.pack(nanos // 1000)

    def show(self, value: bytes) -> bytes | None:
        nanos = int.from_bytes(value, "big", signed=True)
        if len(value) != 8 or not 0 <= nanos < 86_400_000_000_000:
            return None
        return _Q.pack(nanos // 1000)

    def decode(self, field: bytes) -> bytes:
        return _Q.pack(int.from_bytes(field, "big", signed=True) * 1000)


class InetCodec(Codec):
    """4 or 16 address bytes as inet without a prefix."""

    def encode(self, value: bytes) -> bytes | None:
        if len(value) == 4:
            return b"\x02\x20\x00\x04" + value
        if len(value) == 16:
            return b"\x03\x80\x00\x10" + value
        return None

    def decode(self, field: bytes) -> bytes:
        return field[4:]


class DurationCodec(Codec):
    """Months, days and nanoseconds as interval, which has microseconds: the rest is cut off in what is shown."""

    def _parts(self, value: bytes) -> tuple[int, int, int, bool]:
        try:
            months, offset = read_signed(value, 0)
            days, offset = read_signed(value, offset)
            nanos, _ = read_signed(value, offset)
        except IndexError:
            return 0, 0, 0, False
        canonical = write_signed(months) + write_signed(days) + write_signed(nanos)
        return months, days, nanos, canonical == value

    def _field(self, months: int, days: int, nanos: int) -> bytes | None:
        if not (-(1 << 31) <= months < 1 << 31 and -(1 << 31) <= days < 1 << 31):
            return None
        return _INTERVAL.pack(abs(nanos) // 1000 * (1 if nanos >= 0 else -1), days, months)

    def encode(self, value: bytes) -> bytes | None:
        months, days, nanos, whole = self._parts(value)
        return self._field(months, days, nanos) if whole and nanos % 1000 == 0 else None

    def show(self, value: bytes) -> bytes | None:
        months, days, nanos, whole = self._parts(value)
        return self._field(months, days, nanos) if whole else None

    def decode(self, field: bytes) -> bytes:
        unpacked = _INTERVAL.unpack(field)
        micros: int = unpacked[0]
        days: int = unpacked[1]
        months: int = unpacked[2]
        return write_signed(months) + write_signed(days) + write_signed(micros * 1000)
