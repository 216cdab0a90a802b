"""Which of the rows that a condition hides are not what Cassandra shows, after a gap.

Invariant: a row is passed over only when everything that is alive in it is what one read of it showed; whatever can't
be told is named, to be read from all replicas.

A hidden row shows nowhere, but it comes back whole when a write makes it match: with the values that a lost deletion
should have ended. Its ranges were read again before, so that it has all that Cassandra shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Final

from psycopg import Connection

from casscade.core.cell import is_alive
from casscade.core.keys import split_partition_key
from casscade.core.mutation import Row
from casscade.cql.types import CqlType
from casscade.load.hidden import HiddenRows
from casscade.rules.table import TableRules
from casscade.schema.mapping import Target
from casscade.schema.model import Column
from casscade.verify.keys import RawKey
from casscade.verify.read_cassandra import CassandraTable

# So many rows are in memory at a time, and asked for at once in groups.
PAGE_ROWS: Final = 1000
_COUNTED: Final = ("list", "set", "map")


def suspects(
    session: Any,
    connection: Connection[Any],
    target: Target,
    rules: TableRules,
    hidden: HiddenRows,
    consistency: int,
    before_page: Callable[[], None] = lambda: None,
) -> Iterator[RawKey]:
    """The keys of the hidden rows of a table that may not be what Cassandra shows.

    `connection` is in autocommit. `before_page` is called before each page is compared, and may end it by an exception.
    Raises the exceptions of both drivers.
    """
    width = len(target.table.partition_key)
    with closing(CassandraTable(session, target, consistency, PAGE_ROWS)) as table:
        for page in hidden.pages(connection, PAGE_ROWS):
            before_page()
            keys = [
                (*split_partition_key(partition_key, width), *(value or b"" for value in row.clustering))
                for partition_key, row in page
            ]
            shown = table.find(keys, static=False)
            now = int(time.time())
            for key, (_, row), values in zip(keys, page, shown, strict=True):
                if values is None or not _is_same(table, rules, row, values, now):
                    yield key


def _is_same(table: CassandraTable, rules: TableRules, row: Row, values: list[bytes | None], now: int) -> bool:
    regulars = table.regulars
    return all(
        _is_same_column(column, row, value, now, whole=column.name not in rules.hidden)
        for column, value in zip(regulars, values[len(values) - len(regulars) :], strict=True)
    )


def _is_same_column(column: Column, row: Row, value: bytes | None, now: int, *, whole: bool) -> bool:
    """Whether a column shows `value`; of one of which nothing is kept (not `whole`) whether it shows anything."""
    index = column.index
    seen = None if row.observed is None else row.observed.get(index)
    if seen is not None:
        return whole and seen[4] is not None and seen[4] == (value or b"")
    if column.type.multi_cell:
        cells = None if row.complex is None else row.complex.get(index)
        alive = 0 if cells is None else sum(is_alive(cell, now) for cell in cells.cells.values())
        return alive == _elements(column.type, value)
    cell = row.cells.get(index)
    stored = cell[3] if cell is not None and is_alive(cell, now) else None
    return stored == value if whole else (stored is None) == (value is None)


def _elements(type_: CqlType, value: bytes | None) -> int:
    """How many elements a value of many cells has; -1 where that would have to be decoded."""
    if value is None:
        return 0
    return int.from_bytes(value[:4], "big") if type_.name in _COUNTED else -1
