"""Lists and counters that were there before: random writes beside and after the snapshot, and both sides end equal."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from casscade.devstack.cassandra import CassandraNode
from tests.support.pipeline_process import configuration, running
from tests.support.replica import eventually

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("cdc")]

PARTITIONS, ROWS = 6, 4
SEED = 20
SCHEMA = (
    "CREATE TABLE {ks}.lists (p int, c int, s list<int> static, l list<int>, v int, PRIMARY KEY (p, c)) "
    "WITH cdc = true",
    "CREATE TABLE {ks}.counts (p int, c int, s counter static, n counter, PRIMARY KEY (p, c)) WITH cdc = true",
)
LISTS = (
    "UPDATE {ks}.lists SET l = l + [{x}] WHERE p = {p} AND c = {c}",
    "UPDATE {ks}.lists SET l = [{x}, 7] + l WHERE p = {p} AND c = {c}",
    "UPDATE {ks}.lists SET l = l - [{x}] WHERE p = {p} AND c = {c}",
    "UPDATE {ks}.lists SET l = [{x}, 8] WHERE p = {p} AND c = {c}",
    "UPDATE {ks}.lists USING TTL 1 SET l = l + [{x}], v = {x} WHERE p = {p} AND c = {c}",
    "UPDATE {ks}.lists SET s = s + [{x}], v = {x} WHERE p = {p} AND c = {c}",
    "UPDATE {ks}.lists SET s = s - [{x}] WHERE p = {p}",
    "DELETE l FROM {ks}.lists WHERE p = {p} AND c = {c}",
    "DELETE FROM {ks}.lists WHERE p = {p} AND c = {c}",
    "DELETE FROM {ks}.lists WHERE p = {p} AND c > {c}",
    "INSERT INTO {ks}.lists (p, c, l, v) VALUES ({p}, {c}, [{x}, 9], {x})",
)
COUNTS = (
    "UPDATE {ks}.counts SET n = n + {x} WHERE p = {p} AND c = {c}",
    "UPDATE {ks}.counts SET n = n - {x} WHERE p = {p} AND c = {c}",
    "UPDATE {ks}.counts SET s = s + {x} WHERE p = {p}",
    "BEGIN COUNTER BATCH UPDATE {ks}.counts SET s = s - {x} WHERE p = {p}; "
    "UPDATE {ks}.counts SET n = n + {x} WHERE p = {p} AND c = {c}; APPLY BATCH",
)
DELETED_COUNTS = (
    "DELETE FROM {ks}.counts WHERE p = {p} AND c = {c}",
    "DELETE FROM {ks}.counts WHERE p = {p} AND c > {c}",
    "DELETE s FROM {ks}.counts WHERE p = {p}",
)


class Writer:
    """Random statements of one seed."""

    def __init__(self, session: Any, keyspace: str, seed: int) -> None:
        self.session = session
        self.keyspace = keyspace
        self.rng = random.Random(seed)

    def write(self, statements: tuple[str, ...], count: int) -> None:
        for _ in range(count):
            text = self.rng.choice(statements)
            for mark, limit in (("{p}", PARTITIONS), ("{c}", ROWS), ("{x}", 4)):
                text = text.replace(mark, str(self.rng.randrange(limit)))
            self.session.execute(text.replace("{ks}", self.keyspace))


def both(session: Any, connection: psycopg.Connection[Any], keyspace: str) -> Callable[[], object]:
    """What differs between the two sides: a function that gives () when nothing does."""
    columns = {"lists": "p, c, s, l, v", "counts": "p, c, s, n"}

    def look() -> object:
        for table, names in columns.items():
            ours = connection.execute(f"SELECT {names} FROM {keyspace}.{table}_with_static".encode()).fetchall()
            theirs = session.execute(f"SELECT {names} FROM {keyspace}.{table}")
            if sorted(map(repr, ours)) != sorted(repr(tuple(row)) for row in theirs):
                return (table, sorted(map(repr, ours)), sorted(repr(tuple(row)) for row in theirs))
        return ()

    return look


@pytest.mark.requirement("FR-003")
def test_what_was_there_before_ends_equal(
    cassandra_node: CassandraNode, cassandra_session: Any, keyspace: str, database: str, tmp_path: Path
) -> None:
    for statement in SCHEMA:
        cassandra_session.execute(statement.replace("{ks}", keyspace))
    writer = Writer(cassandra_session, keyspace, SEED)
    writer.write(LISTS, 80)
    writer.write(COUNTS, 60)
    tables = [{"source": f"{keyspace}.{table}"} for table in ("lists", "counts")]
    document = configuration(cassandra_node, database, tmp_path / "state", tables)
    with running(tmp_path, document) as process, psycopg.connect(database, autocommit=True) as connection:
        # The snapshot begins somewhere in between.
        for _ in range(6):
            writer.write(LISTS, 15)
            writer.write(COUNTS, 15)
        process.wait_caught_up()
        writer.write((*LISTS, *COUNTS), 30)
        writer.write((*COUNTS, *DELETED_COUNTS), 60)
        eventually(both(cassandra_session, connection, keyspace), (), process, 30)
