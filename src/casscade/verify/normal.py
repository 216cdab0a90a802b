"""The normal forms in which values of Cassandra and of PostgreSQL are compared.

Invariant: nothing here uses the codecs of the loader; single values are decoded by the two drivers, so that an error
of a codec shows as a difference.

A value of Cassandra is taken from the bytes on the wire to a *whole* form without loss, then to what its column can
show. Per type:

- integers, uuid, blob, boolean, inet: equal. text: U+0000 is U+FFFD. decimal: digits and scale; a negative scale is 0
- float, double: bits; all NaNs are one. In jsonb 0 has no sign
- date, timestamp beyond PostgreSQL's range: infinity. time, duration: cut off to microseconds
- numbers that numeric does not hold, and the empty value of anything but text and blob: null
- in jsonb: compared by structure and by type, with all digits of times and durations; the fields that a short tuple
  lacks are null
- array, composite: element by element, field by field, each as a column of its type
- text form: what its text says, jsonb apart from numbers' limits; bytea: the bytes; bigint: the number; pgvector: the
  elements, or null where one is not finite
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal
from ipaddress import ip_address
from math import isfinite
from typing import Any, Final

from cassandra import cqltypes
from cassandra.marshal import int64_unpack, uvint_unpack

from casscade.cql.types import CqlType
from casscade.schema.pg_types import PgType, map_column

_PROTOCOL: Final = 5
Key = tuple[Any, ...]
NAN: Final = "NaN"
INFINITY: Final = "infinity"
MINUS_INFINITY: Final = "-infinity"

# PostgreSQL: date from 4714-11-24 BC to 5874897-12-31, timestamptz from there to 294276-12-31 23:59:59.999999.
_DAYS_MIN: Final = -2_440_588
_DAYS_MAX: Final = 2_145_042_905
_MILLIS_MIN: Final = -210_866_803_200_000
_MILLIS_MAX: Final = 9_224_318_015_999_999
# What the loader shows of numbers: see docs/types.md; jsonb is bounded by numeric itself.
_NUMBER_BYTES_MAX: Final = 1750
_SCALE_MAX: Final = 16_383
_SCALE_MIN: Final = -4_200
_JSON_DIGITS_MAX: Final = 131_072

_WITH_EMPTY: Final = frozenset({"ascii", "text", "blob", "custom"})
_FLOATS: Final = frozenset({"float", "double"})
_TEXTS: Final = frozenset({"ascii", "text"})
_COMPOSED: Final = frozenset({"list", "set", "map", "tuple", "udt", "vector"})


class NotShownError(Exception):
    """The value has no form in jsonb, so its column is null."""


def whole_form(type_: CqlType, data: bytes) -> Any:
    """A simple value without loss, by the driver's own decoding; None for an empty value that means nothing."""
    name = type_.name
    if name in {"custom", "blob"}:
        return data
    if not data and name not in _WITH_EMPTY:
        return None
    if name == "timestamp":
        return int64_unpack(data)  # the driver's datetime ends with the year 9999
    value = cqltypes._cqltypes[name].deserialize(data, _PROTOCOL)
    match name:
        case "date":
            return value.days_from_epoch
        case "time":
            return value.nanosecond_time
        case "duration":
            return (value.months, value.days, value.nanoseconds)
        case "inet":
            return ip_address(value)
        case _:
            return value


def cassandra_form(type_: CqlType, data: bytes | None, pg: PgType | None = None) -> Any:
    """What a column of PostgreSQL, of the type `pg` or else of the default one, should show for a value's bytes."""
    if data is None:
        return None
    pg = pg or map_column(type_)
    match pg.form:
        case "plain":
            return _plain_form(type_, data)
        case "bytea":
            return data
        case "bigint":
            return int64_unpack(data) if len(data) == 8 else None
        case "array":
            parts = vector_parts(type_, data) if type_.name == "vector" else _collection_parts(data, 1)
            return tuple(None if part is None else _plain_form(type_.args[0], part) for part in parts)
        case "vector":
            values = [whole_form(type_.args[0], part) for part in vector_parts(type_, data)]
            return tuple(map(float_form, values)) if all(map(isfinite, values)) else None
        case "composite":
            return _composite_form(type_, data, pg) if data else None
        case "text" if type_.name not in _COMPOSED:
            whole = whole_form(type_, data)
            return None if whole is None else key_leaf(type_, whole)
    try:
        return json_form_of(type_, data, key=pg.form == "text")
    except NotShownError:
        return None


