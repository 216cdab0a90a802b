"""Excluded columns: their content goes, what merging needs stays."""

from __future__ import annotations

import uuid

import pytest

from casscade.commitlog.encoder import encode_mutation
from casscade.core.cell import expiring_cell, live_cell, tombstone_cell
from casscade.core.mutation import ComplexColumn, PartitionUpdate, Row
from casscade.core.position import Position
from casscade.cql.types import CqlType
from casscade.load.batcher import Batcher
from casscade.merge.row import is_visible
from casscade.rules.concealment import conceal, excluded_columns
from casscade.schema.mapping import build_target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from casscade.transport.chunk import Chunk

SECRET = b"secret"
TEXT = CqlType("text")
TABLE = assign_indexes(
    Table(
        uuid.uuid4(),
        "ks",
        "t",
        (
            Column("p", ColumnKind.PARTITION_KEY, 0, TEXT),
            Column("k", ColumnKind.CLUSTERING, 0, TEXT),
            Column("s", ColumnKind.STATIC, -1, TEXT),
            Column("shown", ColumnKind.REGULAR, -1, TEXT),
            Column("hidden", ColumnKind.REGULAR, -1, TEXT),
            Column("notes", ColumnKind.REGULAR, -1, CqlType("set", (TEXT,))),
            Column("pairs", ColumnKind.REGULAR, -1, CqlType("map", (TEXT, TEXT))),
        ),
    ),
    {},
)
INDEX = {column.name: column.index for column in TABLE.columns}
HIDDEN = ["s", "hidden", "notes", "pairs"]
EXCLUDED = excluded_columns([build_target(TABLE, exclude=HIDDEN)])


def _update() -> PartitionUpdate:
    row = Row(b"\0\1k", [b"k"])
    row.cells = {INDEX["shown"]: live_cell(5, b"open"), INDEX["hidden"]: expiring_cell(5, 100, 10, SECRET)}
    row.complex = {
        INDEX["notes"]: ComplexColumn(4, {SECRET: live_cell(5, b""), b"other": tombstone_cell(5)}),
        INDEX["pairs"]: ComplexColumn(4, {SECRET: live_cell(5, SECRET)}),
    }
    static = Row(b"", [])
    static.cells = {INDEX["s"]: live_cell(5, SECRET)}
    update = PartitionUpdate(TABLE.shape(replicated=True), b"p")
    update.rows, update.static_row = [row], static
    return update


def _content(update: PartitionUpdate) -> str:
    assert update.static_row is not None
    rows = [update.static_row, *update.rows]
    return repr([(row.cells, [column.cells for column in (row.complex or {}).values()]) for row in rows])


def test_only_tables_with_exclusions_are_named() -> None:
    assert set(EXCLUDED) == {TABLE.id.bytes}
    assert EXCLUDED[TABLE.id.bytes] == {INDEX[name] for name in HIDDEN}
    assert excluded_columns([build_target(TABLE)]) == {}


@pytest.mark.requirement("FR-006")
@pytest.mark.requirement("FR-030")
def test_no_content_of_an_excluded_column_is_left() -> None:
    update = _update()
    assert "secret" in _content(update)
    conceal(update, EXCLUDED[TABLE.id.bytes])
    assert "secret" not in _content(update)
    assert update.rows[0].cells[INDEX["shown"]] == live_cell(5, b"open")


def test_times_and_identity_stay() -> None:
    first, second = _update(), _update()
    for update in (first, second):
        conceal(update, EXCLUDED[TABLE.id.bytes])
    row = first.rows[0]
    assert row.cells[INDEX["hidden"]] == (5, 100, 10, b"")
    assert row.complex is not None
    notes = row.complex[INDEX["notes"]]
    assert notes.deletion == 4
    assert sorted(cell[3] is None for cell in notes.cells.values()) == [False, True]
    assert _content(first) == _content(second)
    assert is_visible(row, 50)


@pytest.mark.requirement("FR-030")
def test_the_batcher_hands_nothing_on() -> None:
    mutation = encode_mutation([_update()], 8)
    assert SECRET in mutation
    tables = {TABLE.id.bytes: TABLE.shape(replicated=True)}
    batcher = Batcher(lambda: tables, lambda _: False, batch_rows=10, batch_s=1.0, excluded=EXCLUDED)
    batcher.add(Chunk("node", 8, Position(1, 1), 0.0, [mutation], [1], len(mutation)))
    fold = batcher.take().fold.tables[TABLE.id.bytes]
    rows = [*fold.rows.values(), *fold.statics.values()]
    assert len(rows) == 2
    assert "secret" not in repr([(row.cells, [c.cells for c in (row.complex or {}).values()]) for row in rows])
