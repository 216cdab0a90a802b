"""What the connector's events do not carry of a table, as sentences for those who run it.

Invariant: a table without sentences is replicated from its events alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from casscade.cql.types import CqlType
from casscade.schema.model import Column, Table

_ROUNDED: Final = frozenset({"duration", "custom"})


def limits(table: Table) -> list[str]:
    """One sentence for each limit that `table` meets; docs/debezium.md says more."""
    if table.is_counter:
        return ["counters are in no event: PostgreSQL keeps what the snapshot brought"]
    found: list[str] = []
    if table.statics:
        found.append(f"static columns are in no event and keep what the snapshot brought: {_names(table.statics)}")
    udts = [column for column in table.regulars if column.type.multi_cell and column.type.name == "udt"]
    if udts:
        found.append(f"the connector fails at a write to a type that is not frozen: {_names(udts)}")
    hidden = [column for column in table.regulars if column.type.multi_cell or _rounded(column.type)]
    if hidden:
        found.append(f"a row is read again from Cassandra after each event that writes to {_names(hidden)}")
    return found


def _rounded(cql_type: CqlType) -> bool:
    return cql_type.name in _ROUNDED or any(map(_rounded, cql_type.args))


def _names(columns: Iterable[Column]) -> str:
    return ", ".join(column.name for column in columns)
