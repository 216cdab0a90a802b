"""PostgreSQL's side of a comparison: what psycopg returns in normal form, and what it is sent.

Invariant: dates, timestamps and intervals come as the numbers that PostgreSQL holds, since Python's types are
narrower; everything else is decoded by psycopg itself.
"""

from __future__ import annotations

import json
import struct
from datetime import time
from decimal import Decimal
from functools import partial
from typing import Any, Final

import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import AdaptersMap, Dumper, Loader
from psycopg.pq import Format
from psycopg.types.composite import RecordBinaryLoader
from psycopg.types.json import set_json_loads

from casscade.cql.types import CqlType
from casscade.schema.pg_types import PgType, map_column
from casscade.verify.json_values import json_form, text_form
from casscade.verify.normal import (
    INFINITY,
    MINUS_INFINITY,
    float_form,
)

_EPOCH_DAYS: Final = 10_957
_EPOCH_MICROS: Final = 946_684_800_000_000


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


_RECORDS: Final = AdaptersMap(psycopg.adapters)
adapt(_RECORDS)


def postgres_form(type_: CqlType, value: Any, pg: PgType | None = None) -> Any:
    """The normal form of what psycopg returned for a column of `type_` that has the type `pg`, or else the default."""
    if value is None:
        return None
    pg = pg or map_column(type_)
    match pg.form:
        case "plain":
            return _plain_form(type_, value)
        case "bytea" | "bigint":
            return value
        case "array":
            return tuple(None if element is None else _plain_form(type_.args[0], element) for element in value)
        case "vector":
            # a type that psycopg does not know comes as its bytes: int16 dimension, int16, float4s
            return tuple(map(float_form, struct.unpack(f">hh{type_.dimension}f", value)[2:]))
        case "composite":
            fields = RecordBinaryLoader(0, _RECORDS).load(value)
            named = zip(type_.args, fields, pg.fields, strict=True)
            return tuple(postgres_form(arg, each, field_type) for arg, each, (_, field_type) in named)
        case "text":
            return text_form(type_, value)
        case "jsonb":
            return json_form(type_, value)


def _plain_form(type_: CqlType, value: Any) -> Any:
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