def _composite_form(type_: CqlType, data: bytes, pg: PgType) -> Any:
    fields = _field_parts(data)
    fields += [None] * (len(type_.args) - len(fields))
    named = zip(type_.args, fields, pg.fields, strict=True)
    return tuple(cassandra_form(arg, part, field_type) for arg, part, (_, field_type) in named)


def _plain_form(type_: CqlType, data: bytes) -> Any:
    """What a column of a simple type should show."""
    if type_.name in {"varint", "decimal"} and len(data) > _NUMBER_BYTES_MAX:
        return None
    whole = whole_form(type_, data)
    return None if whole is None else shown_form(type_, whole)


def shown_form(type_: CqlType, whole: Any) -> Any:
    """The form of a simple column for a whole form."""
    match type_.name:
        case "ascii" | "text":
            return whole.replace("\x00", "�")
        case "float" | "double":
            return float_form(whole)
        case "decimal":
            return _decimal_form(whole, _SCALE_MIN)
        case "date":
            return _bounded(whole, _DAYS_MIN, _DAYS_MAX, 1)
        case "timestamp":
            return _bounded(whole, _MILLIS_MIN, _MILLIS_MAX, 1000)
        case "time":
            return whole // 1000
        case "duration":
            months, days, nanos = whole
            return (months, days, abs(nanos) // 1000 * (1 if nanos >= 0 else -1))
        case _:
            return whole


def float_form(value: float) -> Any:
    """The bits of a float, as a double; all NaNs are one."""
    return NAN if value != value else struct.pack(">d", value)  # noqa: PLR0124 - NaN is not itself


def _decimal_form(value: Decimal, scale_min: int) -> Any:
    scale = -int(value.as_tuple().exponent)
    if scale > _SCALE_MAX or scale < scale_min:
        return None
    return (Decimal(int(value)) if scale < 0 else value).as_tuple()


def _bounded(value: int, low: int, high: int, factor: int) -> Any:
    if low <= value <= high:
        return value * factor
    return INFINITY if value > high else MINUS_INFINITY


def json_form_of(type_: CqlType, data: bytes | None, *, key: bool = False) -> Any:
    """The form inside jsonb of a value's bytes; raises NotShownError when jsonb can't hold it.

    `key` tells that it is text, as within the key of a map: the sign of 0 and the scale of decimals stay.
    """
    if data is None or (not data and type_.name not in _WITH_EMPTY):
        return None
    match type_.name:
        case "list" | "set":
            return tuple(json_form_of(type_.args[0], part, key=key) for part in _collection_parts(data, 1))
        case "map":
            parts = _collection_parts(data, 2)
            keys = [_json_key_of(type_.args[0], part) for part in parts[::2]]
            if len(set(keys)) < len(keys):
                raise NotShownError
            values = [json_form_of(type_.args[1], part, key=key) for part in parts[1::2]]
            return frozenset(zip(keys, values, strict=True))
        case "tuple" | "udt":
            fields = _field_parts(data)
            fields += [None] * (len(type_.args) - len(fields))
            return tuple(json_form_of(arg, part, key=key) for arg, part in zip(type_.args, fields, strict=True))
        case "vector":
            return tuple(json_form_of(type_.args[0], part, key=key) for part in vector_parts(type_, data))
        case _:
            whole = whole_form(type_, data)
            return _text_leaf(type_, whole) if key else json_leaf(type_, whole)


def json_leaf(type_: CqlType, whole: Any) -> Any:
    """The form inside jsonb of a simple value."""
    if whole is None:
        return None
    if type_.name in _TEXTS:
        return whole.replace("\x00", "�")
    if type_.name in _FLOATS:
        return float_form(whole + 0.0 if whole else 0.0)
    if type_.name == "varint" and abs(whole) >= 10**_JSON_DIGITS_MAX:
        raise NotShownError
    if type_.name == "decimal":
        if not whole and int(whole.as_tuple().exponent) > 0:
            return Decimal(0).as_tuple()
        if whole.adjusted() >= _JSON_DIGITS_MAX or -int(whole.as_tuple().exponent) > _SCALE_MAX:
            raise NotShownError
        return _decimal_form(whole, -_JSON_DIGITS_MAX)
    return whole


def _json_key_of(type_: CqlType, data: bytes | None) -> Any:
    """The form of a map's key: its text keeps the sign of 0 and the scale of a decimal."""
    if type_.name in _COMPOSED:
        return json_form_of(type_, data, key=True)
    whole = None if data is None else whole_form(type_, data)
    return key_leaf(type_, whole)


def key_leaf(type_: CqlType, whole: Any) -> Any:
    """The form of a simple key of a map."""
    if whole is None:
        return None
    if type_.name in _FLOATS:
        return float_form(whole)
    return whole.as_tuple() if type_.name == "decimal" else json_leaf(type_, whole)


def _text_leaf(type_: CqlType, whole: Any) -> Any:
    """The form of a simple value within JSON that is text; raises NotShownError as `json_leaf` does.

    JSON writes 0 without an exponent above 0.
    """
    json_leaf(type_, whole)
    form = key_leaf(type_, whole)
    return (0, (0,), min(0, form.exponent)) if type_.name == "decimal" and whole is not None and not whole else form


def _collection_parts(data: bytes, parts_each: int) -> list[bytes | None]:
    """The elements of a serialized collection (native protocol, section 6)."""
    count = int.from_bytes(data[:4], "big", signed=True) * parts_each
    parts = _field_parts(data[4:])
    if len(parts) != count:
        raise ValueError("a collection of Cassandra does not hold as many elements as it says")
    return parts


def _field_parts(data: bytes) -> list[bytes | None]:
    """Values with their lengths before them, to the end."""
    parts: list[bytes | None] = []
    offset = 0
    while offset < len(data):
        length = int.from_bytes(data[offset : offset + 4], "big", signed=True)
        offset += 4
        parts.append(None if length < 0 else data[offset : offset + length])
        offset += max(length, 0)
    return parts


def vector_parts(type_: CqlType, data: bytes) -> list[bytes]:
    """The elements of a vector: of fixed length, or each with an unsigned vint before it."""
    length = type_.args[0].fixed_length
    if length >= 0:
        return [data[offset : offset + length] for offset in range(0, len(data), length)]
    parts = []
    offset = 0
    while offset < len(data):
        size, used = uvint_unpack(data[offset:])
        offset += used
        parts.append(data[offset : offset + size])
        offset += size
    return parts


def key_form(type_: CqlType, data: bytes | None, *, clustering: bool = False) -> Any:
    """The form of a natural key's value, or None when PostgreSQL has no key that is exactly this one.

    Such a row can't be there: the loader sets it aside as a dead letter (`key_not_representable`). In a `clustering`
    Cassandra holds some values of different bytes to be one, and any of them will do.
    """
    if data is None or (not data and type_.name not in _WITH_EMPTY):
        return None
    form = cassandra_form(type_, data)
    whole: Callable[[], Any] = lambda: whole_form(type_, data)  # noqa: E731
    match type_.name:
        case "ascii" | "text":
            return None if b"\x00" in data else form
        case "float" | "double":
            other_nan = form == NAN and data not in (b"\x7f\xc0\x00\x00", b"\x7f\xf8" + bytes(6))
            return None if (whole() == 0 and data[0]) or (other_nan and not clustering) else form
        case "time":
            return form if whole() % 1000 == 0 else None
        case "date" | "timestamp":
            return None if form in (INFINITY, MINUS_INFINITY) else form
        case "boolean":
            return form if clustering or data in (b"\x00", b"\x01") else None
        case "decimal" if clustering:
            return None if form is None else whole()
        case "decimal":
            digits, exponent = whole().as_tuple()[1:]
            exact = whole().as_tuple() == form and (exponent == 0 or digits[-1] != 0)
            # 1.0 and 1.00 would be one key in PostgreSQL.
            return whole() if exact else None
        case _:
            return form
