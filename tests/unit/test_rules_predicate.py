"""Conditions: what they parse to, what they refuse and where, and what they say of rows."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from ipaddress import ip_address
from typing import Any

import pytest

from casscade.core.errors import BadDataError
from casscade.cql.types import CqlType
from casscade.cql.values import encode
from casscade.rules.faults import RuleError
from casscade.rules.predicate import Predicate
from casscade.rules.syntax import conjuncts, parse

TYPES = {
    "country": CqlType("text"),
    "name": CqlType("text"),
    "note": CqlType("text"),
    "kind": CqlType("ascii"),
    "age": CqlType("int"),
    "big": CqlType("varint"),
    "price": CqlType("decimal"),
    "ratio": CqlType("double"),
    "small": CqlType("float"),
    "vip": CqlType("boolean"),
    "at": CqlType("timestamp"),
    "day": CqlType("date"),
    "hour": CqlType("time"),
    "id": CqlType("uuid"),
    "tid": CqlType("timeuuid"),
    "addr": CqlType("inet"),
    "raw": CqlType("blob"),
    "Odd Name": CqlType("int"),
    "tags": CqlType("set", (CqlType("text"),)),
    "took": CqlType("duration"),
}


def matches(condition: str, **values: Any) -> bool:
    predicate = Predicate(parse(condition), TYPES)
    found = [None if values.get(name) is None else encode(TYPES[name], values[name]) for name in predicate.columns]
    return predicate.matches(found)


WHOLE = "country = 'DE' and (age >= 18 or vip) and name like 'A%' and note is not null and kind in ('a','b')"


@pytest.mark.requirement("FR-006")
def test_all_of_the_language_at_once() -> None:
    row: dict[str, Any] = {"country": "DE", "age": 18, "vip": None, "name": "Ada", "note": "", "kind": "b"}
    assert matches(WHOLE, **row)
    assert matches(WHOLE, **{**row, "age": 3, "vip": True})
    for change in ({"country": "FR"}, {"age": 17}, {"name": "Bob"}, {"note": None}, {"kind": "c"}, {"country": None}):
        assert not matches(WHOLE, **{**row, **change}), change


@pytest.mark.parametrize(
    ("condition", "values", "outcome"),
    [
        ("age = 5", {"age": 5}, True),
        ("age <> 5", {"age": 5}, False),
        ("age != 5", {"age": 6}, True),
        ("age < 5.5", {"age": 5}, True),
        ("AGE >= -3 AND NOT vip", {"age": -3, "vip": False}, True),
        ("not vip", {}, False),
        ("not (age = 5)", {}, False),
        ("age = 5 or vip", {"vip": True}, True),
        ("not (age = 5 and vip)", {"vip": False}, True),
        ("age not in (1, 2)", {"age": 3}, True),
        ("age not in (1, 2)", {}, False),
        ("age in (1, 2.0)", {"age": 2}, True),
        ("age is null", {}, True),
        ("big > 99999999999999999999999999999999", {"big": 10**40}, True),
        ("price = 1.50", {"price": Decimal("1.500")}, True),
        ("price > age", {"price": Decimal("2.5"), "age": 2}, True),
        ("ratio = 0.1", {"ratio": 0.1}, True),
        ("small = 0.1", {"small": 0.1}, True),
        ("ratio > 1e300", {"ratio": float("nan")}, True),
        ("ratio = ratio", {"ratio": float("nan")}, True),
        ("ratio < 0", {"ratio": -0.0}, False),
        ("price < 5", {"price": Decimal("1E-2000000000")}, True),
        ("vip = true", {"vip": True}, True),
        ("at >= '2026-01-31T12:00:00+02:00'", {"at": 1769853600000}, True),
        ("at < '2026-01-31T10:00:00Z'", {"at": 1769853600000}, False),
        ("day = '2026-01-31'", {"day": (datetime.date(2026, 1, 31) - datetime.date(1970, 1, 1)).days}, True),
        ("hour > '12:30'", {"hour": (12 * 3600 + 30 * 60) * 10**9 + 1}, True),
        ("id = '00000000-0000-0000-0000-000000000001'", {"id": uuid.UUID(int=1)}, True),
        ("addr = '::1'", {"addr": ip_address("::1")}, True),
        ("raw = 0xCAFE", {"raw": b"\xca\xfe"}, True),
        ("raw = 0x", {"raw": b""}, True),
        ('"Odd Name" = 1', {"Odd Name": 1}, True),
        ("country = 'it''s'", {"country": "it's"}, True),
        ("name like '_%b\\_%'", {"name": "aab_c"}, True),
        ("name like '_%b\\_%'", {"name": "aabxc"}, False),
        ("name like ''", {"name": ""}, True),
        ("name not like '%\x00%'", {"name": "a\x00b"}, False),
        ("tags is not null", {"tags": ["a"]}, True),
        ("took is null", {}, True),
    ],
)
def test_what_conditions_say(condition: str, values: dict[str, Any], outcome: bool) -> None:
    assert matches(condition, **values) is outcome


@pytest.mark.parametrize(
    ("condition", "position", "part"),
    [
        ("", 1, "empty"),
        ("country = ", 11, "a value or a column"),
        ("country == 'x'", 10, "a value or a column"),
        ("contry = 'DE'", 1, 'did you mean "country"'),
        ("country = 5", 11, "a text in single quotes"),
        ("age = '5'", 7, "a number without quotes"),
        ("age = name", 7, "can't be compared with a text"),
        ("age", 1, "no condition by itself"),
        ("age like '5%'", 10, "like needs a text"),
        ("country = 'DE", 11, "not closed"),
        ("country = null", 11, "is null"),
        ("vip > true", 7, "no order"),
        ("(age = 1", 9, "not closed"),
        ("age = 1) ", 8, "ends before this"),
        ("age in ()", 9, "a value was expected"),
        ("age in (1 2)", 11, ", or )"),
        ("age = 1 adn vip", 9, 'did you mean "and"'),
        ("tags = 'a'", 1, "can't be compared"),
        ("at = '2026-01-31T12:00:00'", 6, "a moment with its zone"),
        ("day = '2026-02-30'", 7, "a day"),
        ("hour = '25:00'", 8, "a time of day"),
        ("id = 'x'", 6, "a UUID"),
        ("addr = '300.1.1.1'", 8, "an address"),
        ("raw = 0xabc", 7, "hexadecimal"),
        ("name like 'a\\'", 11, "ends in"),
        ("age = 1e99999999", 7, "a number of a size"),
        ("small = 1e300", 9, "a number of a size"),
        ("age = 5x", 8, "ends in a letter"),
        ("age = 1 && vip", 9, "write and"),
        ("age = 1; drop table x", 8, "one expression"),
        ("__import__('os')", 11, "ends before this"),
    ],
)
def test_what_is_refused_and_where(condition: str, position: int, part: str) -> None:
    with pytest.raises(RuleError) as refused:
        Predicate(parse(condition), TYPES)
    assert refused.value.position == position
    assert part in f"{refused.value.what} ({refused.value.hint})"


def test_bounds() -> None:
    for condition, part in [
        ("(" * 60 + "vip" + ")" * 60, "deeper than 50"),
        ("not " * 10_000 + "vip", "10000 characters"),
        ("not " * 2000 + "vip", "deeper than 50"),
        ("age in (" + ",".join(["1"] * 1001) + ")", "more than 1000"),
    ]:
        with pytest.raises(RuleError, match=part):
            parse(condition)
    assert matches(" or ".join(["age = 1"] * 900), age=1)


@pytest.mark.parametrize(("column", "value"), [("age", b"\x01"), ("name", b"\xff\xfe"), ("vip", b"\x01\x02")])
def test_bytes_that_are_no_value_are_the_rows_fault(column: str, value: bytes) -> None:
    predicate = Predicate(parse(f"{column} is not null"), TYPES)
    with pytest.raises(BadDataError) as failed:
        predicate.matches([value])
    assert failed.value.code == "rule_failed"
    assert "where" in failed.value.what


def test_an_empty_value_of_a_number_is_null() -> None:
    assert Predicate(parse("age is null"), TYPES).matches([b""])
    assert not Predicate(parse("name is null"), TYPES).matches([b""])


def test_a_slow_pattern_is_not_slow() -> None:
    assert not matches("name like '" + "%a" * 200 + "b'", name="a" * 5000)


def test_conditions_that_must_all_hold() -> None:
    assert len(conjuncts(parse(WHOLE))) == 5
    assert len(conjuncts(parse("(age = 1 and vip) and name = 'x'"))) == 3
    assert len(conjuncts(parse("age = 1 or vip"))) == 1
