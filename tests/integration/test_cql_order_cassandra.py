"""The order of values against Cassandra itself: rows clustered by each type come back in the order of our keys.

Each value is sent as bytes past the driver's own codec. Values that compare equal (1.0 and 1.00) are one row, and
the last write wins, so that equality of keys is checked along with their order.
"""

from __future__ import annotations

import random
import struct
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from cassandra.query import BatchStatement, BatchType

from casscade.cql.order import order_key
from casscade.cql.types import UdtDefinition, parse_type
from casscade.cql.values import encode
from casscade.devstack.cassandra import CassandraNode

pytestmark = pytest.mark.servers

COUNT = 60
SIMPLE = (
    "ascii text blob boolean tinyint smallint int bigint varint decimal float double date time timestamp uuid "
    "timeuuid inet"
)
NESTED = [
    "frozen<list<int>>",
    "frozen<set<timeuuid>>",
    "frozen<map<int, text>>",
    "frozen<tuple<int, text, double>>",
    "frozen<pair>",
    "vector<float, 2>",
    "vector<text, 2>",
]
ALLOWS_EMPTY = {"ascii", "text", "blob", "boolean", "int", "bigint", "varint", "decimal", "float", "double"} | {
    "timestamp",
    "uuid",
    "timeuuid",
    "inet",
}


def _uuid(chance: random.Random, versions: str) -> UUID:
    top = chance.choice([0, 1, 1 << 32, chance.getrandbits(64)])
    low = chance.choice([0, 0x7F, 0x80, 0x80 << 56, chance.getrandbits(64)])
    digits = f"{top:016x}{low:016x}"
    return UUID(digits[:12] + chance.choice(versions) + digits[13:])


def _value(name: str, chance: random.Random) -> bytes:
    """Bytes of a simple type, mostly near the places where orders differ."""
    if name in ALLOWS_EMPTY and chance.random() < 0.05:
        return b""
    match name:
        case "ascii" | "text":
            letters = "ab~\x00" if name == "ascii" else "aé☃𝄞\x00"
            return "".join(chance.choices(letters, k=chance.randint(0, 3))).encode()
        case "blob":
            return bytes(chance.choices([0, 1, 127, 128, 255], k=chance.randint(0, 3)))
        case "boolean":
            return bytes([chance.choice([0, 1, 255])])
        case "tinyint" | "smallint" | "int" | "bigint" | "timestamp":
            size = {"tinyint": 1, "smallint": 2, "int": 4}.get(name, 8)
            number = chance.choice([-(1 << (8 * size - 1)), -1, 0, 1, (1 << (8 * size - 1)) - 1])
            return chance.choice([number.to_bytes(size, "big", signed=True), chance.randbytes(size)])
        case "varint":
            number = chance.choice([-1, 1]) * chance.getrandbits(chance.randint(1, 70))
            return number.to_bytes(chance.choice([10, number.bit_length() // 8 + 1]), "big", signed=True)
        case "decimal":
            scale = chance.choice([-3, 0, 1, 2, 5, 1000, -1000])
            return encode(parse_type(name, "", {}), Decimal(chance.randint(-200, 200)).scaleb(-scale))
        case "float" | "double":
            real = chance.choice([0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1.5, chance.uniform(-2, 2)])
            return struct.pack(">f" if name == "float" else ">d", real)
        case "date":
            return chance.choice(
                [chance.randbytes(4), (1 << 31).to_bytes(4, "big"), ((1 << 31) - 1).to_bytes(4, "big")]
            )
        case "time":
            return chance.choice([0, 1, chance.randrange(86_400_000_000_000)]).to_bytes(8, "big")
        case "uuid":
            return _uuid(chance, "1234").bytes
        case "timeuuid":
            return _uuid(chance, "1").bytes
        case _:
            return chance.choice([chance.randbytes(4), chance.randbytes(16), b"\x7f\x00\x00\x01"])


def _part(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def _nested_value(name: str, chance: random.Random) -> bytes:
    count = chance.randint(0, 3)
    ints = [chance.randint(-2, 2).to_bytes(4, "big", signed=True) for _ in range(3)]
    texts = [chance.choice([b"", b"a", b"ab", "é".encode()]) for _ in range(3)]
    match name:
        case "frozen<list<int>>":
            return struct.pack(">i", count) + b"".join(map(_part, ints[:count]))
        case "frozen<set<timeuuid>>":
            key = order_key(parse_type("timeuuid", "", {}))
            members = sorted({_uuid(chance, "1").bytes for _ in range(count)}, key=key)
            return struct.pack(">i", len(members)) + b"".join(map(_part, members))
        case "frozen<map<int, text>>":
            entries = sorted(
                dict(zip(ints[:count], texts, strict=False)).items(), key=lambda e: struct.unpack(">i", e[0])
            )
            return struct.pack(">i", len(entries)) + b"".join(_part(k) + _part(v) for k, v in entries)
        case "frozen<tuple<int, text, double>>" | "frozen<pair>":
            third = struct.pack(">d", chance.choice([-0.0, 0.0, 1.5]))
            fields = [ints[0], texts[0], third][: 2 if "pair" in name else 3]
            parts = [chance.choice([_part(field), b"\xff" * 4]) for field in fields]
            return b"".join(parts[: chance.randint(1, len(parts))])
        case "vector<float, 2>":
            return struct.pack(">ff", chance.choice([-0.0, 0.0]), chance.choice([-1.0, 1.0, 1.5]))
        case _:
            return b"".join(bytes([len(text)]) + text for text in texts[:2])


def _rows_in_cassandras_order(session: Any, table: str, values: list[bytes]) -> list[int]:
    insert = session.prepare(f"INSERT INTO {table} (p, c, i) VALUES (0, ?, ?) USING TIMESTAMP ?")
    batch = BatchStatement(BatchType.UNLOGGED)
    for index, value in enumerate(values):
        bound = insert.bind((None, index, index + 1))
        bound.values[0] = value
        batch.add(bound)
    session.execute(batch)
    return [row.i for row in session.execute(f"SELECT i FROM {table} WHERE p = 0")]


@pytest.mark.requirement("FR-004")
def test_rows_of_every_type_come_back_in_the_order_of_our_keys(
    cassandra_node: CassandraNode, cassandra_session: Any, keyspace: str
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    udts = {"pair": UdtDefinition(keyspace, "pair", ("a", "b"), ("int", "text"))}
    cassandra_session.execute(f"CREATE TYPE {keyspace}.pair (a int, b text)")
    vectors = cassandra_node.release.line >= (5, 0)
    names = [name for name in (*SIMPLE.split(), *NESTED) if vectors or not name.startswith("vector")]
    for number, name in enumerate(names):
        descending = number % 2 == 1
        make = _nested_value if name in NESTED else _value
        values = [make(name, chance) for _ in range(COUNT)]
        table = f"{keyspace}.o{number}"
        cassandra_session.execute(
            f"CREATE TABLE {table} (p int, c {name}, i int, PRIMARY KEY (p, c)) "
            f"WITH CLUSTERING ORDER BY (c {'DESC' if descending else 'ASC'})"
        )
        key = order_key(parse_type(name, keyspace, udts), descending=descending)
        last = {key(value): index for index, value in enumerate(values)}
        expected = [last[place] for place in sorted(last)]
        assert _rows_in_cassandras_order(cassandra_session, table, values) == expected, name
