"""Bytes of random values of every CQL type: often at an edge of it, often beyond what PostgreSQL holds.

Invariant: every value is one that Cassandra takes for its type, and depends on the generator alone.
"""

from __future__ import annotations

import random
import struct
from typing import Final

from casscade.cql.elements import join_collection, join_tuple, join_vector
from casscade.cql.order import order_key
from casscade.cql.types import CqlType
from casscade.cql.vint import write_signed

_DAY_NANOS: Final = 86_400 * 10**9


def random_bytes(rng: random.Random, type_: CqlType, *, empty: float = 0.03) -> bytes:
    """A value; with the chance `empty` one of no bytes, at any depth, where Cassandra takes that."""
    match type_.name:
        case "list" | "set":
            parts: list[bytes | None] = [
                random_bytes(rng, type_.args[0], empty=empty) for _ in range(rng.randint(0, 3))
            ]
            if type_.name == "set":
                order = order_key(type_.args[0])
                unique = {order(part): part for part in parts if part is not None}
                parts = [unique[key] for key in sorted(unique)]
            return join_collection(parts, 1, type_.name)
        case "map":
            order = order_key(type_.args[0])
            keys = [random_bytes(rng, type_.args[0], empty=empty) for _ in range(rng.randint(0, 3))]
            unique = {order(key): key for key in keys}
            pairs = [(unique[key], random_bytes(rng, type_.args[1], empty=empty)) for key in sorted(unique)]
            return join_collection([part for pair in pairs for part in pair], 2, "map")
        case "tuple" | "udt":
            some = type_.args if rng.random() < 0.8 else type_.args[: rng.randint(1, len(type_.args))]
            fields = [None if rng.random() < 0.2 else random_bytes(rng, arg, empty=empty) for arg in some]
            return join_tuple(fields, type_.name)
        case "vector":
            element = type_.args[0]
            # an element of fixed length has no empty value there
            share = empty if element.fixed_length < 0 else 0
            elements = [random_bytes(rng, element, empty=share) for _ in range(type_.dimension)]
            return join_vector(elements, element.fixed_length)
        case _:
            return b"" if rng.random() < empty else _simple(rng, type_.name)


def _simple(rng: random.Random, name: str) -> bytes:
    match name:
        case "text":
            return "".join(rng.choices('abzé☃𝄞"\\\n\x00 ,{}', k=rng.randint(0, 5))).encode()
        case "ascii":
            return "".join(rng.choices('abz"\\\n\x00 ,{}', k=rng.randint(0, 5))).encode()
        case "blob" | "custom":
            return rng.randbytes(rng.randint(0, 9))
        case "boolean":
            return bytes((rng.randint(0, 1),))
        case "tinyint" | "smallint" | "int" | "bigint" | "timestamp":
            return _integer(rng, {"tinyint": 1, "smallint": 2, "int": 4}.get(name, 8))
        case "date":
            return (_integer_value(rng, 32) + (1 << 31)).to_bytes(4, "big")
        case "time":
            nanos = rng.choice((0, 1, 1000, _DAY_NANOS - 1, rng.randrange(_DAY_NANOS), rng.randrange(86_400) * 10**9))
            return nanos.to_bytes(8, "big")
        case "duration":
            sign = rng.choice((1, -1))
            months, days = (sign * rng.choice((0, 1, 14, (1 << 31) - 1)) for _ in range(2))
            return write_signed(months) + write_signed(days) + write_signed(sign * rng.choice((0, 1000, 1999, 1 << 62)))
        case "uuid":
            return rng.randbytes(16)
        case "timeuuid":
            return rng.randbytes(6) + bytes((0x10 | rng.randrange(16),)) + rng.randbytes(9)
        case "inet":
            return rng.choice((rng.randbytes(4), rng.randbytes(16), bytes(10) + b"\xff\xff\x01\x02\x03\x04", bytes(16)))
        case "varint":
            return _varint(rng)
        case "decimal":
            return rng.choice((0, 0, 1, 2, 20, 16_383, 16_384, -1, -3)).to_bytes(4, "big", signed=True) + _varint(rng)
        case "float" | "double":
            value = rng.choice(
                (0.0, -0.0, 1.5, -2.25, float("nan"), float("inf"), -float("inf"), rng.uniform(-1e9, 1e9))
            )
            return struct.pack(">f" if name == "float" else ">d", value)
    raise ValueError(name)


def _integer_value(rng: random.Random, bits: int) -> int:
    edge = 1 << (bits - 1)
    return rng.choice((0, 1, -1, edge - 1, -edge, rng.randrange(-edge, edge), rng.randrange(-100, 100)))


def _integer(rng: random.Random, length: int) -> bytes:
    return _integer_value(rng, 8 * length).to_bytes(length, "big", signed=True)


def _varint(rng: random.Random) -> bytes:
    number = rng.choice((0, 1, -1, 9999, 10_000, -10_000, rng.randint(-(10**30), 10**30)))
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)
