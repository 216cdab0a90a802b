"""Random values of every CQL type, as the Cassandra driver binds them.

Invariant: a value depends on the generator alone; values of keys stay within what PostgreSQL holds exactly, unless
hostile ones are asked for.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final
from uuid import UUID

from cassandra.util import Date, Duration, OrderedMap, Time

from casscade.cql.types import CqlType

_LETTERS: Final = 'abzé☃𝄞"\\\n\x00 '
_KEY_LETTERS: Final = "abzAé☃𝄞\"'\\ "
_DAY_NANOS: Final = 86_400_000_000_000
_FLOATS: Final = (0.0, -0.0, 1.5, -2.25, float("nan"), float("inf"), -float("inf"))
_ELEMENTS_MAX: Final = 3
_CHANCE_NULL_FIELD: Final = 0.2


def random_value(rng: random.Random, type_: CqlType, *, element: bool = False) -> Any:
    """A value of `type_`, often near an edge of it; `element` as for `random_element`."""
    match type_.name:
        case "list":
            return [random_value(rng, type_.args[0], element=element) for _ in range(rng.randint(0, _ELEMENTS_MAX))]
        case "set":
            return _distinct(rng, type_.args[0])
        case "map":
            keys = _distinct(rng, type_.args[0])
            return OrderedMap([(key, random_value(rng, type_.args[1], element=element)) for key in keys])
        case "tuple" | "udt":
            return tuple(
                None if rng.random() < _CHANCE_NULL_FIELD else random_value(rng, arg, element=element)
                for arg in type_.args
            )
        case "vector":
            return [random_value(rng, type_.args[0], element=element) for _ in range(type_.dimension)]
        case "decimal" if element:
            return random_key(rng, type_)
        case _:
            return _SCALARS[type_.name](rng)


def random_element(rng: random.Random, type_: CqlType) -> Any:
    """A value that may stand in a set, or be a key of a map: 1.0 and 1.00 would be one element in Cassandra."""
    return random_value(rng, type_, element=True)


def random_key(rng: random.Random, type_: CqlType, *, hostile: bool = False) -> Any:
    """A value that may stand in a primary key: one of everyday, or with `hostile` any.

    Hostile values are often such that PostgreSQL can't tell them apart: -0.0, NaN, 1.0 and 1.00, U+0000.
    """
    if hostile:
        return _HOSTILE_KEYS.get(type_.name, random_value)(rng, type_)
    if type_.args:
        return random_element(rng, type_)
    return _KEYS.get(type_.name, _SCALARS[type_.name])(rng)


def _distinct(rng: random.Random, type_: CqlType) -> list[Any]:
    """Some different elements, in any order that repeats."""
    elements = [random_element(rng, type_) for _ in range(rng.randint(0, _ELEMENTS_MAX))]
    return list({repr(element): element for element in elements}.values())


def _integer(bits: int, edges: float = 0.85) -> Callable[[random.Random], int]:
    """Integers of which a part of `edges` comes from a few that are special."""
    edge = 1 << (bits - 1)
    special = (0, 1, -1, 7, edge - 1, -edge)
    return lambda rng: rng.choice(special) if rng.random() < edges else rng.randrange(-edge, edge)


def _text(rng: random.Random) -> str:
    return "".join(rng.choices(_LETTERS, k=rng.randint(0, 5)))


def _key_text(rng: random.Random) -> str:
    return "".join(rng.choices(_KEY_LETTERS, k=rng.randint(1, 5)))


def _blob(rng: random.Random) -> bytes:
    return bytes(rng.choices((0, 1, 127, 128, 255), k=rng.randint(1, 40)))


def _decimal(rng: random.Random) -> Decimal:
    return Decimal(rng.choice((0, 1, -1, rng.randint(-(10**25), 10**25)))).scaleb(rng.choice((0, -1, -2, -20, 0, 3)))


def _varint(rng: random.Random) -> int:
    return rng.choice((0, 1, -1, 127, 128, -128, -129, rng.randint(-(10**40), 10**40)))


def _usual_days(rng: random.Random) -> int:
    return rng.choice((0, -1, 19_000, rng.randrange(-700_000, 2_900_000)))


def _usual_millis(rng: random.Random) -> int:
    return rng.choice((0, -1, 1_700_000_000_123, rng.randrange(-62_000_000_000_000, 253_000_000_000_000)))


def _nanos(rng: random.Random) -> int:
    return rng.choice((0, _DAY_NANOS - 1000, rng.randrange(_DAY_NANOS)))


def _uuid(rng: random.Random, version: int) -> UUID:
    return UUID(int=rng.getrandbits(128), version=version)


def _inet(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return str(IPv4Address(rng.choice((0x7F000001, rng.getrandbits(32)))))
    return str(IPv6Address(rng.choice((1, (0xFFFF << 32) | 0x01020304, rng.getrandbits(128)))))


def _duration(rng: random.Random) -> Duration:
    sign = rng.choice((1, -1))
    nanos = rng.choice((0, 1, 999, 1_000, rng.randrange(1 << 50)))
    return Duration(sign * rng.choice((0, 14)), sign * rng.choice((0, 40)), sign * nanos)


_SCALARS: Final[dict[str, Callable[[random.Random], Any]]] = {
    "ascii": lambda rng: "".join(rng.choices("abz~\x00'", k=rng.randint(0, 5))),
    "bigint": _integer(64),
    "blob": lambda rng: b"" if rng.random() < 0.1 else _blob(rng),
    "boolean": lambda rng: rng.random() < 0.5,
    "date": lambda rng: Date(rng.choice((_usual_days(rng), _usual_days(rng), -(1 << 31), (1 << 31) - 1))),
    "decimal": _decimal,
    "double": lambda rng: rng.choice((*_FLOATS, rng.uniform(-1e6, 1e6))),
    "duration": _duration,
    "float": lambda rng: rng.choice((*_FLOATS, rng.uniform(-1e6, 1e6))),
    "inet": _inet,
    "int": _integer(32),
    "smallint": _integer(16),
    "text": _text,
    "time": lambda rng: Time(_nanos(rng)),
    "timestamp": lambda rng: rng.choice((_usual_millis(rng), _usual_millis(rng), -(1 << 63), (1 << 63) - 1)),
    "timeuuid": lambda rng: _uuid(rng, 1),
    "tinyint": _integer(8),
    "uuid": lambda rng: _uuid(rng, 4),
    "varint": _varint,
}
_EQUAL_DECIMALS: Final = tuple(map(Decimal, ("1", "1.0", "1.00", "10", "1E+1", "0", "-0.0", "0.00", "-1", "2.5")))
_HOSTILE_KEYS: Final[dict[str, Callable[[random.Random, CqlType], Any]]] = {
    "ascii": lambda rng, _: "".join(rng.choices("ab\x00", k=rng.randint(1, 3))),
    "blob": lambda rng, _: bytes(rng.choices((0, 1, 255), k=rng.choice((1, 2, 3, 3000)))),
    "decimal": lambda rng, _: rng.choice(_EQUAL_DECIMALS),
    "list": lambda rng, type_: [random_key(rng, type_.args[0], hostile=True) for _ in range(rng.randint(0, 2))],
    "text": lambda rng, _: "".join(rng.choices("aé\x00\ufffd", k=rng.randint(1, 3))),
    "tuple": lambda rng, type_: tuple(random_key(rng, arg, hostile=True) for arg in type_.args),
    "udt": lambda rng, type_: tuple(random_key(rng, arg, hostile=True) for arg in type_.args),
}
# Values that PostgreSQL can't tell apart, or hold, as keys are left out: -0, 1.0 and 1.00, U+0000, nanoseconds.
# Numbers are mostly any, so that there are as many keys as asked for.
_KEYS: Final[dict[str, Callable[[random.Random], Any]]] = {
    "ascii": lambda rng: "".join(rng.choices("abz~'", k=rng.randint(1, 5))),
    "bigint": _integer(64, 0.2),
    "blob": _blob,
    "date": lambda rng: Date(_usual_days(rng)),
    "decimal": lambda rng: Decimal(rng.randint(-99, 99) * 10 + 3).scaleb(-2),
    "double": lambda rng: rng.choice((0.0, 0.5, -3.0)),
    "float": lambda rng: rng.choice((0.0, 0.5, -3.0)),
    "int": _integer(32, 0.2),
    "text": _key_text,
    "time": lambda rng: Time(_nanos(rng) // 1000 * 1000),
    "timestamp": _usual_millis,
}
