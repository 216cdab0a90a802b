"""Excluded columns lose their content as soon as a mutation is decoded.

Invariant: nothing that a row of an excluded column holds gets beyond the batcher: not into a fold, a state, a
tombstone or a dead letter made from a row. What stays is what merging needs: when each cell was written, whether it
lives, and which element of a collection it is.

An element is told from others by its path, which for a set is the element itself. So a path becomes a digest of it;
whoever guesses a value can confirm the guess, but not read it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from casscade.core.cell import without_value
from casscade.core.mutation import PartitionUpdate, Row
from casscade.rules.table import TableRules
from casscade.schema.mapping import Target

Excluded = Mapping[bytes, frozenset[int]]
"""Table id -> indexes of the columns that are not replicated; tables without any are left out."""

# 128 bits: two elements of one collection with the same digest would count as one.
_DIGEST_BYTES = 16
# Stands for any value that a read showed: that there was one keeps the row visible.
_CONCEALED = b"\x00"


def excluded_columns(targets: Iterable[Target], rules: Mapping[bytes, TableRules] = MappingProxyType({})) -> Excluded:
    """What the configuration leaves out of each table, or always shows as NULL."""
    found: dict[bytes, frozenset[int]] = {}
    for target in targets:
        table_id = target.table.id.bytes
        nulled = rules[table_id].nulled if table_id in rules else frozenset()
        columns = [*target.excluded, *(column for column in target.table.columns if column.name in nulled)]
        if columns:
            found[table_id] = frozenset(column.index for column in columns)
    return found


def conceal(update: PartitionUpdate, excluded: frozenset[int]) -> None:
    """Take the content of the `excluded` columns out of `update`."""
    key = update.table.id
    for row in update.rows:
        _conceal_row(row, excluded, key)
    if update.static_row is not None:
        _conceal_row(update.static_row, excluded, key)


def _conceal_row(row: Row, excluded: frozenset[int], key: bytes) -> None:
    for index in excluded & row.cells.keys():
        row.cells[index] = without_value(row.cells[index])
    if row.observed is not None:
        for index in excluded & row.observed.keys():
            turn, read_at, bound, expires_at, value = row.observed[index]
            row.observed[index] = (turn, read_at, bound, expires_at, _CONCEALED if value else value)
    if row.complex is None:
        return
    for index in excluded & row.complex.keys():
        column = row.complex[index]
        column.cells = {
            hashlib.blake2b(path, digest_size=_DIGEST_BYTES, key=key).digest(): without_value(cell)
            for path, cell in column.cells.items()
        }
