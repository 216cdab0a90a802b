"""The WHERE of a random statement: whole keys, prefixes, lists and ranges of them.

Invariant: what is made here is a WHERE that CQL allows for a deletion of the table.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from casscade.testing.tables import Role, SampleTable


class Source(Protocol):
    """Where the values of one statement come from (see `casscade.testing.workload.Draw`)."""

    rng: random.Random

    def partition(self, position: int, *, other: bool = False) -> Any: ...

    def clustering(self, position: int) -> Any: ...

    def timestamp(self, newest: float = 1.0) -> Any: ...

    def ttl(self) -> Any: ...


Value = Callable[[Source], Any]
# A piece of CQL and the values of its `?`.
Part = tuple[str, list[Value]]

_LOWER: Final = (">", ">=")
_UPPER: Final = ("<", "<=")


class Where:
    """Makes random conditions on the key of `table`."""

    def __init__(self, rng: random.Random, table: SampleTable) -> None:
        self._rng = rng
        self._partition = table.of(Role.PARTITION)
        self._clustering = table.of(Role.CLUSTERING)

    def partition_key(self) -> list[Part]:
        """The whole partition key."""
        columns = self._partition
        return [(f"{column.cql} = ?", [partial(_partition, i)]) for i, column in enumerate(columns)]

    def row_key(self) -> list[Part]:
        """The whole primary key."""
        return self.prefix(len(self._clustering))

    def prefix(self, length: int) -> list[Part]:
        """The partition key and the first `length` clustering columns."""
        columns = self._clustering[:length]
        clustering: list[Part] = [(f"{column.cql} = ?", [partial(_clustering, i)]) for i, column in enumerate(columns)]
        return [*self.partition_key(), *clustering]

    def key_in(self) -> list[Part]:
        """A primary key with two values of its last column, perhaps of the partition key too."""
        parts = self.row_key()
        partition = len(self._partition)
        if self._rng.random() < 0.3:
            parts[partition - 1] = (
                f"{self._partition[-1].cql} IN (?, ?)",
                [partial(_partition, partition - 1), partial(_other_partition, partition - 1)],
            )
        last = len(self._clustering) - 1
        parts[-1] = (f"{self._clustering[last].cql} IN (?, ?)", [partial(_clustering, last)] * 2)
        return parts

    def range(self) -> list[Part]:
        """A prefix and one or two bounds of the next clustering column."""
        position = self._rng.randrange(len(self._clustering))
        name = self._clustering[position].cql
        operators = self._rng.choice(
            [
                [self._rng.choice(_LOWER)],
                [self._rng.choice(_UPPER)],
                [self._rng.choice(_LOWER), self._rng.choice(_UPPER)],
            ]
        )
        bounds: list[Part] = [(f"{name} {operator} ?", [partial(_clustering, position)]) for operator in operators]
        return [*self.prefix(position), *bounds]

    def slice(self) -> list[Part]:
        """Bounds over several clustering columns together, each of its own length."""
        choices = self._rng.choice([(_LOWER,), (_UPPER,), (_LOWER, _UPPER)])
        parts: list[Part] = []
        for operators in choices:
            length = self._rng.randint(1, len(self._clustering))
            names = ", ".join(column.cql for column in self._clustering[:length])
            marks = ", ".join("?" * length)
            values: list[Value] = [partial(_clustering, i) for i in range(length)]
            parts.append((f"({names}) {self._rng.choice(operators)} ({marks})", values))
        return parts


def _partition(position: int, source: Source) -> Any:
    return source.partition(position)


def _other_partition(position: int, source: Source) -> Any:
    return source.partition(position, other=True)


def _clustering(position: int, source: Source) -> Any:
    return source.clustering(position)
