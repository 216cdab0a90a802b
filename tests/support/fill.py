"""Fills a sample table quickly with values of every column's type.

Invariant: the rows depend on the seed, the table and their number alone.
"""

from __future__ import annotations

import random
from typing import Any, Final

from cassandra.concurrent import execute_concurrent

from casscade.testing.tables import Role, SampleTable
from casscade.testing.values import random_value

# Of each column; rows take one at random. The serialized values are kept: most of the time would go into that.
VALUES: Final = 200
NULLS: Final = 10


def fill(session: Any, keyspace: str, table: SampleTable, rows: int, *, seed: int) -> None:
    """Insert rows with the keys 0 to `rows` - 1 into `table`, whose key is one `int`."""
    rng = random.Random(seed)
    (key,) = table.key
    others = table.of(Role.REGULAR)
    names = ", ".join(column.cql for column in (key, *others))
    marks = ", ".join("?" * (1 + len(others)))
    insert = session.prepare(f"INSERT INTO {keyspace}.{table.cql} ({names}) VALUES ({marks})")
    version = session.cluster.protocol_version
    types = [column.type for column in insert.column_metadata[1:]]
    columns = []
    for type_, column in zip(types, others, strict=True):
        pool = [type_.serialize(random_value(rng, column.type), version) for _ in range(VALUES)]
        columns.append(rng.choices([*pool, *[None] * NULLS], k=rows))
    statements = []
    for number, values in enumerate(zip(*columns, strict=True)):
        bound = insert.bind((number,))
        bound.values[1:] = values
        statements.append((bound, ()))
    execute_concurrent(session, statements, concurrency=128)
