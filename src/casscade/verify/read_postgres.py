"""PostgreSQL's side of a comparison: what psycopg returns in normal form, and what it is sent.

Invariant: dates, timestamps and intervals come as the numbers that PostgreSQL holds, since Python's types are
narrower; everything else is decoded by psycopg itself.
"""

from __future__ import annotations

import json
import re
import struct
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import partial
from ipaddress import ip_address
from typing import Any, Final
from uuid import UUID

from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format
from psycopg.types.json import set_json_loads

from casscade.cql.types import CqlType
from casscade.verify.normal import (
    INFINITY,
    MINUS_INFINITY,
    float_form,
    is_json,
    is_real_array,
    json_leaf,
    key_leaf,
)

_EPOCH_DAYS: Final = 10_957
_EPOCH_MICROS: Final = 946_684_800_000_000
_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNIX_ORDINAL: Final = date(1970, 1, 1).toordinal()
_DURATION: Final = re.compile(r"(-?)((?:\d+(?:y|mo|d|h|ms|us|ns|m|s))+)")
_DURATION_PART: Final = re.compile(r"(\d+)(y|mo|d|h|ms|us|ns|m|s)")
_NANOS: Final = {"h": 3_600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


class Days(int):
    """A date as days since 1970, to be sent."""


class Micros(int):
    """A timestamptz as microseconds since 1970, to be sent."""


class _DaysDumper(Dumper):
    format = Format.BINARY
    oid = 1082

    def dump(self, obj: Any) -> Buffer:
        return struct.pack(">i", obj - _EPOCH_DAYS)


class _MicrosDumper(Dumper):
    format = Format.BINARY
    oid = 1184

    def dump(self, obj: Any) -> Buffer:
        return struct.pack(">q", obj - _EPOCH_MICROS)


class _DateLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> Any:
        days: int = struct.unpack(">i", data)[0]
        return _finite(days, 31, _EPOCH_DAYS)


class _TimestampLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> Any:
        micros: int = struct.unpack(">q", data)[0]
        return _finite(micros, 63, _EPOCH_MICROS)


class _IntervalLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> Any:
        micros, days, months = struct.unpack(">qii", data)
        return (months, days, micros)


def _finite(value: int, bits: int, epoch: int) -> Any:
    if value == (1 << bits) - 1:
        return INFINITY
    return MINUS_INFINITY if value == -(1 << bits) else value + epoch


def adapt(context: AdaptContext) -> None:
    """Teach a connection or cursor the loaders and dumpers of this module."""
    assert context.adapters is not None
    context.adapters.register_loader("date", _DateLoader)
    context.adapters.register_loader("timestamptz", _TimestampLoader)
    context.adapters.register_loader("interval", _IntervalLoader)
    context.adapters.register_dumper(Days, _DaysDumper)
    context.adapters.register_dumper(Micros, _MicrosDumper)
    set_json_loads(partial(json.loads, parse_float=Decimal, parse_int=Decimal), context)


def postgres_form(type_: CqlType, value: Any) -> Any:
    """The normal form of what psycopg returned for a column of `type_`."""
    if value is None:
        return None
    if is_real_array(type_):
        return tuple(float_form(element) for element in value)
    if is_json(type_):
        return json_form(type_, value)
    match type_.name:
        case "float" | "double":
            return float_form(value)
        case "varint":
            return int(value)
        case "decimal":
            return value.as_tuple()
        case "time":
            return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
        case _:
            return value


def parameter(type_: CqlType, form: Any) -> Any:
    """The parameter that sends a key's normal form to PostgreSQL."""
    match type_.name:
        case "float" | "double":
            return float("nan") if form == "NaN" else struct.unpack(">d", form)[0]
        case "varint" | "decimal":
            return Decimal(form)
        case "date":
            return Days(form)
        case "timestamp":
            return Micros(form)
        case "time":
            seconds, micros = divmod(form, 1_000_000)
            return time(seconds // 3600, seconds // 60 % 60, seconds % 60, micros)
        case _:
            return form


def json_form(type_: CqlType, value: Any) -> Any:
    """The form of a value inside jsonb; ValueError and TypeError for JSON that the type never has."""
    if value is None:
        return None
    match type_.name:
        case "list" | "set" | "vector":
            return tuple(json_form(type_.args[0], element) for element in value)
        case "map":
            return frozenset((_key_form(type_.args[0], key), json_form(type_.args[1], v)) for key, v in value.items())
        case "tuple":
            return tuple(json_form(arg, element) for arg, element in zip(type_.args, value, strict=True))
        case "udt":
            if value.keys() != set(type_.field_names):
                raise ValueError("a UDT has other fields")
            fields = zip(type_.args, type_.field_names, strict=True)
            return tuple(json_form(arg, value[name]) for arg, name in fields)
        case _:
            return json_leaf(type_, _parsed(type_, value))


def _key_form(type_: CqlType, text: str) -> Any:
    if type_.args:
        return json_form(type_, json.loads(text, parse_float=Decimal, parse_int=Decimal)) if text else None
    if not text and type_.name not in {"text", "ascii", "blob", "custom"}:
        return None
    value: Any = text
    if type_.name in {"tinyint", "smallint", "int", "bigint", "varint"}:
        value = Decimal(text)
    elif type_.name == "boolean":
        value = {"true": True, "false": False}[text]
    return key_leaf(type_, _parsed(type_, value))


def _parsed(type_: CqlType, value: Any) -> Any:
    """The whole form of a simple value from its JSON, which casscade.cql.json_text describes."""
    match type_.name:
        case "tinyint" | "smallint" | "int" | "bigint" | "counter" | "varint":
            if not isinstance(value, Decimal):
                raise TypeError("a number is expected")
            return int(value)
        case "float":
            number = float(value)
            return number if abs(number) == float("inf") else struct.unpack(">f", struct.pack(">f", number))[0]
        case "double":
            return float(value)
        case "decimal":
            return Decimal(value)
        case "blob" | "custom":
            return bytes.fromhex(value.removeprefix("0x"))
        case "uuid" | "timeuuid":
            return UUID(value)
        case "inet":
            return ip_address(value)
        case "date":
            return date.fromisoformat(value).toordinal() - _UNIX_ORDINAL if value.count("-") == 2 else int(value)
        case "timestamp":
            return _millis(value)
        case "time":
            clock, _, fraction = value.partition(".")
            hours, minutes, seconds = clock.split(":")
            return (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * 10**9 + int(fraction.ljust(9, "0"))
        case "duration":
            return _duration(value)
        case _:
            return value


def _millis(text: str) -> int:
    if not text.endswith("Z"):
        return int(text)
    delta = datetime.fromisoformat(text) - _UNIX_EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def _duration(text: str) -> tuple[int, int, int]:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("not a duration")
    months = days = nanos = 0
    for count, unit in _DURATION_PART.findall(match[2]):
        if unit in {"y", "mo"}:
            months += int(count) * (12 if unit == "y" else 1)
        elif unit == "d":
            days += int(count)
        else:
            nanos += int(count) * _NANOS[unit]
    sign = -1 if match[1] else 1
    return (sign * months, sign * days, sign * nanos)
