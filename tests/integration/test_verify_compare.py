"""The comparison itself, checked: rows written by hand on both sides, then one thing after the other made wrong."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import Target, build_target
from casscade.schema.reader import read_schema
from casscade.verify.compare import TableComparison, compare_table

pytestmark = pytest.mark.servers

PARTITIONS = 40


class Copy:
    """The table `t` of a keyspace and its copy, equal at first."""

    def __init__(self, session: Any, connection: psycopg.Connection[Any], target: Target) -> None:
        self.session = session
        self.connection = connection
        self.target = target
        self.schema = target.rows.schema

    def sql(self, text: str) -> None:
        """Change PostgreSQL; `t` and `t_static` are the relations."""
        self.connection.execute(text.encode())

    def compare(self, **options: Any) -> TableComparison:
        """Compare in small pages, so that there are many."""
        settings = {"consistency": 1, "token_ranges": 3, "page_rows": 7, "settle_s": 0.01} | options
        return compare_table(self.session, self.connection, self.target, **settings)


def fill(session: Any, keyspace: str) -> None:
    """Cassandra's side."""
    session.execute(
        f"CREATE TABLE {keyspace}.t (p text, at timestamp, n decimal, s int static, v text, tags set<text>, "
        "d date, q double, j frozen<map<text, int>>, PRIMARY KEY (p, at, n)) WITH CLUSTERING ORDER BY (at DESC, n ASC)"
    )
    insert = session.prepare(
        f"INSERT INTO {keyspace}.t (p, at, n, s, v, tags, d, q, j) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    )
    for p in range(PARTITIONS):
        for c in range(p % 4):
            tags = {"x", "a"} if c else set()
            session.execute(
                insert, (str(p), c * 86_400_000, c, p, f"v{c}\0", tags, "2024-01-31", float("nan"), {"k": c})
            )
        if p % 4 == 0:
            session.execute(f"INSERT INTO {keyspace}.t (p, s) VALUES (%s, %s)", (str(p), p))


def copied(session: Any, keyspace: str, connection: psycopg.Connection[Any]) -> Copy:
    """PostgreSQL's side of what `fill` wrote."""
    table = next(table for table in read_schema(session).tables.values() if table.keyspace == keyspace)
    target = build_target(table)
    for statement in plan_target(target, ExistingSchema()):
        connection.execute(statement.sql.encode())
    connection.execute(f"SET search_path TO {keyspace}".encode())
    for p in range(PARTITIONS):
        for c in range(p % 4):
            connection.execute(
                "INSERT INTO t (p, at, n, v, tags, d, q, j, _cdc_ts) "
                "VALUES (%s, to_timestamp(%s), %s, %s, %s, '2024-01-31', 'NaN', %s, 1)",
                (str(p), c * 86_400, c, f"v{c}\ufffd", "{a,x}" if c else None, f'{{"k": {c}}}'),
            )
        connection.execute("INSERT INTO t_static (p, s, _cdc_ts) VALUES (%s, %s, 1)", (str(p), p))
    return Copy(session, connection, target)


@pytest.fixture(scope="module")
def filled(cassandra_session: Any) -> Iterator[str]:
    """A keyspace for all tests that change nothing in Cassandra."""
    name = f"verify_{uuid.uuid4().hex[:12]}"
    cassandra_session.execute(
        f"CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    )
    fill(cassandra_session, name)
    yield name
    cassandra_session.execute(f"DROP KEYSPACE {name}", timeout=60)


@pytest.fixture
def copy(cassandra_session: Any, filled: str, database: str) -> Iterator[Copy]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield copied(cassandra_session, filled, connection)


@pytest.fixture
def own_copy(cassandra_session: Any, keyspace: str, database: str) -> Iterator[Copy]:
    """For a test that changes Cassandra's side."""
    fill(cassandra_session, keyspace)
    with psycopg.connect(database, autocommit=True) as connection:
        yield copied(cassandra_session, keyspace, connection)


def test_equal_sides(copy: Copy) -> None:
    seen: list[tuple[int, float]] = []
    result = copy.compare(progress=lambda rows, done: seen.append((rows, done)))
    assert (result.rows_cassandra, result.rows_postgres, result.differences) == (60, 60, 0)
    assert seen == sorted(seen)
    assert seen[-1] == (60, 1.0)
    assert len(seen) > 5


def test_exactly_what_was_made_wrong_is_found(copy: Copy) -> None:
    copy.sql("UPDATE t SET v = 'wrong', d = 'infinity' WHERE p = '3' AND n = 1")
    copy.sql("DELETE FROM t WHERE p = '7' AND n = 2")
    copy.sql("INSERT INTO t (p, at, n, _cdc_ts) VALUES ('new', now(), 1, 1), ('7', to_timestamp(0), 5, 1)")
    copy.sql("UPDATE t_static SET s = NULL WHERE p = '8'")
    copy.sql("INSERT INTO t_static (p, s, _cdc_ts) VALUES ('gone', 1, 1)")
    copy.sql("DELETE FROM t_static WHERE p = '9'")
    result = copy.compare(show_values=True)
    rows = f"{copy.schema}.t"
    found = {(example.relation, example.kind, example.columns) for example in result.examples}
    assert found == {
        (rows, "different", ("d", "v")),
        (rows, "missing", ()),
        (rows, "extra", ()),
        (f"{rows}_static", "different", ("s",)),
        (f"{rows}_static", "extra", ()),
        (f"{rows}_static", "missing", ()),
    }
    assert result.kinds == {"different": 2, "missing": 2, "extra": 3}
    assert result.rows_postgres == 61


def test_each_type_of_value_can_differ(copy: Copy) -> None:
    copy.sql("UPDATE t SET tags = '{a}' WHERE p = '3' AND n = 1")
    copy.sql("""UPDATE t SET j = '{"k": "1"}' WHERE p = '7' AND n = 1""")
    copy.sql("UPDATE t SET q = 0 WHERE p = '11' AND n = 1")
    copy.sql("UPDATE t SET tags = '{}' WHERE p = '15' AND n = 0")
    result = copy.compare(max_examples=3)
    assert result.differences == 4
    assert len(result.examples) == 3
    assert {example.columns for example in result.examples} <= {("tags",), ("j",), ("q",)}


def test_keys_and_values_are_shown_only_when_asked_for(copy: Copy) -> None:
    copy.sql("UPDATE t SET v = 'secret' WHERE p = '3' AND n = 1")
    hidden, shown = copy.compare(), copy.compare(show_values=True)
    assert "secret" not in str(hidden.examples[0])
    assert "'3'" not in str(hidden.examples[0])
    assert "secret" in str(shown.examples[0])
    assert "'3'" in str(shown.examples[0])


def test_what_agrees_after_a_moment_is_no_difference(own_copy: Copy) -> None:
    copy = own_copy
    copy.sql("DELETE FROM t WHERE p = '5'")
    copy.sql("DELETE FROM t_static WHERE p = '5'")
    copy.sql("INSERT INTO t (p, at, n, _cdc_ts) VALUES ('late', to_timestamp(0), 1, 1)")
    late = f"INSERT INTO {copy.schema}.t (p, at, n) VALUES ('late', 0, 1)"
    gone = f"DELETE FROM {copy.schema}.t WHERE p = '5'"
    assert copy.compare().kinds == {"missing": 2, "extra": 1}
    timers = [threading.Timer(0.3, copy.session.execute, (statement,)) for statement in (late, gone)]
    for timer in timers:
        timer.start()
    result = copy.compare(settle_s=0.4)
    for timer in timers:
        timer.join()
    assert result.differences == 0


def test_a_key_that_postgres_cannot_hold_is_missing(own_copy: Copy) -> None:
    copy = own_copy
    for key in ("3", "3\0"):
        insert = f"INSERT INTO {copy.schema}.t (p, at, n) VALUES (%s, 0, 1.10)"
        copy.session.execute(insert, (key,))
    copy.sql("INSERT INTO t (p, at, n, _cdc_ts) VALUES ('3', to_timestamp(0), 1.1, 1)")
    result = copy.compare()
    assert result.kinds == {"missing": 1}
