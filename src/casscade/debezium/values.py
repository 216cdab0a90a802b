"""Values as the JSON converter writes them, to the bytes that Cassandra stores.

Invariant: the result is exact or there is none. What the connector has rounded, cut or made ambiguous raises
`InexactError`; what is no value of the type raises `BadDataError`. Sets and maps come in the order of a Java hash
table and are put into Cassandra's.

| CQL | JSON |
|---|---|
| text, ascii | string |
| tinyint, smallint, int, bigint | number |
| boolean | true, false |
| float, double | number, or "NaN", "Infinity", "-Infinity" |
| blob | base64 |
| decimal | string, or {scale, value in base64}; a number has been rounded |
| varint | string of digits; a number may have been cut to 64 bits |
| timestamp, date, time | milliseconds since 1970, days since 1970, nanoseconds since midnight |
| uuid, timeuuid | string |
| inet | "/address", or "name/address" |
| duration | nanoseconds, with months of a mean length: never exact |
| list, set, vector | array |
| map | object where its keys are strings, else array of pairs |
| tuple | object with field1, field2, … |
| UDT | object |
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from casscade.cql.elements import join_collection, join_tuple, join_vector
from casscade.cql.faults import unencodable
from casscade.cql.order import order_key
from casscade.cql.scalars import CODECS, MAX_DECIMAL_BYTES, encode_decimal, encode_inet, encode_varint
from casscade.cql.types import CqlType
from casscade.cql.values import TYPE_CACHE_SIZE

Reader = Callable[[Any], bytes]

_DECIMAL: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,10})?\Z")
_VARINT: Final = re.compile(r"-?[0-9]+\Z")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_FLOAT_WORDS: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
# As many digits as the longest number that is decoded has.
_DIGITS_MAX: Final = int(MAX_DECIMAL_BYTES * 2.408)


class InexactError(Exception):
    """The event does not hold the exact value, which only Cassandra can tell."""


@lru_cache(maxsize=TYPE_CACHE_SIZE)
def reader(cql_type: CqlType) -> Reader:
    """The function from a JSON value that is not null to the bytes of a `cql_type`.

    It raises `InexactError`, or `BadDataError` (`value_unencodable`).
    """
    name = cql_type.name
    if name in ("list", "set"):
        return _array_reader(cql_type)
    if name == "map":
        return _map_reader(cql_type)
    if name == "vector":
        return _vector_reader(cql_type)
    if name == "tuple":
        return _fields_reader(cql_type, tuple(f"field{i + 1}" for i in range(len(cql_type.args))))
    if name == "udt":
        return _fields_reader(cql_type, cql_type.field_names)
    return _SCALARS.get(name) or CODECS[name][1]


def _array_reader(cql_type: CqlType) -> Reader:
    name = cql_type.name
    element = reader(cql_type.args[0])
    order = order_key(cql_type.args[0]) if name == "set" else None

    def read_array(value: Any) -> bytes:
        parts = [element(_present(item, name)) for item in _array(value, name)]
        if order is not None:
            parts = sorted(dict.fromkeys(parts), key=order)
        return join_collection(parts, 1, name)

    return read_array


def _map_reader(cql_type: CqlType) -> Reader:
    key, item = (reader(arg) for arg in cql_type.args)
    order = order_key(cql_type.args[0])

    def read_map(value: Any) -> bytes:
        pairs = list(value.items()) if isinstance(value, dict) else _array(value, "map")
        entries: dict[bytes, bytes] = {}
        for pair in pairs:
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise unencodable("map", "an object or an array of pairs was expected")
            entries[key(_present(pair[0], "map"))] = item(_present(pair[1], "map"))
        parts = [part for name in sorted(entries, key=order) for part in (name, entries[name])]
        return join_collection(parts, 2, "map")

    return read_map


def _vector_reader(cql_type: CqlType) -> Reader:
    element = reader(cql_type.args[0])

    def read_vector(value: Any) -> bytes:
        items = _array(value, "vector")
        if len(items) != cql_type.dimension:
            raise unencodable("vector", f"{cql_type.dimension} elements were expected")
        parts = [element(_present(item, "vector")) for item in items]
        return join_vector(parts, cql_type.args[0].fixed_length)

    return read_vector


def _fields_reader(cql_type: CqlType, names: tuple[str, ...]) -> Reader:
    fields = [(name, reader(arg)) for name, arg in zip(names, cql_type.args, strict=True)]
    known = frozenset(names)

    def read_fields(value: Any) -> bytes:
        if not isinstance(value, dict) or not known >= value.keys():
            raise unencodable(cql_type.name, "an object with the type's fields was expected")
        items = [(value.get(name), field) for name, field in fields]
        return join_tuple([None if item is None else field(item) for item, field in items], cql_type.name)

    return read_fields


def _array(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise unencodable(name, "an array was expected")
    return value


def _present(item: Any, name: str) -> Any:
    if item is None:
        raise unencodable(name, "an element is null")
    return item


def _base64(value: Any, name: str) -> bytes:
    if not isinstance(value, str):
        raise unencodable(name, "base64 was expected")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise unencodable(name, "base64 was expected") from None


def _read_blob(value: Any) -> bytes:
    return _base64(value, "blob")


def _read_decimal(value: Any) -> bytes:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise InexactError
    if isinstance(value, dict):
        scale = value.get("scale")
        unscaled = _base64(value.get("value"), "decimal")
        if not isinstance(scale, int) or isinstance(scale, bool) or not -(1 << 31) <= scale < 1 << 31:
            raise unencodable("decimal", "a scale of 32 bits was expected")
        return scale.to_bytes(4, "big", signed=True) + encode_varint(int.from_bytes(unscaled, "big", signed=True))
    if not isinstance(value, str) or len(value) > _DIGITS_MAX or _DECIMAL.match(value) is None:
        raise unencodable("decimal", "a string of digits was expected")
    try:
        return encode_decimal(Decimal(value))
    except InvalidOperation:
        raise unencodable("decimal", "its scale does not fit 32 bits") from None


def _read_varint(value: Any) -> bytes:
    if isinstance(value, int) and not isinstance(value, bool):
        raise InexactError
    if not isinstance(value, str) or len(value) > _DIGITS_MAX or _VARINT.match(value) is None:
        raise unencodable("varint", "a string of digits was expected (varint.handling.mode: string)")
    return encode_varint(int(Decimal(value)))


def _read_uuid(value: Any) -> bytes:
    if not isinstance(value, str) or _UUID.match(value) is None:
        raise unencodable("uuid", "a string with a UUID was expected")
    return UUID(value).bytes


def _read_inet(value: Any) -> bytes:
    if not isinstance(value, str):
        raise unencodable("inet", "a string was expected")
    try:
        return encode_inet(ipaddress.ip_address(value.rpartition("/")[2]))
    except ValueError:
        raise unencodable("inet", "an IP address was expected") from None


def _floating(name: str) -> Reader:
    encode = CODECS[name][1]

    def read_floating(value: Any) -> bytes:
        return encode(_FLOAT_WORDS.get(value, value) if isinstance(value, str) else value)

    return read_floating


def _read_inexact(_value: Any) -> bytes:
    raise InexactError


_SCALARS: Final[dict[str, Reader]] = {
    "blob": _read_blob,
    "custom": _read_inexact,
    "decimal": _read_decimal,
    "double": _floating("double"),
    "duration": _read_inexact,
    "float": _floating("float"),
    "inet": _read_inet,
    "timeuuid": _read_uuid,
    "uuid": _read_uuid,
    "varint": _read_varint,
}
