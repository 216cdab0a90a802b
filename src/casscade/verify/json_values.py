"""Values in JSON and in text, as PostgreSQL has them, in normal form.

Invariant: what `casscade.cql.json_text` and `casscade.cql.scalar_text` promise is read here by code of its own.
"""

from __future__ import annotations

import json
import re
import struct
from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import ip_address
from typing import Any, Final
from uuid import UUID

from casscade.cql.types import CqlType
from casscade.verify.normal import json_leaf, key_leaf

_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNIX_ORDINAL: Final = date(1970, 1, 1).toordinal()
_DURATION: Final = re.compile(r"(-?)((?:\d+(?:y|mo|d|h|ms|us|ns|m|s))+)")
_DURATION_PART: Final = re.compile(r"(\d+)(y|mo|d|h|ms|us|ns|m|s)")
_NANOS: Final = {"h": 3_600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def json_form(type_: CqlType, value: Any, *, key: bool = False) -> Any:
    """The form of a value inside jsonb; ValueError and TypeError for JSON that the type never has.

    `key`: see `normal.json_form_of`.
    """
    if value is None:
        return None
    match type_.name:
        case "list" | "set" | "vector":
            return tuple(json_form(type_.args[0], element, key=key) for element in value)
        case "map":
            entries = (
                (text_form(type_.args[0], name), json_form(type_.args[1], v, key=key)) for name, v in value.items()
            )
            return frozenset(entries)
        case "tuple":
            return tuple(json_form(arg, element, key=key) for arg, element in zip(type_.args, value, strict=True))
        case "udt":
            # A value that was written before a field was added does not have it.
            if not value.keys() <= set(type_.field_names):
                raise ValueError("a UDT has other fields")
            fields = zip(type_.args, type_.field_names, strict=True)
            return tuple(json_form(arg, value.get(name), key=key) for arg, name in fields)
        case _:
            leaf = key_leaf if key else json_leaf
            return leaf(type_, _parsed(type_, value))


def text_form(type_: CqlType, text: str) -> Any:
    """The form of a value that is text: a key of a map, or a column that asks for it."""
    if type_.args:
        return json_form(type_, json.loads(text, parse_float=Decimal, parse_int=Decimal), key=True) if text else None
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
