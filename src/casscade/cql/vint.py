"""Variable-length integers inside values (`VIntCoding`).

Invariant: reading never goes beyond the data: a short or over-long input raises IndexError or ValueError here, which
the callers turn into `BadDataError` with the name of their type.

The number of leading 1 bits of the first byte is the number of bytes that follow; the other bits of the first byte
are the most significant ones.
"""

from __future__ import annotations


def read_unsigned(data: bytes, offset: int) -> tuple[int, int]:
    """The unsigned integer at `offset` (0 to 2^64 - 1) and the offset behind it; IndexError at the end of the data."""
    first = data[offset]
    if first < 0x80:
        return first, offset + 1
    extra = 8 - (first ^ 0xFF).bit_length()
    end = offset + 1 + extra
    if end > len(data):
        raise IndexError("the integer ends behind the data")
    head = first & (0xFF >> extra)
    return (head << (8 * extra)) | int.from_bytes(data[offset + 1 : end], "big"), end


def read_signed(data: bytes, offset: int) -> tuple[int, int]:
    """The zigzag-coded signed 64-bit integer at `offset` and the offset behind it; IndexError at the end."""
    coded, end = read_unsigned(data, offset)
    return (coded >> 1) ^ -(coded & 1), end


def write_unsigned(value: int) -> bytes:
    """The shortest form of 0 <= value < 2^64; ValueError beyond."""
    if not 0 <= value < 1 << 64:
        raise ValueError("not an unsigned 64-bit integer")
    extra = min(8, (max(value.bit_length(), 1) - 1) // 7)
    if extra == 0:
        return bytes((value,))
    head = 0xFF ^ (0xFF >> extra)
    if extra < 8:
        head |= value >> (8 * extra)
    return bytes((head,)) + (value & ((1 << (8 * extra)) - 1)).to_bytes(extra, "big")


def write_signed(value: int) -> bytes:
    """The zigzag form of a signed 64-bit integer; ValueError beyond."""
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("not a signed 64-bit integer")
    return write_unsigned((value << 1) if value >= 0 else ((-value << 1) - 1))
