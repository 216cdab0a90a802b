"""The list of columns at the head of an update, and the subsets of it that rows have.

Invariant: a list is looked up by its exact bytes, so a cached one describes the same columns as a new one would.
"""

from __future__ import annotations

from typing import Final

from casscade.commitlog.faults import corrupt_mutation
from casscade.core.errors import UnknownSchemaError
from casscade.core.table import COLUMN_LISTS_MAX, ColumnList, ColumnShape, TableShape
from casscade.cql.vint import read_unsigned

# From this many columns on a subset is a list of indexes instead of a bitmap (`Columns.Serializer`).
BITMAP_COLUMNS_MAX: Final = 64


def read_columns(data: bytes, pos: int, shape: TableShape) -> tuple[ColumnList, int]:
    """The column list at `pos` and the offset behind it.

    Raises UnknownSchemaError for a column that `shape` does not know, IndexError at the end of the data.
    """
    last = shape.last_list
    if last is not None and data.startswith(last.head, pos):
        return last, pos + len(last.head)
    start = pos
    count, pos = read_unsigned(data, pos)
    first = pos
    for _ in range(count):
        length = data[pos]
        if length < 0x80:
            pos += 1 + length
        else:
            length, pos = read_unsigned(data, pos)
            pos += length
    if pos >= len(data):
        raise corrupt_mutation("it ends within its list of columns")
    head = data[start:pos]
    found = shape.column_lists.get(head)
    if found is None:
        found = ColumnList(head, _find_columns(data, first, pos, shape))
        if len(shape.column_lists) >= COLUMN_LISTS_MAX:
            shape.column_lists.clear()
        shape.column_lists[head] = found
    shape.last_list = found
    return found, pos


def _find_columns(data: bytes, pos: int, end: int, shape: TableShape) -> list[ColumnShape]:
    columns: list[ColumnShape] = []
    seen: set[int] = set()
    while pos < end:
        length, pos = read_unsigned(data, pos)
        name = data[pos : pos + length]
        pos += length
        column = shape.columns.get(name)
        if column is None:
            raise UnknownSchemaError(
                f"{shape.keyspace}.{shape.name} has no column of the name that a mutation writes",
                table_id=shape.id,
                column=name,
            )
        if column.index in seen:
            raise corrupt_mutation("it names a column twice")
        seen.add(column.index)
        columns.append(column)
    return columns


def read_subset(data: bytes, pos: int, count: int) -> tuple[list[int], int]:
    """Which of `count` listed columns a row has: their places in the list, ascending, and the offset behind.

    The bytes follow `Columns.Serializer.serializeSubset`: a bitmap of the missing columns below 64 columns, else the
    number of the missing ones and the indexes of the present or the missing ones, whichever are fewer.
    """
    encoded, pos = read_unsigned(data, pos)
    if encoded == 0:
        return list(range(count)), pos
    if count < BITMAP_COLUMNS_MAX:
        if encoded >> count:
            raise corrupt_mutation("a row leaves out columns that the update does not have")
        return [i for i in range(count) if not (encoded >> i) & 1], pos
    if encoded > count:
        raise corrupt_mutation("a row leaves out more columns than the update has")
    present = count - encoded
    if present < count // 2:
        return _read_indexes(data, pos, present, count)
    missing, pos = _read_indexes(data, pos, encoded, count)
    left_out = set(missing)
    return [i for i in range(count) if i not in left_out], pos


def _read_indexes(data: bytes, pos: int, number: int, count: int) -> tuple[list[int], int]:
    indexes: list[int] = []
    previous = -1
    for _ in range(number):
        index, pos = read_unsigned(data, pos)
        if index <= previous or index >= count:
            raise corrupt_mutation("the columns of a row are not in order")
        indexes.append(index)
        previous = index
    return indexes, pos
