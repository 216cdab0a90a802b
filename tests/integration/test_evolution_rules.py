"""Columns that rules name or match come, go and come back: what is hidden stays hidden, and nothing else is held up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from casscade.core.errors import ConfigurationError, RetryableError
from casscade.rules.masks import REDACTED
from tests.support.fake_schema import FakeCassandra, FakeLoader
from tests.support.schema_writes import number, write

pytestmark = [pytest.mark.servers, pytest.mark.requirement("FR-013"), pytest.mark.requirement("FR-015")]

Start = Callable[..., FakeLoader]
MARKER = b"Xq7Marker"


@pytest.fixture
def cassandra() -> FakeCassandra:
    return FakeCassandra()


@pytest.fixture
def start(cassandra: FakeCassandra, database: str, tmp_path: Path) -> Iterator[Start]:
    """Starts the next life of a loader with these lines of `transforms` and `where`."""
    lives: list[FakeLoader] = []

    def begin(*lines: str, name: str = "one", **options: Any) -> FakeLoader:
        entry = "".join(f"    {line}\n" for line in lines)
        lives.append(FakeLoader(cassandra, database, tmp_path, name, tables=entry, **options))
        return lives[-1]

    yield begin
    for life in lives:
        life.close()


def everything(loader: FakeLoader) -> str:
    """All rows and letters, bytes in hexadecimal."""
    tables = ("k.t", "casscade.dead_letters", "casscade.row_tombstones", "casscade.hidden_rows")
    return "\n".join(row[0] for table in tables for row in loader.rows(f"SELECT t::text FROM {table} t"))


@pytest.mark.requirement("FR-030")
def test_a_new_column_that_a_mask_matches_is_never_shown(cassandra: FakeCassandra, start: Start) -> None:
    mask = "transforms: [{mask: {columns: ['*email*'], with: redact}}]"
    cassandra.table(a="int")
    one, two = start(mask), start(mask, name="two", check_s=1e9)
    assert one.catalog.rules == {}, "nothing matches yet"
    cassandra.add("work_email", "text")
    mutation = write(cassandra, 6, {"a": number(2), "work_email": MARKER})
    with pytest.raises(RetryableError, match="concern the columns"):
        one.take(mutation)
    with pytest.raises(RetryableError, match="concern the columns"):
        two.take(mutation)  # which hears of it from the first
    again = start(mask)
    again.take(mutation)
    assert again.rows("SELECT a, work_email FROM k.t") == [(2, REDACTED)]
    assert MARKER.decode() not in everything(again)
    assert MARKER.hex() not in everything(again)


def test_a_column_with_a_rule_is_dropped_and_comes_back(cassandra: FakeCassandra, start: Start) -> None:
    rules = "transforms: [{mask: {columns: [email], with: redact}}, {rename: {column: email, to: address}}]"
    cassandra.table(a="int", email="text")
    one = start(rules)
    before = write(cassandra, 5, {"a": number(1), "email": MARKER})
    one.take(before)
    assert one.rows("SELECT a, address FROM k.t") == [(1, REDACTED)]
    cassandra.drop("email")
    with pytest.raises(RetryableError):
        one.evolution.look()
    without = start(rules)
    without.take(before, write(cassandra, 6, {"a": number(2)}, key=2))
    assert without.rows("SELECT c, a, address FROM k.t ORDER BY c") == [(1, 1, REDACTED), (2, 2, None)]
    cassandra.add("email", "text")
    with pytest.raises(RetryableError):
        without.evolution.look()
    back = start(rules)
    at = cassandra.tables["t"].altered_at + 10_000_000
    back.take(write(cassandra, at, {"a": number(3), "email": MARKER}, key=2))
    assert back.rows("SELECT a, address FROM k.t WHERE c = 2") == [(3, REDACTED)]
    assert MARKER.decode() not in everything(back)


def test_a_column_that_comes_back_as_what_its_rule_can_not_take_stops_the_pipeline(
    cassandra: FakeCassandra, start: Start
) -> None:
    rules = "transforms: [{mask: {columns: [email], with: redact}}]"
    cassandra.table(a="int", email="text")
    start(rules)
    cassandra.drop("email")
    cassandra.add("email", "int")
    with pytest.raises(ConfigurationError, match="redact needs a text") as refused:
        start(rules)
    assert "one.yaml:" in refused.value.where


def test_a_condition_on_a_column_that_was_dropped_stops_the_pipeline(cassandra: FakeCassandra, start: Start) -> None:
    cassandra.table(a="int", country="text")
    one = start("where: country = 'DE'")
    cassandra.drop("country")
    with pytest.raises(RetryableError):
        one.evolution.look()
    with pytest.raises(ConfigurationError, match="country") as refused:
        start("where: country = 'DE'")
    assert refused.value.code == "config_rules"
    assert "was dropped" in refused.value.what


def test_rows_that_were_judged_by_a_column_stay_what_they_are(cassandra: FakeCassandra, start: Start) -> None:
    """A condition is changed with the schema: what is stored keeps what it was, what is written is judged anew."""
    cassandra.table(a="int", country="text")
    one = start("where: country = 'DE'")
    one.take(write(cassandra, 5, {"country": b"FR"}), write(cassandra, 5, {"country": b"DE"}, key=2))
    cassandra.drop("country")
    later = start("where: a is not null")
    later.take(write(cassandra, 6, {"a": number(1)}, insert=False))
    assert later.rows("SELECT c, a FROM k.t ORDER BY c") == [(1, 1), (2, None)]
    with psycopg.connect(later.dsn) as connection:
        assert connection.execute("SELECT count(*) FROM casscade.hidden_rows").fetchone() == (0,)
