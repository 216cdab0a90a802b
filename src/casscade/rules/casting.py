"""Values of one type as values of another.

Invariant: a cast gives the value itself in the other type or fails; only float and double round.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from ipaddress import ip_address
from typing import Any, Final
from uuid import UUID

from casscade.core.errors import BadDataError
from casscade.cql.text import to_text
from casscade.cql.types import CqlType
from casscade.cql.values import encode
from casscade.rules.faults import RuleError
from casscade.rules.literals import NUMBERS, TEXTS, moment_ms

Cast = Callable[[Any], Any]

_DAY_MS: Final = 86_400_000
_EPOCH_DAY: Final = date(1970, 1, 1)
# Beyond it, a number that is cast is no number that anybody meant; writing its digits takes quadratic time.
_DIGITS_MAX: Final = 4000
_BOOLEANS: Final = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def cast_of(source: CqlType, to: CqlType) -> Cast:
    """The function from values of `source` to those of `to`; it raises ValueError for what does not fit.

    Raises RuleError for types of which no value could be cast.
    """
    if source == to or (source.name in TEXTS and to.name == "text"):
        return lambda value: value
    if to.name in TEXTS:
        return lambda value: _text(source, value)
    if source.name in TEXTS:
        return lambda value: from_text(to, value)
    if source.name in NUMBERS and to.name in NUMBERS:
        return lambda value: _number(to, value)
    if (source.name, to.name) == ("timestamp", "date"):
        return lambda value: value // _DAY_MS
    if (source.name, to.name) == ("date", "timestamp"):
        return lambda value: value * _DAY_MS
    raise RuleError(f"a {source.cql()} can't become a {to.cql()}", hint="cast it to text, or leave it as it is")


def from_text(to: CqlType, text: str) -> Any:
    """The value that a text means; ValueError if it means none of the type."""
    text = text.strip()
    if to.name in TEXTS:
        return text
    if to.name in NUMBERS:
        try:
            return _number(to, float(text) if to.name in ("float", "double") else Decimal(text))
        except InvalidOperation:
            raise ValueError("no number") from None
    if to.name == "boolean":
        if text.lower() not in _BOOLEANS:
            raise ValueError("neither true nor false")
        return _BOOLEANS[text.lower()]
    if to.name == "timestamp":
        return moment_ms(text)
    if to.name == "date":
        return (date.fromisoformat(text) - _EPOCH_DAY).days
    if to.name == "time":
        moment = datetime.fromisoformat(f"2000-01-01T{text}")
        if moment.tzinfo is not None:
            raise ValueError("a time of day has no zone")
        passed: timedelta = moment.replace(tzinfo=UTC) - datetime(2000, 1, 1, tzinfo=UTC)
        return (passed.seconds * 1_000_000 + passed.microseconds) * 1000
    return UUID(text) if to.name == "uuid" else ip_address(text)


def _text(source: CqlType, value: Any) -> str:
    try:
        return to_text(source, encode(source, value))
    except BadDataError:
        raise ValueError("it has no text") from None


def _number(to: CqlType, value: Any) -> Any:
    if to.name == "double":
        return float(value)
    if to.name == "float":
        return struct.unpack(">f", struct.pack(">f", value))[0]
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 the test for NaN
            raise ValueError("no finite number")
        value = Decimal(repr(value))
    number = Decimal(value)
    if not number.is_finite() or (number and abs(number.adjusted()) > _DIGITS_MAX):
        raise ValueError("out of range")
    if to.name == "decimal":
        return number
    if number != number.to_integral_value():
        raise ValueError("no whole number")
    return int(number)
