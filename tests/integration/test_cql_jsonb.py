"""PostgreSQL takes the JSON text of values as jsonb, and the limits set for it are PostgreSQL's own."""

from __future__ import annotations

from decimal import Decimal

import psycopg
import pytest

from casscade.cql.json_text import to_json
from casscade.cql.types import CqlType
from casscade.cql.values import PythonValue, encode

pytestmark = pytest.mark.servers

DECIMAL = CqlType("decimal")
VARINT = CqlType("varint")


@pytest.mark.requirement("FR-010")
def test_jsonb_keeps_what_is_written(database: str) -> None:
    samples: list[tuple[CqlType, PythonValue]] = [
        (DECIMAL, Decimal("1E+131071")),
        (DECIMAL, Decimal("-9.99E+131071")),
        (DECIMAL, Decimal("1E-16383")),
        (DECIMAL, Decimal("0E+2147483648")),
        (VARINT, 10**131072 - 1),
        (CqlType("double"), 5e-324),
        (CqlType("double"), -1.7976931348623157e308),
        (CqlType("text"), 'quote " backslash \\ tab \t bell \x07 delete \x7f ☃ 𝄞'),
        (CqlType("float"), float("nan")),
        (CqlType("map", (CqlType("text"), CqlType("int")), frozen=True), [("", 1), ("\n", 2)]),
    ]
    with psycopg.connect(database) as connection:
        for cql_type, value in samples:
            text = to_json(cql_type, encode(cql_type, value))
            row = connection.execute("SELECT %s::text::jsonb #>> '{}'", (text,)).fetchone()
            assert row is not None
            if cql_type in (DECIMAL, VARINT):
                assert Decimal(row[0]) == Decimal(text)
            elif cql_type.name == "double":
                assert float(row[0]) == value
            elif cql_type.name == "text":
                assert row[0] == value


@pytest.mark.parametrize("text", ["1E+131072", "1E-16384", '"\\u0000"'])
def test_what_is_refused_here_is_refused_there(database: str, text: str) -> None:
    with psycopg.connect(database) as connection, pytest.raises(psycopg.DataError):
        connection.execute("SELECT %s::text::jsonb", (text,))
