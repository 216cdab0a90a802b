"""Taking nested values apart and putting them together: collections, tuples, UDTs and vectors.

Invariant: a value splits completely or raises `BadDataError`; counts are checked against the bytes before anything
of their size is built. A None among the parts is a null (a negative length); CQL makes them only in tuples and UDTs.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

from casscade.cql.faults import malformed, unencodable
from casscade.cql.vint import read_unsigned, write_unsigned

_INT: Final = Struct(">i")
_SHORT_OF: Final = "it ends too early"
_LONGER: Final = "bytes follow its last element"
_INT_MAX: Final = (1 << 31) - 1


def split_collection(data: bytes, parts_each: int, name: str) -> list[bytes | None]:
    """The elements of a frozen list or set (`parts_each` 1), or the keys and values of a map in turn (2).

    i32 count, then for each part i32 length and bytes (`CollectionSerializer`).
    """
    size = len(data)
    if size < 4:
        raise malformed(name, data, _SHORT_OF)
    unpack = _INT.unpack_from
    count: int = unpack(data, 0)[0] * parts_each
    if count < 0:
        raise malformed(name, data, "its element count is negative")
    if count > (size - 4) // 4:
        raise malformed(name, data, _SHORT_OF)
    parts: list[bytes | None] = []
    offset = 4
    for _ in range(count):
        if offset + 4 > size:
            raise malformed(name, data, _SHORT_OF)
        length: int = unpack(data, offset)[0]
        offset += 4
        if length < 0:
            parts.append(None)
            continue
        end = offset + length
        if end > size:
            raise malformed(name, data, _SHORT_OF)
        parts.append(data[offset:end])
        offset = end
    if offset != size:
        raise malformed(name, data, _LONGER)
    return parts


def split_tuple(data: bytes, field_count: int, name: str) -> list[bytes | None]:
    """The fields of a tuple or UDT, at most `field_count`; missing trailing fields are not in the result.

    For each field i32 length (-1: null) and bytes (`TupleType.split`).
    """
    size = len(data)
    unpack = _INT.unpack_from
    parts: list[bytes | None] = []
    offset = 0
    while offset < size:
        if len(parts) == field_count:
            raise malformed(name, data, "it has more fields than its type")
        if offset + 4 > size:
            raise malformed(name, data, _SHORT_OF)
        length: int = unpack(data, offset)[0]
        offset += 4
        if length < 0:
            parts.append(None)
            continue
        end = offset + length
        if end > size:
            raise malformed(name, data, _SHORT_OF)
        parts.append(data[offset:end])
        offset = end
    return parts


def split_vector(data: bytes, dimension: int, element_length: int) -> list[bytes]:
    """The elements of a vector: `dimension` values of `element_length` bytes, or for -1 each behind a vint length."""
    if element_length >= 0:
        if not data or len(data) != dimension * element_length:
            raise malformed("vector", data, f"{dimension} elements of {element_length} bytes were expected")
        return [data[i : i + element_length] for i in range(0, len(data), element_length)]
    size = len(data)
    if dimension > size:
        raise malformed("vector", data, _SHORT_OF)
    parts: list[bytes] = []
    offset = 0
    for _ in range(dimension):
        try:
            length, offset = read_unsigned(data, offset)
        except IndexError:
            raise malformed("vector", data, _SHORT_OF) from None
        end = offset + length
        if end > size:
            raise malformed("vector", data, _SHORT_OF)
        parts.append(data[offset:end])
        offset = end
    if offset != size:
        raise malformed("vector", data, _LONGER)
    return parts


def _with_length(part: bytes | None, name: str) -> bytes:
    if part is None:
        return b"\xff\xff\xff\xff"
    if len(part) > _INT_MAX:
        raise unencodable(name, "an element has more than 2^31 - 1 bytes")
    return _INT.pack(len(part)) + part


def join_collection(parts: Sequence[bytes | None], parts_each: int, name: str) -> bytes:
    """The inverse of `split_collection`."""
    return _INT.pack(len(parts) // parts_each) + b"".join([_with_length(part, name) for part in parts])


def join_tuple(parts: Sequence[bytes | None], name: str) -> bytes:
    """The inverse of `split_tuple`."""
    return b"".join([_with_length(part, name) for part in parts])


def join_vector(parts: Sequence[bytes], element_length: int) -> bytes:
    """The inverse of `split_vector`."""
    if element_length >= 0:
        return b"".join(parts)
    return b"".join([write_unsigned(len(part)) + part for part in parts])
