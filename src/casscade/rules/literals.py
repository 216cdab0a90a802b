"""Values as a user writes them, as the Python objects that a column's values decode to.

Invariant: a literal that does not fit the type of its column is refused when the rule is read, never at a row.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from ipaddress import ip_address
from typing import Any, Final
from uuid import UUID

from casscade.cql.types import CqlType
from casscade.rules.faults import RuleError
from casscade.rules.syntax import Literal
from casscade.rules.tokens import BYTES, NUMBER, TEXT

NUMBERS: Final = frozenset({"tinyint", "smallint", "int", "bigint", "varint", "decimal", "float", "double"})
TEXTS: Final = frozenset({"ascii", "text"})
_UUIDS: Final = frozenset({"uuid", "timeuuid"})
_FLOATS: Final = {"double": ">d", "float": ">f"}
_EXPONENT_MAX: Final = 10_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = date(1970, 1, 1)
_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9])(?:\.([0-9]{1,9}))?)?")


def family(type_: CqlType) -> str:
    """Types of one family can be compared with each other; "" for types that can't be compared at all."""
    if type_.name in NUMBERS:
        return "number"
    if type_.name in TEXTS:
        return "text"
    if type_.name in _UUIDS:
        return "uuid"
    return type_.name if type_.name in ("boolean", "timestamp", "date", "time", "inet", "blob") else ""


def literal_value(type_: CqlType, literal: Literal) -> Any:
    """The value of `literal` for a column of `type_`; RuleError where it does not fit."""
    kind = family(type_)
    if kind == "number":
        return _number(type_, literal)
    if kind == "boolean":
        return literal.text == "true" if literal.kind == "boolean" else _misfit(type_, literal, "true or false")
    if kind == "blob":
        if literal.kind != BYTES or len(literal.text) % 2:
            _misfit(type_, literal, "bytes in hexadecimal, as in 0xcafe")
        return bytes.fromhex(literal.text[2:])
    if literal.kind != TEXT:
        _misfit(type_, literal, "a text in single quotes")
    if kind == "text":
        return literal.text
    read, example = _READERS[kind]
    try:
        return read(literal.text)
    except (ValueError, OverflowError):
        _misfit(type_, literal, example)


def _misfit(type_: CqlType, literal: Literal, example: str) -> Any:
    raise RuleError(f"this is no value of a column of type {type_.cql()}", literal.position, f"write {example}")


def _number(type_: CqlType, literal: Literal) -> Any:
    if literal.kind != NUMBER:
        _misfit(type_, literal, "a number without quotes")
    try:
        number = Decimal(literal.text)
    except InvalidOperation:
        _misfit(type_, literal, "a number without quotes")
    if number and not -_EXPONENT_MAX < number.adjusted() < _EXPONENT_MAX:
        _misfit(type_, literal, "a number of a size that a column holds")
    if type_.name in _FLOATS:
        # What the column itself would hold of the number, so that 0.1 equals 0.1.
        try:
            return struct.unpack(_FLOATS[type_.name], struct.pack(_FLOATS[type_.name], number))[0]
        except OverflowError:
            _misfit(type_, literal, "a number of a size that the column holds")
    return int(number) if number == number.to_integral_value() else number


def moment_ms(text: str) -> int:
    """Milliseconds since 1970 of a moment in ISO 8601 with its zone; ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("without a zone")
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def _day(text: str) -> int:
    return (date.fromisoformat(text) - _EPOCH_DAY).days


def _time_of_day(text: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("no time of day")
    hours, minutes, seconds, fraction = found.groups()
    whole = int(hours) * 3600 + int(minutes) * 60 + int(seconds or 0)
    return whole * 1_000_000_000 + int((fraction or "").ljust(9, "0"))


_READERS: Final[dict[str, tuple[Callable[[str], Any], str]]] = {
    "timestamp": (moment_ms, "a moment with its zone, as in '2026-01-31T12:00:00Z'"),
    "date": (_day, "a day, as in '2026-01-31'"),
    "time": (_time_of_day, "a time of day, as in '12:30:00.5'"),
    "uuid": (UUID, "a UUID in single quotes"),
    "inet": (ip_address, "an address in single quotes"),
}
