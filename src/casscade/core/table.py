"""What a decoder must know of a table: which bytes are which column.

Invariant: a shape holds framing facts only (lengths, multi-cell or not), no names of types and no configuration. A
column's `index` never changes while the table id lives: stored row states refer to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from casscade.core.keys import Canonical

VARIABLE_LENGTH: Final = -1
# Statements of an application name few sets of columns; beyond this the lists of a table are built anew.
COLUMN_LISTS_MAX: Final = 256
FOR_EVER: Final = (1 << 63) - 1
"""No cell is newer."""


class ColumnShape:
    """One static or regular column, dropped ones included.

    `fixed_length` is the length of a simple cell's value in bytes, or -1 when the length is written before the
    value. `multi_cell` columns hold one cell for each element. `dropped_at` is the drop time in microseconds of a
    column that was dropped (and perhaps added again): cells at or below it belong to the past and are not shown; they
    are as long as the type of then says (`former_length`).
    `table_id` is set by the shape of its table.
    """

    __slots__ = (
        "counter",
        "dropped",
        "dropped_at",
        "fixed_length",
        "former_length",
        "index",
        "multi_cell",
        "name",
        "static",
        "table_id",
    )

    def __init__(
        self,
        name: bytes,
        index: int,
        *,
        fixed_length: int = VARIABLE_LENGTH,
        multi_cell: bool = False,
        static: bool = False,
        counter: bool = False,
        dropped: bool = False,
        dropped_at: int = -(1 << 63),
        former_length: int | None = None,
    ) -> None:
        self.name: bytes = name
        self.index: int = index
        self.fixed_length: int = fixed_length
        self.former_length: int = fixed_length if former_length is None else former_length
        self.multi_cell: bool = multi_cell
        self.static: bool = static
        self.counter: bool = counter
        self.dropped: bool = dropped
        self.dropped_at: int = dropped_at
        self.table_id: bytes = b""


class ColumnList:
    """The columns that an update names, in its order; `head` is the list as serialized.

    `plain` tells that none is multi-cell, a counter or was ever dropped; then `frames` holds (index, fixed length) of
    each column, which is all that reading its cells takes.
    """

    __slots__ = ("columns", "frames", "head", "plain")

    def __init__(self, head: bytes, columns: list[ColumnShape]) -> None:
        self.head: bytes = head
        self.columns: list[ColumnShape] = columns
        self.frames: list[tuple[int, int]] = [(column.index, column.fixed_length) for column in columns]
        self.plain: bool = not any(
            column.multi_cell or column.counter or column.dropped or column.dropped_at != -(1 << 63)
            for column in columns
        )


class TableShape:
    """One table id; not changed once it was used.

    `clustering_lengths` holds for each clustering column the fixed length of its values or -1. `replicated` tells
    whether decoded updates of the table are wanted; shapes of other tables serve only to step over their bytes.
    `loose_clusterings` has an entry for each clustering column (or none at all): how to make the bytes of equal values
    equal, None where they are. `loose_paths` has the same for the cell paths of multi-cell columns, by index.
    With `older_ties` cells of one timestamp are merged by the rules of Cassandra 3.11 (`reconcile_older`).
    `version` numbers the versions of the table (0: not known).
    `counters` are the indexes of its counter columns.
    `column_lists` keeps the column lists met so far by their bytes (at most `COLUMN_LISTS_MAX`),
    `last_list` the one met last: both only save time, so threads may overwrite each other's.
    """

    __slots__ = (
        "clustering_lengths",
        "column_lists",
        "columns",
        "counters",
        "id",
        "keyspace",
        "last_list",
        "loose_clusterings",
        "loose_paths",
        "name",
        "older_ties",
        "regulars",
        "replicated",
        "statics",
        "version",
    )

    def __init__(
        self,
        table_id: bytes,
        keyspace: str,
        name: str,
        clustering_lengths: Iterable[int],
        columns: Iterable[ColumnShape],
        *,
        replicated: bool = True,
        loose_clusterings: Sequence[Canonical | None] = (),
        loose_paths: Mapping[int, Canonical] | None = None,
        older_ties: bool = False,
    ) -> None:
        self.id: bytes = table_id
        self.keyspace: str = keyspace
        self.name: str = name
        self.clustering_lengths: list[int] = list(clustering_lengths)
        self.columns: dict[bytes, ColumnShape] = {}
        self.statics: list[ColumnShape] = []
        self.regulars: list[ColumnShape] = []
        for column in columns:
            self.columns[column.name] = column
            column.table_id = table_id
            if not column.dropped:
                (self.statics if column.static else self.regulars).append(column)
        self.counters: set[int] = {column.index for column in self.columns.values() if column.counter}
        self.replicated: bool = replicated
        self.version: int = 0
        self.older_ties: bool = older_ties
        self.loose_clusterings: list[Canonical | None] = list(loose_clusterings)
        self.loose_paths: dict[int, Canonical] = dict(loose_paths or {})
        self.column_lists: dict[bytes, ColumnList] = {}
        self.last_list: ColumnList | None = None

    def with_lengths(self, lengths: Mapping[int, int]) -> TableShape:
        """The same table with other fixed lengths of some columns, by index: what its values are behind rules."""
        return self._like(lengths, lenient=False)

    def lenient(self) -> TableShape:
        """The same, but whatever was written to dropped columns is left out, as Cassandra does not show it."""
        return self._like({}, lenient=True)

    def _like(self, lengths: Mapping[int, int], *, lenient: bool) -> TableShape:
        columns: list[ColumnShape] = []
        for column in self.columns.values():
            columns.append(
                ColumnShape(
                    column.name,
                    column.index,
                    fixed_length=lengths.get(column.index, column.fixed_length),
                    multi_cell=column.multi_cell,
                    static=column.static,
                    counter=column.counter,
                    dropped=column.dropped,
                    dropped_at=FOR_EVER if lenient and column.dropped else column.dropped_at,
                    former_length=column.former_length,
                )
            )
        made = TableShape(
            self.id,
            self.keyspace,
            self.name,
            self.clustering_lengths,
            columns,
            replicated=self.replicated,
            loose_clusterings=self.loose_clusterings,
            loose_paths=self.loose_paths,
            older_ties=self.older_ties,
        )
        made.version = self.version
        return made

    def __repr__(self) -> str:
        return f"TableShape({self.keyspace}.{self.name}, {self.id.hex()})"
