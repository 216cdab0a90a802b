"""Each transform, with the values that it is meant for and with hostile ones."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from decimal import Decimal
from typing import Any

import pytest

from casscade.config.rules import RulesSection, Transform
from casscade.core.errors import BadDataError
from casscade.cql.types import CqlType
from casscade.cql.values import decode, encode
from casscade.rules.chain import Chain
from casscade.rules.faults import RuleError
from casscade.rules.steps import Step, step_of
from tests.support.ruled import KEY

pytestmark = pytest.mark.requirement("FR-013")

TEXT = CqlType("text")
HUGE = "ß" * 500_000


def chain(type_: str | CqlType, *transforms: dict[str, Any], key: str | None = KEY) -> Chain:
    source = type_ if isinstance(type_, CqlType) else CqlType(type_)
    steps: list[Step] = []
    shared = RulesSection.model_validate({} if key is None else {"key": key})
    for each in transforms:
        (word, section) = next(iter(each.items()))
        transform = Transform.model_validate({word: {"columns": ["c"], **section}})
        steps.append(step_of(transform, steps[-1].result if steps else source, shared))
    return Chain(source, steps)


def result(type_: str, value: Any, *transforms: dict[str, Any]) -> Any:
    made = chain(type_, *transforms)
    found = made.apply(encode(CqlType(type_), value))
    return None if found is None else decode(made.result, found)


REDACT, PARTIAL = {"mask": {"with": "redact"}}, {"mask": {"with": "partial"}}
FORMAT, HMAC = {"mask": {"with": "format"}}, {"mask": {"with": "hmac-sha256"}}
HASH: dict[str, Any] = {"hash": {}}
TRIM: dict[str, Any] = {"trim": {}}
UTC: dict[str, Any] = {"utc": {}}


def cast(to: str) -> dict[str, Any]:
    return {"cast": {"to": to}}


def path(text: str) -> dict[str, Any]:
    return {"json_path": {"path": text}}


def python(name: str, to: str = "text") -> dict[str, Any]:
    return {"python": {"function": f"{__name__}:{name}", "to": to}}


def reversed_text(value: str) -> str:
    return value[::-1]


def failing(value: str) -> str:
    raise RuntimeError(f"no: {value}")


def of_wrong_type(value: str) -> Any:
    return ["a list"]


def nothing(value: str) -> None:
    return None


def _hashed(text: str) -> str:
    return hmac.new(KEY.encode(), text.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("type_", "value", "transforms", "expected"),
    [
        ("text", "secret", [REDACT], "***"),
        ("text", "", [REDACT], "***"),
        ("text", "4111111111111234", [PARTIAL], "************1234"),
        ("text", "abc", [PARTIAL], "**c"),
        ("text", "ab", [PARTIAL], "**"),
        ("text", "", [PARTIAL], ""),
        ("text", "Ädä-Löv 42@x.de\x00", [FORMAT], "Xxx-Xxx 00@x.xx\x00"),
        ("text", "👍 e\u0301, क्षि\u00a0½", [FORMAT], "x xx, xxxxx0"),
        ("text", "a@b.de", [HMAC], _hashed("a@b.de")),
        ("int", 5, [HMAC], _hashed("5")),
        ("bigint", 5, [HASH], _hashed("5")),
        ("text", "5", [HASH], _hashed("5")),
        ("uuid", uuid.UUID(int=7), [HASH], _hashed(str(uuid.UUID(int=7)))),
        ("decimal", Decimal("1.50"), [HASH], _hashed("1.50")),
        ("text", "x", [{"constant": {"value": "y"}}], "y"),
        ("int", 3, [{"constant": {"value": "-7"}}], -7),
        ("text", " \u2003a b\n", [TRIM], "a b"),
        ("text", "  ", [TRIM], ""),
        ("text", "\x00 a", [TRIM], "\x00 a"),
        ("ascii", "Ab", [{"case": {"to": "upper"}}], "AB"),
        ("text", "Straße", [{"case": {"to": "upper"}}], "STRASSE"),
        ("text", " 42 ", [cast("int")], 42),
        ("text", "1e3", [cast("bigint")], 1000),
        ("text", "yes", [{"case": {"to": "upper"}}, TRIM], "YES"),
        ("int", 42, [cast("text")], "42"),
        ("double", 2.0, [cast("int")], 2),
        ("int", 3, [cast("double")], 3.0),
        ("text", "t", [cast("boolean")], True),
        ("boolean", True, [cast("text")], "true"),
        ("timestamp", 86_400_000 * 2 + 5, [cast("date")], 2),
        ("date", 2, [cast("timestamp")], 86_400_000 * 2),
        ("text", "2026-01-31", [cast("date")], 20484),
        ("text", "12:30", [cast("time")], 45_000_000_000_000),
        ("timestamp", 0, [cast("text")], "1970-01-01T00:00:00.000Z"),
        ("text", '{"a": {"b": [1, {"c d": "x"}]}}', [path("$.a.b[1]['c d']")], "x"),
        ("text", '{"a": 1.50}', [path("$.a")], "1.50"),
        ("text", '{"a": true}', [path("$.a")], "true"),
        ("text", '{"a": null}', [path("$.a")], None),
        ("text", '{"a": [1, 2]}', [path("$.a[2]")], None),
        ("text", '{"a": {"b": [1, 2.5]}}', [path("$.a")], '{"b":[1,2.5]}'),
        ("text", '["a"]', [path("$.a")], None),
        ("text", '{"n": "7"}', [path("$.n"), cast("int")], 7),
        ("text", "2026-07-01T12:00:00+02:00", [UTC], 1782900000000),
        ("text", "2026-07-01 10:00:00Z", [UTC], 1782900000000),
        ("text", "2026-07-01 12:00:00 Europe/Berlin", [UTC], 1782900000000),
        ("text", "2026-07-01 12:00", [{"utc": {"zone": "Europe/Berlin"}}], 1782900000000),
        # The clocks showed 02:30 twice: the first.
        ("text", "2026-10-25 02:30 Europe/Berlin", [UTC], 1792888200000),
        ("text", "abc", [python("reversed_text")], "cba"),
        ("text", "abc", [python("nothing")], None),
        ("text", " A@B ", [TRIM, {"case": {"to": "lower"}}, HMAC], _hashed("a@b")),
        ("text", HUGE, [TRIM], HUGE),
        ("text", HUGE, [FORMAT], "x" * len(HUGE)),
    ],
)
def test_what_comes_out(type_: str, value: Any, transforms: list[dict[str, Any]], expected: Any) -> None:
    assert result(type_, value, *transforms) == expected
    assert result(type_, value, *transforms) == expected, "a replay gives the same"


@pytest.mark.requirement("FR-030")
@pytest.mark.parametrize(
    ("type_", "value", "transforms", "rule"),
    [
        ("text", "secret x", [cast("int")], "cast"),
        ("text", "1.5", [cast("int")], "cast"),
        ("text", "secret", [cast("boolean")], "cast"),
        ("text", "2026-02-30", [cast("date")], "cast"),
        ("text", "NaN", [cast("int")], "cast"),
        ("text", "1e999999999", [cast("varint")], "cast"),
        ("text", "99999999999", [cast("int")], "cast"),
        ("text", "secret\u00e9", [cast("ascii")], "cast"),
        ("double", float("inf"), [cast("decimal")], "cast"),
        ("double", 1e300, [cast("float")], "cast"),
        ("text", "", [cast("uuid")], "cast"),
        ("text", "secret{", [path("$.a")], "json_path"),
        ("text", "[" * 100_000, [path("$.a")], "json_path"),
        ("text", '{"a": NaN}', [path("$.a")], "json_path"),
        ("text", "2026-07-01 12:00", [UTC], "utc"),
        ("text", "2026-07-01 12:00 Secret/Zone", [UTC], "utc"),
        ("text", "2026-07-01 12:00 ../../etc/passwd", [UTC], "utc"),
        ("text", "0001-01-01T00:00:00+14:00x", [UTC], "utc"),
        ("text", "secret", [python("failing")], "python"),
        ("text", "secret", [python("of_wrong_type")], "python"),
    ],
)
def test_a_value_that_does_not_fit_names_the_rule_and_not_the_value(
    type_: str, value: Any, transforms: list[dict[str, Any]], rule: str
) -> None:
    with pytest.raises(BadDataError) as failed:
        result(type_, value, *transforms)
    assert failed.value.code == "rule_failed"
    assert f"The rule {rule}" in failed.value.what
    assert "ecret" not in str(failed.value)
    assert failed.value.__cause__ is None


@pytest.mark.parametrize("transform", [REDACT, PARTIAL, FORMAT, HMAC, HASH, TRIM, cast("int"), python("reversed_text")])
def test_bytes_that_are_no_text_are_the_rows_fault(transform: dict[str, Any]) -> None:
    with pytest.raises(BadDataError) as failed:
        chain("text", transform).apply(b"\xff\xfe")
    assert failed.value.code == "rule_failed"


def test_an_empty_value_of_a_number_stays_null() -> None:
    assert chain("int", HMAC).apply(b"") is None
    assert chain("int", cast("text")).apply(b"") is None


@pytest.mark.parametrize(
    ("type_", "transforms", "part"),
    [
        ("int", [TRIM], "needs a text"),
        ("int", [REDACT], "redact needs a text"),
        ("int", [{"constant": {"value": "x"}}], "its value is no int"),
        ("uuid", [cast("int")], "can't become"),
        ("text", [cast("int"), {"case": {"to": "lower"}}], "needs a text, and the column is a int"),
        ("text", [path("a.b")], "begins with $"),
        ("text", [path("$.a[")], "can't be read"),
        ("text", [{"utc": {"zone": "Nowhere/Else"}}], "knows no such zone"),
        ("text", [{"python": {"function": "no_such_module:f"}}], "can't be loaded"),
        ("text", [{"python": {"function": "math:pi"}}], "is no function"),
    ],
)
def test_what_does_not_fit_is_refused(type_: str, transforms: list[dict[str, Any]], part: str) -> None:
    with pytest.raises(RuleError) as refused:
        chain(type_, *transforms)
    assert part in refused.value.what


def test_hashes_need_a_key_and_differ_by_it() -> None:
    with pytest.raises(RuleError, match="has no key"):
        chain("text", HMAC, key=None)
    own = chain("text", {"mask": {"with": "hmac-sha256", "key": "another key of 16 bytes"}}, key=None)
    assert own.apply(b"x") != chain("text", HMAC).apply(b"x")


def test_what_hides_and_what_only_shows() -> None:
    assert chain("text", TRIM, HMAC).hides
    assert chain("text", python("reversed_text")).hides
    assert not chain("text", TRIM, path("$.a"), cast("int")).hides
    assert chain("text", path("$.a")).nulls
