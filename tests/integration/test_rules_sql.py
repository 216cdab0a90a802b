"""Conditions say of rows what PostgreSQL says of them with the same text in WHERE."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from casscade.cql.types import CqlType
from casscade.cql.values import encode
from casscade.rules.predicate import Predicate
from casscade.rules.syntax import parse

pytestmark = [pytest.mark.servers, pytest.mark.requirement("FR-006")]

TYPES = {
    "i": CqlType("int"),
    "n": CqlType("decimal"),
    "f": CqlType("double"),
    "t": CqlType("text"),
    "u": CqlType("text"),
    "b": CqlType("boolean"),
}
NUMBERS: list[Any] = [-2, 0, 1, 3]
DECIMALS = [Decimal("-2"), Decimal("0.5"), Decimal("1.00"), Decimal(3)]
FLOATS = [float("nan"), -2.0, 0.5, 1.0, float("inf")]
TEXTS = ["", "a", "A", "ab", "a%b", "ä", "a_b", "\\", "it's"]
VALUES: dict[str, list[Any]] = {
    "i": NUMBERS,
    "n": DECIMALS,
    "f": FLOATS,
    "t": TEXTS,
    "u": TEXTS,
    "b": [True, False],
}
PATTERNS = ["%", "a%", "%b", "a_b", "a\\_b", "_", "%a%b%", "", "a\\%b", "\\\\"]
SIGNS = ["=", "<>", "!=", "<", "<=", ">", ">="]
CONDITIONS = 300


def _literal(rng: random.Random, column: str) -> str:
    if column in "tu":
        return "'" + rng.choice(TEXTS).replace("'", "''") + "'"
    if column == "b":
        return rng.choice(["true", "false"])
    return rng.choice(["-2", "0", "0.5", "1", "1.5", "3", "2e0"])


def _condition(rng: random.Random, depth: int) -> str:
    kind = rng.random()
    if depth > 0 and kind < 0.5:
        inner = [_condition(rng, depth - 1) for _ in range(rng.randint(2, 3))]
        joined = rng.choice([" and ", " OR "]).join(f"({each})" for each in inner)
        return f"not ({joined})" if rng.random() < 0.3 else joined
    column = rng.choice("inftub")
    if kind < 0.6:
        return f"{column} is {rng.choice(['', 'not '])}null"
    if kind < 0.7 and column in "tu":
        return f"{column} {rng.choice(['', 'not '])}like '{rng.choice(PATTERNS)}'"
    if kind < 0.8:
        items = ", ".join(_literal(rng, column) for _ in range(rng.randint(1, 3)))
        return f"{column} {rng.choice(['', 'NOT '])}in ({items})"
    if column == "b":
        return rng.choice(["b", f"b = {_literal(rng, 'b')}", f"b <> {_literal(rng, 'b')}"])
    other = rng.choice(["t", "u"] if column in "tu" else ["i", "n"])
    operand = other if rng.random() < 0.3 and column != "f" else _literal(rng, column)
    return f"{column} {rng.choice(SIGNS)} {operand}"


def test_they_agree_with_postgres(postgres_server: Any) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    rows = [{name: rng.choice([None, *values]) for name, values in VALUES.items()} for _ in range(60)]
    with psycopg.connect(postgres_server.dsn()) as connection:
        connection.execute(
            "CREATE TEMPORARY TABLE r (id int, i int, n numeric, f float8, "
            't text COLLATE "C", u text COLLATE "C", b bool)'
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO r VALUES (%s, %s, %s, %s, %s, %s, %s)",
                [(number, *(row[name] for name in VALUES)) for number, row in enumerate(rows)],
            )
        for _ in range(CONDITIONS):
            text = _condition(rng, 3)
            predicate = Predicate(parse(text), TYPES)
            found = [
                number
                for number, row in enumerate(rows)
                if predicate.matches(
                    [None if row[name] is None else encode(TYPES[name], row[name]) for name in predicate.columns]
                )
            ]
            expected = connection.execute(f"SELECT id FROM r WHERE {text} ORDER BY id".encode()).fetchall()
            assert found == [number for (number,) in expected], text
