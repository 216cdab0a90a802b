"""The order of values: keys that compare as Cassandra's comparator of the type compares the bytes.

Invariant: for values a and b of one type, `order_key(t)(a) < order_key(t)(b)` exactly if the type's `compare` says
so, and equal keys mean that `compare` returns 0. Empty values come first.

A key is an int or float, bytes, a str (reversed bytes), a Decimal or a tuple of keys, so that comparing runs in C;
keys of one type and direction compare with each other, and with an `Edge`, and with nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import Any, Final

from casscade.core.errors import InvariantError
from casscade.cql.elements import split_collection, split_tuple, split_vector
from casscade.cql.faults import malformed
from casscade.cql.scalars import decode_boolean, decode_decimal, decode_varint
from casscade.cql.types import MARSHAL_PACKAGE, CqlType
from casscade.cql.values import TYPE_CACHE_SIZE

KeyFunction = Callable[[bytes], Any]


class Edge:
    """A key below or above all keys of values; edges among themselves compare by `rank` (negative: below)."""

    __slots__ = ("rank",)

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def _rank_of(self, other: object) -> int:
        return other.rank if isinstance(other, Edge) else 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Edge) and self.rank == other.rank

    def __hash__(self) -> int:
        return hash((Edge, self.rank))

    def __lt__(self, other: object) -> bool:
        return self.rank < self._rank_of(other)

    def __gt__(self, other: object) -> bool:
        return self.rank > self._rank_of(other)

    def __le__(self, other: object) -> bool:
        return self.rank <= self._rank_of(other)

    def __ge__(self, other: object) -> bool:
        return self.rank >= self._rank_of(other)

    def __repr__(self) -> str:
        return f"Edge({self.rank})"


NULL_KEY: Final = Edge(-1)
"""The key of a null: below every value, also where the order is reversed (`ClusteringComparator.compareComponent`)."""

_BELOW: Final = float("-inf")
# An int, or -inf. Not annotated as float: compiled code would turn the ints into floats, which drop bits above 2^53.
Number = Any
_FLIP_SIGNS: Final = bytes(i ^ 0x80 for i in range(256))
_INVERT: Final = bytes(255 - i for i in range(256))
_END_OF_REVERSED: Final = "\u0100"


@lru_cache(maxsize=TYPE_CACHE_SIZE)
def order_key(cql_type: CqlType, *, descending: bool = False) -> KeyFunction:
    """The function from value bytes to a key in the order of `cql_type`; `descending` reverses it (`ReversedType`).

    The function raises `BadDataError` (`value_malformed`) for bytes that are no value of the type. Types without an
    order known here (counter, custom classes but two) raise `InvariantError` at once: no such column can be a key.
    """
    ascending = _ascending(cql_type)
    if not descending:
        return ascending
    return lambda data: _reverse(ascending(data))


def _reverse(key: Any) -> Any:
    if isinstance(key, bytes):
        # Each byte inverted, and an end mark above all bytes, so that a prefix comes after what it begins.
        return key.translate(_INVERT).decode("latin-1") + _END_OF_REVERSED
    if isinstance(key, int | float):
        return -key
    if isinstance(key, Decimal):
        return key.copy_negate()
    return _Reversed(key)


class _Reversed:
    """A key of a nested value, the other way round."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reversed) and bool(self.key == other.key)

    def __hash__(self) -> int:
        return hash((_Reversed, self.key))

    def __lt__(self, other: object) -> bool:
        return bool(other.key < self.key) if isinstance(other, _Reversed) else NotImplemented

    def __gt__(self, other: object) -> bool:
        return bool(self.key < other.key) if isinstance(other, _Reversed) else NotImplemented

    def __le__(self, other: object) -> bool:
        return not self > other

    def __ge__(self, other: object) -> bool:
        return not self < other


def _ascending(cql_type: CqlType) -> KeyFunction:
    name = cql_type.name
    if name in ("list", "set", "map"):
        return _collection_key(cql_type)
    if name in ("tuple", "udt"):
        return _fields_key(cql_type)
    if name == "vector":
        return _vector_key(cql_type)
    scalar = _CUSTOM.get(cql_type.class_name) if name == "custom" else _SCALARS.get(name)
    if scalar is None:
        raise InvariantError(
            "type_unordered",
            f"the order of values of type {cql_type.cql()[:200]} is not known",
            hint="leave the table out of the configuration",
        )
    return scalar


def _collection_key(cql_type: CqlType) -> KeyFunction:
    """Element by element, a prefix first (`CollectionType.compareListOrSet`, `MapType.compareMaps`)."""
    functions = [order_key(arg) for arg in cql_type.args]
    name = cql_type.name
    parts_each = len(functions)

    def collection_key(data: bytes) -> tuple[Any, ...]:
        if not data:
            return ()
        parts = split_collection(data, parts_each, name)
        keys = [NULL_KEY if part is None else functions[i % parts_each](part) for i, part in enumerate(parts)]
        return (1, *keys)

    return collection_key


def _fields_key(cql_type: CqlType) -> KeyFunction:
    """Field by field, null first; missing trailing fields equal nulls (`TupleType.compareCustom`)."""
    functions = [order_key(arg) for arg in cql_type.args]
    count = len(functions)
    name = cql_type.name

    def fields_key(data: bytes) -> tuple[Any, ...]:
        if not data:
            return ()
        parts = split_tuple(data, count, name)
        while parts and parts[-1] is None:
            parts.pop()
        keys = [NULL_KEY if part is None else function(part) for function, part in zip(functions, parts, strict=False)]
        return (1, *keys)

    return fields_key


