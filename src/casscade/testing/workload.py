"""A random workload for given tables: every kind of write that CQL knows.

Invariant: the operations depend on the seed, the tables and the options alone, so a seed that was printed shows the
same statements again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cassandra.query import UNSET_VALUE

from casscade.testing.shapes import Shape, ShapeMaker
from casscade.testing.tables import Role, SampleTable
from casscade.testing.values import random_key

# A session keeps prepared statements; so many of a kind and table show what there is.
SHAPES_MAX: Final = 40
# Write times that clients with a wrong clock or none send, in microseconds.
ODD_TIMES: Final = (-(10**15), -1, 0, 4_102_444_800_000_000, (1 << 63) - 2, (1 << 63) - 1)
_CHANCE_NO_TTL: Final = 0.05
_CHANCE_ONE_PARTITION: Final = 0.5
_LONG_TTL: Final = (10_000, 10_000_000)
_SHORT_TTL: Final = (1, 5)


@dataclass(frozen=True, slots=True)
class Options:
    """What a workload does.

    `timestamps`: range of the explicit `USING TIMESTAMP` (a tiny one makes ties), or None for the client's clock.
    `partitions` and `clusterings`: how many keys there are of each table, and values of each clustering column.
    `ttl`, `short_ttl`, `batch`, `conditional`: chance of each; conditional statements need `timestamps` None.
    `odd_times`: chance of a write time far in the past or the future.
    `deletions`: factor on the weight of everything that deletes. `counter_deletions`: whether counters are deleted too;
    what an increment after a deletion gives depends on when memtables are flushed (docs/decisions/0009).
    """

    timestamps: tuple[int, int] | None = (1, 5)
    partitions: int = 3
    clusterings: int = 3
    ttl: float = 0.1
    short_ttl: float = 0.0
    batch: float = 0.1
    conditional: float = 0.0
    odd_times: float = 0.0
    counter_deletions: bool = False
    deletions: float = 1.0


@dataclass(frozen=True, slots=True)
class Statement:
    """CQL with `?` and the values for it."""

    kind: str
    table: str
    cql: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """What is sent at once: one statement, or a batch when `batch` is `LOGGED`, `UNLOGGED` or `COUNTER`."""

    statements: tuple[Statement, ...]
    batch: str = ""


class Draw:
    """The keys of one statement and the source of its other values."""

    def __init__(self, workload: Workload, table: SampleTable, partition: int) -> None:
        self.rng = workload.rng
        self._workload = workload
        self._table = table
        self._partition = workload.partition(table, partition)

    def partition(self, position: int, *, other: bool = False) -> Any:
        """A value of the partition key; `other` for one of perhaps another partition."""
        if other:
            return self._workload.partition(self._table, self._workload.some_partition(self._table))[position]
        return self._partition[position]

    def clustering(self, position: int) -> Any:
        """A value of a clustering column."""
        return self._workload.clustering(self._table, position)

    def timestamp(self, newest: float = 1.0) -> Any:
        """The write time in microseconds, or unset; `newest` is the chance that it may be the last of the range."""
        limits = self._workload.options.timestamps
        if self.rng.random() < self._workload.options.odd_times:
            return self.rng.choice(ODD_TIMES)
        if limits is None:
            return UNSET_VALUE
        first, last = limits
        return self.rng.randint(first, last if self.rng.random() < newest else max(first, last - 1))

    def ttl(self) -> Any:
        """Seconds, or unset; 0 and null are none, also in a table with a default."""
        chance = self.rng.random()
        options = self._workload.options
        if options.ttl and self.rng.random() < _CHANCE_NO_TTL:
            return self.rng.choice((0, None))
        if chance < options.short_ttl:
            return self.rng.randint(*_SHORT_TTL)
        return self.rng.randint(*_LONG_TTL) if chance < options.short_ttl + options.ttl else UNSET_VALUE


class Workload:
    """An endless iterator of operations on `tables` of `keyspace`."""

    def __init__(self, seed: int, keyspace: str, tables: Sequence[SampleTable], options: Options | None = None) -> None:
        self.seed = seed
        self.options = options if options is not None else Options()
        self.rng = random.Random(seed)
        self._tables = list(tables)
        self._makers = {table.name: ShapeMaker(self.rng, keyspace, table) for table in tables}
        self._shapes: dict[tuple[str, str], list[Shape]] = {}

    def __iter__(self) -> Iterator[Operation]:
        return self

    def __next__(self) -> Operation:
        options = self.options
        table = self.rng.choice(self._tables)
        chance = self.rng.random()
        if chance < options.conditional and not table.counter:
            return Operation((self._statement(table, conditional=True),))
        if chance < options.conditional + options.batch:
            return self._batch(table)
        return Operation((self._statement(table),))

    def _batch(self, table: SampleTable) -> Operation:
        """Statements on any tables, or (half of the time) on one partition of `table`: then they are one mutation."""
        count = self.rng.randint(2, 6)
        partition = self.some_partition(table)
        if self.rng.random() < _CHANCE_ONE_PARTITION:
            statements = [self._statement(table, partition) for _ in range(count)]
        else:
            tables = [other for other in self._tables if other.counter == table.counter]
            statements = [self._statement(self.rng.choice(tables)) for _ in range(count)]
        return Operation(tuple(statements), "COUNTER" if table.counter else self.rng.choice(("LOGGED", "UNLOGGED")))

    def some_partition(self, table: SampleTable) -> int:
        """The number of a partition; a wide table has one."""
        return 0 if table.wide else self.rng.randrange(self.options.partitions)

    def partition(self, table: SampleTable, number: int) -> tuple[Any, ...]:
        """The partition key of that number: the same in tables with the same types, so that batches meet in it."""
        rng = random.Random(f"{self.seed} {number}")
        hostile = table.hostile_keys
        return tuple(random_key(rng, column.type, hostile=hostile) for column in table.of(Role.PARTITION))

    def clustering(self, table: SampleTable, position: int) -> Any:
        """Some value of a clustering column; of many columns mostly the first value, so that keys repeat."""
        count = table.wide or self.options.clusterings
        several = len(table.of(Role.CLUSTERING)) > 3 and self.rng.random() < 0.85
        number = 0 if several else self.rng.randrange(count)
        column = table.of(Role.CLUSTERING)[position]
        if number == count - 1 and column.type.name in {"text", "ascii", "blob"}:
            return b"" if column.type.name == "blob" else ""
        rng = random.Random(f"{self.seed} {table.name} {position} {number}")
        return random_key(rng, column.type, hostile=table.hostile_keys)

    def _statement(self, table: SampleTable, partition: int | None = None, *, conditional: bool = False) -> Statement:
        maker = self._makers[table.name]
        deletions = self.options.deletions if self.options.counter_deletions or not table.counter else 0.0
        weights = maker.weights(deletions, conditional=conditional)
        kind = self.rng.choices(list(weights), list(weights.values()))[0]
        shapes = self._shapes.setdefault((table.name, kind), [])
        if (len(shapes) < SHAPES_MAX and self.rng.random() < 0.5) or not shapes:
            shapes.append(maker.make(kind))
            shape = shapes[-1]
        else:
            shape = self.rng.choice(shapes)
        draw = Draw(self, table, self.some_partition(table) if partition is None else partition)
        return Statement(kind, table.name, shape.cql, tuple(value(draw) for value in shape.values))
