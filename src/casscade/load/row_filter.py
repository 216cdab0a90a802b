"""The condition of a table on merged rows.

Invariant: whether a row matches depends on its key, on what its cells hold and on the second at which expiry is
judged, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from casscade.core.keys import split_partition_key
from casscade.core.mutation import Row
from casscade.rules.predicate import Predicate
from casscade.rules.table import TableRules
from casscade.schema.model import Table

# Stands for whatever is in a column with many cells: of these only whether anything is there can be asked.
_SOMETHING = b"\x00"


class RowFilter:
    """Judges rows of one table. `indexes` are those of the columns that it names and that are not in the key."""

    def __init__(self, table: Table, predicates: Sequence[Predicate]) -> None:
        keys = [column.name for column in (*table.partition_key, *table.clustering)]
        indexes = {column.name: column.index for column in table.regulars}
        self._partition_columns = len(table.partition_key)
        self._tests = [
            (
                predicate,
                [(name in keys, keys.index(name) if name in keys else indexes[name]) for name in predicate.columns],
            )
            for predicate in predicates
        ]
        self.indexes: set[int] = {place for _, places in self._tests for in_key, place in places if not in_key}

    def matches(self, partition_key: bytes, row: Row, now: int) -> bool:
        """Whether the row matches at second `now`; raises BadDataError for a value that is none of its type."""
        key: list[bytes | None] | None = None
        for predicate, places in self._tests:
            values: list[bytes | None] = []
            for in_key, place in places:
                if not in_key:
                    values.append(_value(row, place, now))
                    continue
                if key is None:
                    key = [*split_partition_key(partition_key, self._partition_columns), *row.clustering]
                values.append(key[place])
            if not predicate.matches(values):
                return False
        return True


def row_filter(rules: TableRules | None, table: Table) -> RowFilter | None:
    """The filter of a table's rows; None where nothing has to be asked of merged rows."""
    if rules is None or rules.conditions is None or not rules.conditions.row:
        return None
    return RowFilter(table, rules.conditions.row)


def _value(row: Row, index: int, now: int) -> bytes | None:
    """What is alive in a column; of one with many cells that there is something."""
    seen = None if row.observed is None else row.observed.get(index)
    if seen is not None and seen[4] is not None:
        return _SOMETHING if seen[4] else None
    cell = row.cells.get(index)
    if cell is not None:
        return cell[3] if cell[3] is not None and cell[1] > now else None
    column = None if row.complex is None else row.complex.get(index)
    if column is not None and any(each[3] is not None and each[1] > now for each in column.cells.values()):
        return _SOMETHING
    return None