def _vector_key(cql_type: CqlType) -> KeyFunction:
    """Element by element (`VectorType.compareCustom`)."""
    function = order_key(cql_type.args[0])
    dimension, length = cql_type.dimension, cql_type.args[0].fixed_length

    def vector_key(data: bytes) -> tuple[Any, ...]:
        if not data:
            return ()
        return tuple([function(part) for part in split_vector(data, dimension, length)])

    return vector_key


def _bytes_key(data: bytes) -> bytes:
    """Unsigned bytes, a prefix first (`ComparisonType.BYTE_ORDER`)."""
    return data


def _sized_bytes_key(name: str, *lengths: int) -> KeyFunction:
    def sized_bytes_key(data: bytes) -> bytes:
        if data and len(data) not in lengths:
            raise malformed(name, data, f"{' or '.join(map(str, lengths))} bytes were expected")
        return data

    return sized_bytes_key


def _signed_key(name: str, form: str) -> KeyFunction:
    unpack = Struct(form).unpack

    def signed_key(data: bytes) -> Number:
        try:
            number: int = unpack(data)[0]
        except StructError:
            if not data:
                return _BELOW
            raise malformed(name, data, f"{Struct(form).size} byte(s) were expected") from None
        return number

    return signed_key


def _ieee_key(name: str, form: str, exponent_mask: int) -> KeyFunction:
    """As `Double.compare`: -0.0 below 0.0, NaN above all and equal to every NaN."""
    unpack = Struct(form).unpack
    sign = exponent_mask + (exponent_mask & -exponent_mask)
    nan_key = sign - 1

    def ieee_key(data: bytes) -> Number:
        try:
            bits: int = unpack(data)[0]
        except StructError:
            if not data:
                return _BELOW
            raise malformed(name, data, f"{Struct(form).size} bytes were expected") from None
        magnitude = bits & (sign - 1)
        if magnitude > exponent_mask:
            return nan_key
        return bits if bits < sign else -magnitude - 1

    return ieee_key


def _boolean_key(data: bytes) -> int:
    """False, then true, whichever byte it is (`BooleanType`)."""
    return int(decode_boolean(data)) if data else -1


def _varint_key(data: bytes) -> Number:
    """By number, whatever the padding (`IntegerType.compareIntegers`)."""
    return decode_varint(data) if data else _BELOW


_DECIMAL_BELOW: Final = Decimal("-Infinity")


def _decimal_key(data: bytes) -> Decimal:
    """By number: 1.0 equals 1.00 (`BigDecimal.compareTo`). Comparing Decimals looks at exponents first."""
    return decode_decimal(data) if data else _DECIMAL_BELOW


def _reordered_time(data: bytes) -> bytes:
    """The first 8 bytes of a version 1 UUID with the high bits of its time first (`reorderTimestampBytes`)."""
    return data[6:8] + data[4:6] + data[0:4]


def _check_uuid(name: str, data: bytes) -> None:
    if len(data) != 16:
        raise malformed(name, data, "16 bytes were expected")


def _uuid_key(data: bytes) -> bytes:
    """By version, then time (version 1) or bytes, then bytes (`UUIDType.compareCustom`)."""
    if not data:
        return b""
    _check_uuid("uuid", data)
    version = data[6] >> 4
    if version == 1:
        return b"\x01" + _reordered_time(data) + data[8:]
    return bytes((version,)) + data


def _timeuuid_key(data: bytes) -> bytes:
    """By time, then signed bytes (`AbstractTimeUUIDType.compareCustom`, which takes version 1 only)."""
    if not data:
        return b""
    _check_uuid("timeuuid", data)
    return _reordered_time(data) + data[8:].translate(_FLIP_SIGNS)


def _lexical_uuid_key(data: bytes) -> bytes:
    """As two signed 64-bit numbers (`java.util.UUID.compareTo`)."""
    if not data:
        return b""
    _check_uuid("LexicalUUIDType", data)
    return data[0:1].translate(_FLIP_SIGNS) + data[1:8] + data[8:9].translate(_FLIP_SIGNS) + data[9:]


def _empty_key(_data: bytes) -> int:
    """All are equal (`EmptyType`)."""
    return 0


_SCALARS: Final[dict[str, KeyFunction]] = {
    "ascii": _bytes_key,
    "bigint": _signed_key("bigint", ">q"),
    "blob": _bytes_key,
    "boolean": _boolean_key,
    "date": _sized_bytes_key("date", 4),
    "decimal": _decimal_key,
    "double": _ieee_key("double", ">Q", 0x7FF0_0000_0000_0000),
    "duration": _bytes_key,
    "empty": _empty_key,
    "float": _ieee_key("float", ">I", 0x7F80_0000),
    "inet": _sized_bytes_key("inet", 4, 16),
    "int": _signed_key("int", ">i"),
    "smallint": _signed_key("smallint", ">h"),
    "text": _bytes_key,
    "time": _sized_bytes_key("time", 8),
    "timestamp": _signed_key("timestamp", ">q"),
    "timeuuid": _timeuuid_key,
    "tinyint": _signed_key("tinyint", ">b"),
    "uuid": _uuid_key,
    "varint": _varint_key,
}
_CUSTOM: Final[dict[str, KeyFunction]] = {
    MARSHAL_PACKAGE + "DateType": _sized_bytes_key("DateType", 8),
    MARSHAL_PACKAGE + "LexicalUUIDType": _lexical_uuid_key,
}
