"""Each dead letter of a mutation names the table at fault and the version of its schema, whatever made it."""

from __future__ import annotations

import pytest

from casscade.commitlog.encoder import encode_mutation
from casscade.core.cell import live_cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.position import Position
from casscade.core.table import ColumnShape, TableShape
from casscade.load.batcher import Batcher
from casscade.transport.chunk import Chunk

pytestmark = pytest.mark.requirement("FR-018")


def shape(name: str, version: int) -> TableShape:
    made = TableShape(name.encode() * 16, "k", name, [], [ColumnShape(b"a", 0), ColumnShape(b"b", 1)])
    made.version = version
    return made


FIRST, SECOND = shape("1", 3), shape("2", 7)


def update(table: TableShape, *columns: int) -> PartitionUpdate:
    made = PartitionUpdate(table, b"k")
    row = Row(b"", [])
    row.cells = {column: live_cell(5, b"x") for column in columns}
    made.rows.append(row)
    return made


def letters(
    mutation: bytes, *, blocked: dict[bytes, dict[int, str]] | None = None
) -> list[tuple[str, str, str | None]]:
    batcher = Batcher(
        lambda: {each.id: each for each in (FIRST, SECOND)},
        lambda _: False,
        batch_rows=9,
        batch_s=9.0,
        blocked=blocked or {},
    )
    batcher.add(Chunk("n", 8, Position(1, 1), 0.0, [mutation], [1]))
    return [(letter.code, letter.source_name, letter.schema_version) for letter in batcher.take().dead_letters]


def test_of_a_batch_over_several_tables_the_letter_is_of_the_one_with_the_blocked_column() -> None:
    mutation = encode_mutation([update(FIRST, 0), update(SECOND, 0, 1)], 8)
    assert letters(mutation, blocked={SECOND.id: {1: "why"}}) == [("column_blocked", "k.2", f"{SECOND.id.hex()[:8]}:7")]


def test_an_unknown_column_is_one_of_its_table() -> None:
    wider = TableShape(SECOND.id, "k", "2", [], [*SECOND.columns.values(), ColumnShape(b"later", 2)])
    mutation = encode_mutation([update(FIRST, 0), update(wider, 2)], 8)
    assert letters(mutation) == [("schema_unknown", "k.2", f"{SECOND.id.hex()[:8]}:7")]


def test_shapes_made_of_a_shape_have_its_version() -> None:
    assert [made.version for made in (FIRST.lenient(), SECOND.with_lengths({0: 4}))] == [3, 7]
