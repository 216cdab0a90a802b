"""Values of any type: bytes to Python objects and back.

Invariant: `decoder(t)` and `encoder(t)` are built once for a type and are inverse to each other on what Cassandra
writes; they raise nothing but `BadDataError`.

| CQL | Python |
|---|---|
| text, ascii | str |
| blob, custom | bytes |
| tinyint, smallint, int, bigint, varint, counter | int |
| decimal | decimal.Decimal, scale kept |
| float, double | float |
| boolean | bool |
| timestamp | int, milliseconds since 1970 |
| date | int, days since 1970-01-01 |
| time | int, nanoseconds since midnight |
| uuid, timeuuid | uuid.UUID |
| inet | ipaddress.IPv4Address, IPv6Address |
| duration | `Duration(months, days, nanoseconds)` |
| list, set, vector | list, in stored order |
| map | list of (key, value) |
| tuple | tuple, always as long as the type, None for null |
| UDT | dict of field name to value, always with all fields, None for null |

No bytes at all are a value of text, ascii, blob and custom types; for every other type they are the "empty" value
that old clients could write, and decode to None.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final
from uuid import UUID

from casscade.cql.elements import (
    join_collection,
    join_tuple,
    join_vector,
    split_collection,
    split_tuple,
    split_vector,
)
from casscade.cql.faults import unencodable
from casscade.cql.scalars import CODECS, Decoder, Duration, Encoder
from casscade.cql.types import CqlType

__all__ = ["Duration", "PythonValue", "decode", "decoder", "encode", "encoder"]

PythonValue = (
    None
    | str
    | bytes
    | bool
    | int
    | float
    | Decimal
    | UUID
    | IPv4Address
    | IPv6Address
    | Duration
    | list[Any]
    | tuple[Any, ...]
    | dict[str, Any]
)

EMPTY_IS_A_VALUE: Final = frozenset({"text", "ascii", "blob", "custom"})
TYPE_CACHE_SIZE: Final = 1024
"""Entries of each cache by type: more than the distinct column types of a large cluster, a few kB each."""


def decode(cql_type: CqlType, data: bytes) -> PythonValue:
    """The Python object for value bytes; `BadDataError` with code `value_malformed` if they are none of the type.

    A loop over many values takes `decoder(cql_type)` once instead.
    """
    value: PythonValue = decoder(cql_type)(data)
    return value


def encode(cql_type: CqlType, value: PythonValue) -> bytes:
    """The bytes that Cassandra stores for a Python object; `BadDataError` with code `value_unencodable` if none do.

    Sets and maps are written in the given order; Cassandra's is that of `order_key` of the element or key type.
    None is a null and has no bytes, except as a field of a tuple or UDT.
    """
    return encoder(cql_type)(value)


@lru_cache(maxsize=TYPE_CACHE_SIZE)
def decoder(cql_type: CqlType) -> Decoder:
    """The function from value bytes to a Python object of `cql_type`."""
    inner = _inner_decoder(cql_type)
    if cql_type.name in EMPTY_IS_A_VALUE:
        return inner

    def decode_or_none(data: bytes) -> Any:
        return inner(data) if data else None

    return decode_or_none


def _inner_decoder(cql_type: CqlType) -> Decoder:
    name = cql_type.name
    if name in ("list", "set"):
        element = decoder(cql_type.args[0])
        return lambda data: [None if part is None else element(part) for part in split_collection(data, 1, name)]
    if name == "map":
        return _map_decoder(decoder(cql_type.args[0]), decoder(cql_type.args[1]))
    if name == "vector":
        element = decoder(cql_type.args[0])
        dimension, length = cql_type.dimension, cql_type.args[0].fixed_length
        return lambda data: [element(part) for part in split_vector(data, dimension, length)]
    if name == "tuple":
        return _fields_decoder(cql_type)
    if name == "udt":
        fields = _fields_decoder(cql_type)
        names = cql_type.field_names
        return lambda data: dict(zip(names, fields(data), strict=True))
    return CODECS[name][0]


def _map_decoder(key: Decoder, value: Decoder) -> Decoder:
    def decode_map(data: bytes) -> list[tuple[Any, Any]]:
        parts = split_collection(data, 2, "map")
        return [
            (None if k is None else key(k), None if v is None else value(v))
            for k, v in zip(parts[::2], parts[1::2], strict=True)
        ]

    return decode_map


def _fields_decoder(cql_type: CqlType) -> Callable[[bytes], tuple[Any, ...]]:
    decoders = [decoder(arg) for arg in cql_type.args]
    count = len(decoders)
    name = cql_type.name

    def decode_fields(data: bytes) -> tuple[Any, ...]:
        parts = split_tuple(data, count, name)
        parts += [None] * (count - len(parts))
        return tuple(
            [None if p is None else field(p) for field, p in zip(decoders, parts, strict=True)],
        )

    return decode_fields


@lru_cache(maxsize=TYPE_CACHE_SIZE)
def encoder(cql_type: CqlType) -> Encoder:
    """The function from a Python object of `cql_type` to value bytes."""
    name = cql_type.name
    if name in ("list", "set"):
        return _list_encoder(name, encoder(cql_type.args[0]))
    if name == "map":
        return _map_encoder(encoder(cql_type.args[0]), encoder(cql_type.args[1]))
    if name == "vector":
        return _vector_encoder(cql_type)
    if name == "tuple":
        return _tuple_encoder(cql_type)
    if name == "udt":
        return _udt_encoder(cql_type)
    return CODECS[name][1]


def _list_encoder(name: str, element: Encoder) -> Encoder:
    def encode_list(value: Any) -> bytes:
        if not isinstance(value, list | tuple):
            raise unencodable(name, "a list was expected")
        return join_collection([element(item) for item in value], 1, name)

    return encode_list


def _map_encoder(key: Encoder, item: Encoder) -> Encoder:
    def encode_map(value: Any) -> bytes:
        if not isinstance(value, list | tuple):
            raise unencodable("map", "a list of pairs was expected")
        parts: list[bytes | None] = []
        for pair in value:
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise unencodable("map", "a list of pairs was expected")
            parts.append(key(pair[0]))
            parts.append(item(pair[1]))
        return join_collection(parts, 2, "map")

    return encode_map


def _vector_encoder(cql_type: CqlType) -> Encoder:
    element = encoder(cql_type.args[0])
    dimension, length = cql_type.dimension, cql_type.args[0].fixed_length

    def encode_vector(value: Any) -> bytes:
        if not isinstance(value, list | tuple) or len(value) != dimension:
            raise unencodable("vector", f"a list of {dimension} elements was expected")
        return join_vector([element(item) for item in value], length)

    return encode_vector


def _tuple_encoder(cql_type: CqlType) -> Encoder:
    encoders = [encoder(arg) for arg in cql_type.args]

    def encode_tuple(value: Any) -> bytes:
        if not isinstance(value, list | tuple) or len(value) > len(encoders):
            raise unencodable("tuple", f"a tuple of at most {len(encoders)} fields was expected")
        fields = zip(encoders, value, strict=False)
        return join_tuple([None if item is None else field(item) for field, item in fields], "tuple")

    return encode_tuple


def _udt_encoder(cql_type: CqlType) -> Encoder:
    encoders = dict(zip(cql_type.field_names, [encoder(arg) for arg in cql_type.args], strict=True))

    def encode_udt(value: Any) -> bytes:
        if not isinstance(value, dict) or not encoders.keys() >= value.keys():
            raise unencodable("udt", "a dict of the type's field names was expected")
        parts: list[bytes | None] = []
        for name, field in encoders.items():
            item = value.get(name)
            parts.append(None if item is None else field(item))
        return join_tuple(parts, "udt")

    return encode_udt
