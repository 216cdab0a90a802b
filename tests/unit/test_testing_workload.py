"""The random workload: repeatable, and with every kind of write in it."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from cassandra.query import UNSET_VALUE

from casscade.cql.types import SIMPLE_TYPES, CqlType, parse_type
from casscade.testing.samples import (
    ALL,
    COLLECTIONS,
    COUNTERS,
    EVERYTHING,
    EXPIRING,
    KEYS_ONLY,
    NAMES,
    ORDERED,
    PLAIN,
    STATICS,
    VECTORS,
    WIDE_PARTITION,
    tables_for,
)
from casscade.testing.tables import Role, SampleTable, create_all
from casscade.testing.values import random_key, random_value
from casscade.testing.workload import ODD_TIMES, Operation, Options, Statement, Workload


def statements(workload: Workload, operations: int) -> list[Statement]:
    """The statements of that many operations."""
    return [statement for operation in itertools.islice(workload, operations) for statement in operation.statements]


def cql_of(table: SampleTable) -> str:
    """The statements of some seeds on one table."""
    workloads = [Workload(seed, "ks", [table]) for seed in range(3)]
    return "\n".join(statement.cql for workload in workloads for statement in statements(workload, 600))


def test_a_seed_repeats_its_operations() -> None:
    def some(seed: int) -> list[Operation]:
        return list(itertools.islice(Workload(seed, "ks", ALL), 300))

    assert repr(some(7)) == repr(some(7))
    assert repr(some(7)) != repr(some(8))


def test_every_kind_of_write_comes() -> None:
    options = Options(timestamps=None, conditional=0.1)
    kinds = Counter(statement.kind for statement in statements(Workload(1, "ks", ALL, options), 2000))
    assert set(kinds) == {
        "count",
        "count_static",
        "insert",
        "insert_if",
        "insert_static",
        "update",
        "update_if",
        "update_static",
        "delete_row",
        "delete_if",
        "delete_columns",
        "delete_static",
        "delete_partition",
        "delete_range",
        "delete_in",
        "delete_prefix",
        "delete_slice",
    }


def test_every_bound_of_a_range_comes() -> None:
    texts = cql_of(ORDERED)
    for part in (
        "c1 > ?",
        "c1 >= ?",
        "c1 < ?",
        "c1 <= ?",
        "c2 > ?",
        "(c1, c2) >= (?, ?)",
        "(c1) < (?)",
        "c2 IN (?, ?)",
    ):
        assert part in texts, part
    assert "b IN (?, ?)" in texts


def test_every_operation_on_collections_comes() -> None:
    texts = cql_of(COLLECTIONS)
    for part in (
        "tags = tags + ?",
        "tags = tags - ?",
        "numbers = numbers + ?",
        "numbers = ? + numbers",
        "numbers = numbers - ?",
        "numbers[?] = ?",
        "counts = counts + ?",
        "counts = counts - ?",
        "counts[?] = ?",
        "home.number = ?",
        "tags = ?",
        "DELETE home.",
        "DELETE numbers[?]",
    ):
        assert part in texts, part


def test_timestamps_tie_and_values_are_null_and_unset() -> None:
    found = [s for s in statements(Workload(1, "ks", [PLAIN], Options(timestamps=(3, 4))), 500) if s.kind == "insert"]
    times = {statement.values[-2] for statement in found}
    values = [value for statement in found for value in statement.values[1:-2]]
    assert times == {3, 4}
    assert None in values
    assert UNSET_VALUE in values
    assert {statement.values[-1] for statement in found} > {UNSET_VALUE}


def test_conditions_come_without_explicit_timestamps() -> None:
    options = Options(timestamps=None, conditional=1.0)
    for statement in statements(Workload(1, "ks", [PLAIN, KEYS_ONLY], options), 100):
        assert " IF " in statement.cql
        assert "TIMESTAMP" not in statement.cql


def test_conditions_name_values() -> None:
    options = Options(timestamps=None, conditional=1.0)
    texts = "\n".join(s.cql for s in statements(Workload(1, "ks", [PLAIN, STATICS], options), 500))
    for part in ("IF NOT EXISTS", "IF EXISTS", "IF v = ?", "IF b != ?", "IF c >= ?", "IF s1 = ?"):
        assert part in texts, part


def test_counters_have_neither_times_nor_other_tables_in_a_batch() -> None:
    operations = list(
        itertools.islice(Workload(1, "ks", [COUNTERS, PLAIN], Options(batch=0.3, counter_deletions=True)), 600)
    )
    counting = [one for one in operations if any(s.table == "counters" for s in one.statements)]
    found = [statement for operation in counting for statement in operation.statements]
    assert {statement.table for statement in found} == {"counters"}
    assert {operation.batch for operation in counting} == {"", "COUNTER"}
    kinds = {statement.kind for statement in found}
    assert kinds >= {"count", "count_static", "delete_row", "delete_columns", "delete_static", "delete_range"}
    assert not any(word in statement.cql for statement in found for word in ("TTL", "TIMESTAMP", "INSERT"))
    texts = {statement.cql for statement in found}
    assert any("v = v + ?" in text for text in texts)
    assert any("w = w - ?" in text for text in texts)


def test_counters_are_deleted_only_when_asked_for() -> None:
    assert {statement.kind for statement in statements(Workload(1, "ks", [COUNTERS]), 300)} == {"count", "count_static"}


def test_times_far_away_and_ttls_of_nothing() -> None:
    options = Options(odd_times=0.2, ttl=0.5)
    found = [s for s in statements(Workload(1, "ks", [EXPIRING], options), 2000) if s.kind == "insert"]
    assert {statement.values[-2] for statement in found} == {*range(1, 6), *ODD_TIMES}
    assert {statement.values[-1] for statement in found} >= {0, None, UNSET_VALUE}


def test_half_of_the_batches_are_on_one_partition() -> None:
    workload = Workload(1, "ks", [KEYS_ONLY], Options(batch=1.0, partitions=50))
    inserts = [[s for s in one.statements if s.kind == "insert"] for one in itertools.islice(workload, 200)]
    keys = [{statement.values[0] for statement in found} for found in inserts if len(found) > 1]
    together = sum(len(found) == 1 for found in keys)
    assert len(keys) // 3 < together < len(keys)


def test_a_wide_table_has_one_partition_of_many_rows() -> None:
    workload = Workload(1, "ks", [WIDE_PARTITION], Options(partitions=10, clusterings=2))
    inserts = [statement for statement in statements(workload, 500) if statement.kind == "insert"]
    assert len({statement.values[0] for statement in inserts}) == 1
    assert len({statement.values[1:3] for statement in inserts}) > 50


def test_odd_names_are_quoted() -> None:
    texts = cql_of(NAMES)
    for part in (
        'ks."Mixed_Case"',
        '"Part ition" = ?',
        '"select" = ?',
        '"größe" ',
        '"Static ""quoted""" = ?',
        '"order"[?]',
    ):
        assert part in texts, part
    assert '"User Type"."größe"' in texts


