"""Tables as plain data: order, numbering and shapes."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from casscade.core.errors import InvariantError
from casscade.cql.types import CqlType
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes, column_indexes, ordered_columns

TABLE_ID = uuid.UUID("90c1abd0-e71f-11f1-958e-83d54943f4f6")


def make_table(*, dropped: bool = False) -> Table:
    columns = [
        Column("v", ColumnKind.REGULAR, -1, CqlType("int"), dropped=dropped),
        Column("b", ColumnKind.REGULAR, -1, CqlType("set", (CqlType("int"),))),
        Column("s", ColumnKind.STATIC, -1, CqlType("text")),
        Column("c2", ColumnKind.CLUSTERING, 1, CqlType("text"), reversed=True),
        Column("c1", ColumnKind.CLUSTERING, 0, CqlType("uuid")),
        Column("p", ColumnKind.PARTITION_KEY, 0, CqlType("bigint")),
    ]
    return Table(TABLE_ID, "ks", "t", ordered_columns(columns), cdc=True)


def test_columns_stand_in_key_order_then_by_name() -> None:
    table = make_table()
    assert [column.name for column in table.columns] == ["p", "c1", "c2", "s", "b", "v"]
    assert [column.name for column in table.partition_key] == ["p"]
    assert [column.name for column in table.clustering] == ["c1", "c2"]
    assert [column.name for column in table.statics] == ["s"]
    assert [column.name for column in table.regulars] == ["b", "v"]


def test_first_numbering_is_regulars_then_statics_by_name_and_leaves_keys_alone() -> None:
    numbered = assign_indexes(make_table(), {})
    assert column_indexes(numbered) == {"b": 0, "v": 1, "s": 2}
    assert numbered.partition_key[0].index == -1


@pytest.mark.requirement("FR-016")
def test_known_names_keep_their_numbers_and_gone_numbers_are_not_reused() -> None:
    numbered = assign_indexes(make_table(), {"v": 0, "gone": 7})
    assert column_indexes(numbered) == {"v": 0, "b": 8, "s": 9}


def test_dropped_columns_keep_number_and_shape_but_are_not_listed() -> None:
    table = assign_indexes(make_table(dropped=True), {})
    assert [column.name for column in table.regulars] == ["b"]
    shape = table.shape(replicated=True)
    assert shape.columns[b"v"].dropped
    assert shape.columns[b"v"].index == 1
    assert [column.name for column in shape.regulars] == [b"b"]


def test_shape_carries_lengths_and_multi_cell() -> None:
    shape = assign_indexes(make_table(), {}).shape(replicated=False)
    assert shape.id == TABLE_ID.bytes
    assert shape.clustering_lengths == [16, -1]
    assert shape.columns[b"b"].multi_cell
    assert shape.columns[b"v"].fixed_length == 4
    assert shape.columns[b"s"].static
    assert not shape.replicated


def test_shape_of_an_unnumbered_table_is_refused() -> None:
    with pytest.raises(InvariantError, match=r"ks\.t"):
        make_table().shape(replicated=True)


@pytest.mark.parametrize(
    ("flags", "compact"),
    [({"compound"}, False), (set(), True), ({"dense"}, True), ({"compound", "dense"}, True), ({"super"}, True)],
)
def test_compact_flags(flags: set[str], compact: bool) -> None:
    assert replace(make_table(), flags=frozenset(flags)).is_compact is compact


def test_counter_tables_are_known_by_type_or_flag() -> None:
    table = make_table()
    assert not table.is_counter
    assert replace(table, flags=frozenset({"compound", "counter"})).is_counter
    counter = Column("n", ColumnKind.REGULAR, -1, CqlType("counter"))
    assert replace(table, columns=(*table.columns, counter)).is_counter
