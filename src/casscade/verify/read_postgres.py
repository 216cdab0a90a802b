"""PostgreSQL's side of a comparison: reading rows with psycopg, and their values in normal form.

Invariant: dates, timestamps and intervals come as the numbers that PostgreSQL holds, since Python's types are
narrower; everything else is decoded by psycopg itself.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import partial
from ipaddress import ip_address
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import Connection, Cursor, sql
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format
from psycopg.types.json import set_json_loads

from casscade.cql.types import CqlType
from casscade.schema.mapping import Relation
from casscade.verify.normal import (
    INFINITY,
    MINUS_INFINITY,
    Key,
    float_form,
    is_json,
    is_real_array,
    json_leaf,
    key_leaf,
)

# Few enough to keep in memory, enough that a row that is too many leads to a few others only.
BUCKETS: Final = 4096
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


class Copy(NamedTuple):
    """A row that was found: the forms of its columns outside the key, and a hash of its key (64 bits, signed)."""

    values: Key
    fingerprint: int


class PostgresRelation:
    """Reads one relation, values in normal form.

    Keys are hashed by PostgreSQL and counted in `BUCKETS` buckets, so that sets of keys can be compared without
    holding them.
    """

    def __init__(self, connection: Connection[Any], relation: Relation) -> None:
        self._connection = connection
        self.relation = relation
        self._keys = relation.key_columns
        self._name = sql.Identifier(relation.schema, relation.name)
        keys = sql.SQL(", ").join(sql.Identifier("r", key.name) for key in self._keys)
        self._fingerprint = sql.SQL("hashtextextended(ROW({})::text, 0)").format(keys)

    def find(self, keys: Sequence[Key]) -> dict[Key, Copy]:
        """The rows with these keys."""
        if not keys:
            return {}
        arrays = sql.SQL(", ").join(sql.SQL("%b::{}[]").format(sql.SQL(key.pg_type.name)) for key in self._keys)
        names = sql.SQL(", ").join(sql.Identifier(f"k{i}") for i in range(len(self._keys)))
        match = sql.SQL(" AND ").join(
            sql.SQL("r.{} = {}").format(sql.Identifier(key.name), sql.Identifier("k", f"k{i}"))
            for i, key in enumerate(self._keys)
        )
        columns = sql.SQL(", ").join(sql.Identifier("r", column.name) for column in self.relation.columns)
        query = sql.SQL("SELECT {}, {} FROM unnest({}) AS k({}) JOIN {} AS r ON {}").format(
            self._fingerprint, columns, arrays, names, self._name, match
        )
        parameters = [
            [parameter(key.column.type, form) for form in forms]
            for key, forms in zip(self._keys, zip(*keys, strict=True), strict=True)
        ]
        with self._cursor() as cursor:
            cursor.execute(query, parameters)
            return dict(self._row(row) for row in cursor)

    def buckets(self) -> dict[int, tuple[int, int]]:
        """How many keys are in each bucket that has any, and the sum of their fingerprints."""
        query = sql.SQL("SELECT h & {}, count(*), sum(h) FROM (SELECT {} AS h FROM {} AS r) AS f GROUP BY 1")
        found = self._connection.execute(query.format(sql.Literal(BUCKETS - 1), self._fingerprint, self._name))
        return {int(bucket): (int(count), int(total)) for bucket, count, total in found.fetchall()}

    def pages(self, buckets: Sequence[int], size: int) -> Iterator[list[Key]]:
        """The keys in these buckets in pages of at most `size`, in the order of the primary key."""
        order = sql.SQL(", ").join(sql.Identifier("r", key.name) for key in self._keys)
        values = sql.SQL(", ").join(sql.SQL("%b::{}").format(sql.SQL(key.pg_type.name)) for key in self._keys)
        chosen = sql.SQL("{} & {} = ANY(%b::bigint[])").format(self._fingerprint, sql.Literal(BUCKETS - 1))
        last: list[Any] = []
        while True:
            later = sql.SQL(" AND ({}) > ({})").format(order, values) if last else sql.SQL("")
            query = sql.SQL("SELECT {} FROM {} AS r WHERE {}{} ORDER BY {} LIMIT {}").format(
                order, self._name, chosen, later, order, sql.Literal(size)
            )
            with self._cursor() as cursor:
                found = cursor.execute(query, [list(buckets), *last]).fetchall()
            page = [self._key(row) for row in found]
            if page:
                yield page
                last = [parameter(key.column.type, form) for key, form in zip(self._keys, page[-1], strict=True)]
            if len(page) < size:
                return

    def count(self) -> int:
        """How many rows it has."""
        found = self._connection.execute(sql.SQL("SELECT count(*) FROM {}").format(self._name)).fetchone()
        assert found is not None
        return int(found[0])

    def _cursor(self) -> Cursor[Any]:
        cursor = self._connection.cursor(binary=True)
        adapt(cursor)
        return cursor

    def _key(self, row: Sequence[Any]) -> Key:
        return tuple(
            value if key.column.type.name == "decimal" else postgres_form(key.column.type, value)
            for key, value in zip(self._keys, row, strict=True)
        )

    def _row(self, row: Sequence[Any]) -> tuple[Key, Copy]:
        first = 1 + len(self._keys)
        columns = self.relation.value_columns
        values = tuple(_safe(column.column.type, value) for column, value in zip(columns, row[first:], strict=True))
        return self._key(row[1:first]), Copy(values, row[0])


def _safe(type_: CqlType, value: Any) -> Any:
    """A value that the type can't have differs from every other, whoever wrote it."""
    try:
        return postgres_form(type_, value)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError):
        return ("not of this type", repr(value))