def test_versions_before_vectors() -> None:
    assert tables_for("5.0.6") == ALL
    older = tables_for("4.1.10")
    assert not any("vector" in table.create("ks") for table in older)
    assert {table.name for table in ALL} - {table.name for table in older} == {"vectors"}
    assert len(next(t for t in older if t.name == "everything").columns) == len(EVERYTHING.columns) - 1
    assert "vector" in VECTORS.create("ks")


def test_batches_reach_over_tables_and_partitions() -> None:
    workload = Workload(1, "ks", [PLAIN, STATICS], Options(batch=1.0))
    operations = list(itertools.islice(workload, 100))
    assert {operation.batch for operation in operations} == {"LOGGED", "UNLOGGED"}
    assert any(len({statement.table for statement in operation.statements}) == 2 for operation in operations)


def test_tables_with_the_same_key_share_partitions() -> None:
    workload = Workload(1, "ks", [PLAIN, KEYS_ONLY])
    assert workload.partition(PLAIN, 2) == workload.partition(KEYS_ONLY, 2)
    assert len({workload.partition(PLAIN, number) for number in range(20)}) > 5


def test_as_many_values_as_marks() -> None:
    for statement in statements(Workload(5, "ks", ALL, Options(short_ttl=0.2)), 2000):
        assert statement.cql.count("?") == len(statement.values), statement.cql


@pytest.mark.parametrize("name", sorted(SIMPLE_TYPES - {"counter", "empty"}))
def test_every_simple_type_has_values(name: str) -> None:
    rng = random.Random(1)
    assert len({repr(random_value(rng, CqlType(name))) for _ in range(50)}) > 1


def test_keys_avoid_what_postgres_cannot_tell_apart() -> None:
    rng = random.Random(1)
    for _ in range(500):
        assert "\x00" not in random_key(rng, CqlType("text"))
        assert repr(random_key(rng, CqlType("double"))) != "-0.0"
        assert random_key(rng, CqlType("decimal")).as_tuple().digits[-1] != 0
        assert random_key(rng, CqlType("time")).nanosecond_time % 1000 == 0


def test_the_statements_that_create_the_tables() -> None:
    created = create_all("ks", [STATICS, ORDERED])
    assert created[0].startswith("CREATE TYPE ks.point ")
    assert created[-2] == (
        "CREATE TABLE ks.statics (p bigint, c int, s1 text static, s2 int static, s3 set<int> static, v int, w text, "
        "PRIMARY KEY ((p), c)) WITH CLUSTERING ORDER BY (c ASC) AND cdc = true"
    )
    assert 'CREATE TYPE ks."Odd Name" ("Field One" int, "select" text, "größe" frozen<list<int>>)' in created
    assert "PRIMARY KEY ((a, b), c1, c2)) WITH CLUSTERING ORDER BY (c1 DESC, c2 ASC)" in created[-1]


def test_the_tables_hold_every_simple_type() -> None:
    found = {column.type.name for table in ALL for column in table.of(Role.REGULAR)}
    assert found >= {parse_type(name, "ks", {}).name for name in SIMPLE_TYPES - {"counter", "empty"}}
