"""varint and decimal to PostgreSQL's numeric, and back.

Invariant: `encode` accepts only canonical values (shortest two's complement, a scale that numeric keeps), so that
`decode` gives the same bytes again.

numeric in binary: int16 count of digits, int16 weight of the first, uint16 sign (0 or 0x4000), int16 display scale,
then the digits in base 10,000 (`numeric_recv`).
"""

from __future__ import annotations

import struct
from typing import Final

from casscade.core.keys import integer_bytes
from casscade.load.transcode import Codec

# Longer unscaled values are kept in the row's state and shown as NULL: about 4,200 decimal digits, far beyond money
# and physics, and short enough for quadratic conversion.
UNSCALED_BYTES_MAX: Final = 1750
SCALE_MAX: Final = 16_383
_NEGATIVE: Final = 0x4000


def pack_numeric(unscaled: int, scale: int) -> bytes:
    """The field of unscaled x 10^-scale, for 0 <= scale <= SCALE_MAX."""
    negative = unscaled < 0
    magnitude = -unscaled if negative else unscaled
    # base-10,000 digits are aligned at the decimal point: pad the fraction to a multiple of four places
    padding = -scale % 4
    magnitude *= 10**padding
    fraction_digits = (scale + padding) // 4
    digits: list[int] = []
    while magnitude:
        magnitude, digit = divmod(magnitude, 10_000)
        digits.append(digit)
    weight = len(digits) - 1 - fraction_digits
    digits.reverse()
    while digits and digits[-1] == 0:
        digits.pop()
    if not digits:
        weight = 0
        negative = False
    return struct.pack(f">hhHh{len(digits)}h", len(digits), weight, _NEGATIVE if negative else 0, scale, *digits)


def unpack_numeric(field: bytes) -> tuple[int, int]:
    """(unscaled value, display scale) of a finite numeric."""
    count, weight, sign, scale = struct.unpack_from(">hhHh", field)
    magnitude = 0
    for digit in struct.unpack_from(f">{count}h", field, 8):
        magnitude = magnitude * 10_000 + digit
    exponent = 4 * (weight - count + 1) + scale
    magnitude = magnitude * 10**exponent if exponent >= 0 else magnitude // 10**-exponent
    return (-magnitude if sign == _NEGATIVE else magnitude), scale


class VarintCodec(Codec):
    """varint as numeric."""

    def encode(self, value: bytes) -> bytes | None:
        if not value or len(value) > UNSCALED_BYTES_MAX:
            return None
        number = int.from_bytes(value, "big", signed=True)
        if len(value) > 1 and integer_bytes(number) != value:
            return None
        return pack_numeric(number, 0)

    def show(self, value: bytes) -> bytes | None:
        if not value or len(value) > UNSCALED_BYTES_MAX:
            return None
        return pack_numeric(int.from_bytes(value, "big", signed=True), 0)

    def decode(self, field: bytes) -> bytes:
        return integer_bytes(unpack_numeric(field)[0])


class DecimalCodec(Codec):
    """decimal as numeric; a negative scale (1E+3) is shown as the plain number."""

    def encode(self, value: bytes) -> bytes | None:
        if not 5 <= len(value) <= UNSCALED_BYTES_MAX:
            return None
        scale = int.from_bytes(value[:4], "big", signed=True)
        number = int.from_bytes(value[4:], "big", signed=True)
        if not 0 <= scale <= SCALE_MAX or integer_bytes(number) != value[4:]:
            return None
        return pack_numeric(number, scale)

    def show(self, value: bytes) -> bytes | None:
        if not 5 <= len(value) <= UNSCALED_BYTES_MAX:
            return None
        scale = int.from_bytes(value[:4], "big", signed=True)
        number = int.from_bytes(value[4:], "big", signed=True)
        if -4200 <= scale < 0:
            return pack_numeric(number * 10**-scale, 0)
        return pack_numeric(number, scale) if 0 <= scale <= SCALE_MAX else None

    def decode(self, field: bytes) -> bytes:
        unscaled, scale = unpack_numeric(field)
        return struct.pack(">i", scale) + integer_bytes(unscaled)
