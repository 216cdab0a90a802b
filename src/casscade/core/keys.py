"""Serialized keys and their parts.

Invariant: joining what was split gives the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final


def split_partition_key(key: bytes, columns: int) -> list[bytes]:
    """The values of a serialized partition key (`CompositeType` when there are several columns)."""
    if columns == 1:
        return [key]
    values: list[bytes] = []
    offset = 0
    while offset < len(key):
        length = int.from_bytes(key[offset : offset + 2], "big")
        values.append(key[offset + 2 : offset + 2 + length])
        offset += length + 3
    return values


def join_partition_key(values: Sequence[bytes]) -> bytes:
    """The inverse of `split_partition_key`."""
    if len(values) == 1:
        return values[0]
    return b"".join([len(value).to_bytes(2, "big") + value + b"\x00" for value in values])


class Canonical:
    """Maps all serializations of one type that Cassandra holds to be equal to one of them."""

    def of(self, value: bytes) -> bytes:
        """The canonical serialization of `value`; bytes that are no value of the type come back unchanged."""
        raise NotImplementedError


def integer_bytes(number: int) -> bytes:
    """The shortest two's complement of `number`, as Java's `BigInteger.toByteArray` (at least one byte)."""
    return number.to_bytes((number + (number < 0)).bit_length() // 8 + 1, "big", signed=True)


# Longer decimals are left as they are: far beyond any key, and stripping zeros takes quadratic time.
_DECIMAL_BYTES_MAX = 1024


def canonical_decimal(value: bytes) -> bytes:
    """The shortest of all decimals that are equal to `value` (2.70 and 2.7): i32 scale, two's complement.

    `DecimalType` compares by value, so clusterings that differ only in trailing zeros are one row. Values that are no
    decimal come back unchanged.
    """
    if not 5 <= len(value) <= _DECIMAL_BYTES_MAX:
        return value
    scale = int.from_bytes(value[:4], "big", signed=True)
    unscaled = int.from_bytes(value[4:], "big", signed=True)
    if unscaled == 0:
        return bytes(5)
    while unscaled % 10 == 0 and scale > -(1 << 31):
        unscaled //= 10
        scale -= 1
    return scale.to_bytes(4, "big", signed=True) + integer_bytes(unscaled)


def canonical_key(clustering: Sequence[bytes | None], loose: Sequence[Canonical | None]) -> bytes:
    """A row's key in a table with clustering columns of which equal values may differ in their bytes.

    `loose` has an entry for each clustering column, None where equal values have equal bytes. Equal rows have equal
    keys; `unpack_values` gives the canonical values back.
    """
    values: list[bytes | None] = []
    for value, canonical in zip(clustering, loose, strict=True):
        values.append(value if value is None or canonical is None else canonical.of(value))
    return pack_values(values)


# PostgreSQL's B-tree takes entries up to 2,704 bytes: two such keys, with what is around them, fit in.
KEY_FIELD_BYTES_MAX: Final = 1024


def key_field(key: bytes, limit: int = KEY_FIELD_BYTES_MAX) -> bytes:
    """A key as an exact key column holds it: itself, or, beyond `limit` bytes, its beginning and a digest.

    Equal fields mean equal keys: a longer key becomes `limit` + 32 bytes (BLAKE2b of the whole), which no shorter key
    is.
    """
    if len(key) <= limit:
        return key
    return key[:limit] + hashlib.blake2b(key, digest_size=32).digest()


def pack_values(values: Sequence[bytes | None]) -> bytes:
    """Values one after another, each behind its length as i32 (-1 for null)."""
    return b"".join(
        [b"\xff\xff\xff\xff" if value is None else len(value).to_bytes(4, "big") + value for value in values]
    )


def unpack_values(packed: bytes, offset: int = 0) -> list[bytes | None]:
    """The inverse of `pack_values`; ValueError when the bytes end too early."""
    values: list[bytes | None] = []
    while offset < len(packed):
        length = int.from_bytes(packed[offset : offset + 4], "big", signed=True)
        offset += 4
        if length < 0:
            values.append(None)
            continue
        if offset + length > len(packed):
            raise ValueError("packed values end too early")
        values.append(packed[offset : offset + length])
        offset += length
    return values
