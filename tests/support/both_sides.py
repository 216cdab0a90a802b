"""Whether PostgreSQL holds what Cassandra holds, by `casscade verify`'s own comparison."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import psycopg
from cassandra import ConsistencyLevel

from casscade.schema.mapping import build_target
from casscade.schema.model import assign_indexes
from casscade.schema.reader import read_schema
from casscade.verify.compare import TableComparison, compare_table


def compare_keyspace(
    session: Any, dsn: str, keyspace: str, only: Collection[str] | None = None
) -> list[TableComparison]:
    """Compare the tables of `keyspace` (all, or `only` some) with their copies under the same names."""
    tables = [table for table in read_schema(session).tables.values() if table.keyspace == keyspace]
    tables = [table for table in tables if only is None or table.name in only]
    with psycopg.connect(dsn, autocommit=True) as connection:
        return [
            compare_table(
                session,
                connection,
                build_target(assign_indexes(table, {})),
                consistency=ConsistencyLevel.ONE,
                show_values=True,
            )
            for table in sorted(tables, key=lambda table: table.name)
        ]


def only_differ(session: Any, dsn: str, keyspace: str, spoilt: int) -> bool:
    """Whether as many rows differ as were spoilt on purpose; tells what was found if not."""
    comparisons = compare_keyspace(session, dsn, keyspace)
    found = sum(one.differences for one in comparisons) == spoilt
    if not found:
        print(f"{spoilt} rows were corrupted:\n{describe(comparisons)}", flush=True)
    return found


def describe(comparisons: list[TableComparison]) -> str:
    """One line for each table and each example of a difference."""
    lines = []
    for one in comparisons:
        lines.append(
            f"{one.table}: {one.rows_cassandra} rows, {one.rows_postgres} in PostgreSQL, {one.differences} differences"
        )
        lines += [f"  {example}" for example in one.examples]
    return "\n".join(lines)
