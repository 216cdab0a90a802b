"""The random workload: repeatable, and with every kind of write in it."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from cassandra.query import UNSET_VALUE

from casscade.cql.types import SIMPLE_TYPES, CqlType, parse_type
from casscade.testing.samples import ALL, COLLECTIONS, KEYS_ONLY, ORDERED, PLAIN, STATICS
from casscade.testing.tables import Role, SampleTable, create_all
from casscade.testing.values import random_key, random_value
from casscade.testing.workload import Operation, Options, Statement, Workload


def statements(workload: Workload, operations: int) -> list[Statement]:
    """The statements of that many operations."""
    return [statement for operation in itertools.islice(workload, operations) for statement in operation.statements]


def cql_of(table: SampleTable) -> str:
    """The statements of some seeds on one table."""
    workloads = [Workload(seed, "ks", [table]) for seed in range(5)]
    return "\n".join(statement.cql for workload in workloads for statement in statements(workload, 1500))


def test_a_seed_repeats_its_operations() -> None:
    def some(seed: int) -> list[Operation]:
        return list(itertools.islice(Workload(seed, "ks", ALL), 300))

    assert repr(some(7)) == repr(some(7))
    assert repr(some(7)) != repr(some(8))


def test_every_kind_of_write_comes() -> None:
    options = Options(timestamps=None, conditional=0.1)
    kinds = Counter(statement.kind for statement in statements(Workload(1, "ks", ALL, options), 2000))
    assert set(kinds) == {
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
    assert "PRIMARY KEY ((a, b), c1, c2)) WITH CLUSTERING ORDER BY (c1 DESC, c2 ASC)" in created[-1]


def test_the_tables_hold_every_simple_type() -> None:
    found = {column.type.name for table in ALL for column in table.of(Role.REGULAR)}
    assert found >= {parse_type(name, "ks", {}).name for name in SIMPLE_TYPES - {"counter", "empty"}}
