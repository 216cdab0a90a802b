"""What the quick way makes of a page says the same as what the long way makes of it."""

from __future__ import annotations

import uuid
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casscade.commitlog.observations import OBSERVING, decode_any, encode_observing
from casscade.core.errors import InvariantError
from casscade.core.keys import pack_values
from casscade.core.mutation import PartitionUpdate
from casscade.cql.types import UdtDefinition, parse_type
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes, ordered_columns
from casscade.snapshot.page import Page
from casscade.snapshot.plain import OLDEST
from casscade.snapshot.rows import TableScan
from tests.support.mutations import TIMESTAMPS
from tests.support.random_rows import content

NOW = 1_700_000_000
UDTS = {"addr": UdtDefinition("k", "addr", ("street", "zip"), ("text", "int"))}
# Types of regular columns, with the lengths that their values may have.
TYPES = {
    "int": (4, 4),
    "text": (0, 300),
    "set<text>": (0, 0),
    "map<int, text>": (0, 0),
    "addr": (0, 0),
    "uuid": (16, 16),
}


def field(value: bytes | None) -> bytes:
    return pack_values([value])


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """One or two partition key columns, up to two clusterings, none to seventy regular columns."""
    regulars = draw(st.lists(st.sampled_from(sorted(TYPES)), max_size=6))
    if draw(st.integers(0, 9)) == 0:
        regulars = ["int"] * 70
    keys = draw(st.integers(1, 2))
    clusterings = draw(st.lists(st.sampled_from(["int", "text"]), max_size=2))
    columns = [Column(f"p{i}", ColumnKind.PARTITION_KEY, i, parse_type("text", "k", UDTS)) for i in range(keys)]
    columns += [
        Column(f"c{i}", ColumnKind.CLUSTERING, i, parse_type(text, "k", UDTS)) for i, text in enumerate(clusterings)
    ]
    columns += [Column(f"v{i}", ColumnKind.REGULAR, -1, parse_type(text, "k", UDTS)) for i, text in enumerate(regulars)]
    return assign_indexes(Table(uuid.UUID(int=1), "k", "t", ordered_columns(columns), cdc=True), {})


def long(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)


@st.composite
def cells(draw: st.DrawFn, column: Column, times: st.SearchStrategy[int]) -> list[bytes | None]:
    """Value, WRITETIME and TTL of a column as CQL shows them."""
    if draw(st.integers(0, 3)) == 0:
        return [None, None, None]
    ttls = st.sampled_from([None, None, None, 1, 86400, 630_720_000])
    name = column.type.name
    if column.type.multi_cell:
        count = 2 if name == "udt" else draw(st.integers(1, 3))
        shown = [field(bytes((i,))) for i in range(count)]
        value = b"".join(shown)
        if name == "map":
            value = b"".join(field(i.to_bytes(4, "big")) + each for i, each in enumerate(shown))
        if name != "udt":
            value = count.to_bytes(4, "big") + value
        drawn = [draw(ttls) for _ in range(count)]
        write_times = [long(draw(times)) for _ in range(count)]
        left = [None if ttl is None else ttl.to_bytes(4, "big") for ttl in drawn]
        head = count.to_bytes(4, "big")
        return [value, head + pack_values(write_times), None if draw(st.booleans()) else head + pack_values(left)]
    shortest, longest = TYPES[column.type.cql()]
    value = draw(st.binary(min_size=shortest, max_size=longest))
    if draw(st.integers(0, 9)) == 0:
        value = b""
    ttl = draw(ttls)
    return [value, long(draw(times)), None if ttl is None else ttl.to_bytes(4, "big")]


@st.composite
def pages(draw: st.DrawFn) -> tuple[Table, list[list[bytes | None]]]:
    """A table and rows of it, in the order of their tokens, some of one partition."""
    table = draw(tables())
    # Most rows have one write time, as those that one INSERT made.
    times = draw(st.sampled_from([st.just(1_700_000_000_000_000), TIMESTAMPS]))
    rows = []
    for partition in range(draw(st.integers(0, 3))):
        # One key has one token.
        key: list[bytes | None] = [bytes((partition,)) + draw(st.binary(max_size=2)) for _ in table.partition_key]
        for number in range(draw(st.integers(1, 3)) if table.clustering else 1):
            row: list[bytes | None] = [long(partition - 1), *key]
            for column in table.clustering:
                row.append(number.to_bytes(4, "big") if column.type.name == "int" else b"x" * number)
            for column in table.regulars:
                row += draw(cells(column, times))
            rows.append(row)
    return table, rows


def contents(update: PartitionUpdate) -> tuple[object, ...]:
    assert update.static_row is None
    return (update.key, {row.key: content(row) for row in update.rows})


def page_of(rows: list[list[bytes | None]]) -> Page:
    data = b"".join(pack_values(row) for row in rows)
    return Page(data, len(rows), len(rows[0]) if rows else 0, now=NOW, read_at=0, paging_state=None)


@given(pages())
@pytest.mark.requirement("FR-002")
def test_both_ways_say_the_same(drawn: tuple[Table, list[list[bytes | None]]]) -> None:
    table, rows = drawn
    scan = TableScan(table)
    page = page_of(rows)
    shape = table.shape(replicated=True)
    found = scan.encode_page(page)
    expected = scan.read_page(page.rows, NOW)
    assert [(part.token, part.rows) for part in found] == [(part.token, part.rows) for part in expected]
    for part, long_way in zip(found, expected, strict=True):
        (update,) = decode_any(part.mutation, OBSERVING, {shape.id: shape})
        (again,) = decode_any(encode_observing(long_way.update), OBSERVING, {shape.id: shape})
        assert contents(update) == contents(again)
    assert sum(part.rows for part in found) == len(rows)
    assert [key for key, _ in groupby(row[0] for row in rows)] == [long(part.token) for part in found]


@pytest.mark.parametrize(("value", "times"), [(b"12345", long(1)), (b"1234", None)])
def test_a_page_of_another_table_is_told(value: bytes, times: bytes | None) -> None:
    columns = [
        Column("p", ColumnKind.PARTITION_KEY, 0, parse_type("int", "k", {})),
        Column("v", ColumnKind.REGULAR, -1, parse_type("int", "k", {})),
    ]
    table = assign_indexes(Table(uuid.uuid4(), "k", "t", ordered_columns(columns), cdc=True), {})
    with pytest.raises(InvariantError, match="does not fit its table"):
        TableScan(table).encode_page(page_of([[long(5), b"key.", value, times, None]]))


def test_a_row_of_nulls_before_the_first_write_time() -> None:
    columns = [
        Column("p", ColumnKind.PARTITION_KEY, 0, parse_type("int", "k", {})),
        Column("c", ColumnKind.CLUSTERING, 0, parse_type("int", "k", {})),
        Column("v", ColumnKind.REGULAR, -1, parse_type("int", "k", {})),
    ]
    table = assign_indexes(Table(uuid.uuid4(), "k", "t", ordered_columns(columns), cdc=True), {})
    shape = table.shape(replicated=True)
    start: list[bytes | None] = [long(5), b"key."]
    rows = [[*start, b"\0\0\0\1", None, None, None], [*start, b"\0\0\0\2", b"1234", long(1_700_000_000_000_000), None]]
    (part,) = TableScan(table).encode_page(page_of(rows))
    (update,) = decode_any(part.mutation, OBSERVING, {shape.id: shape})
    empty, written = update.rows
    assert (empty.liveness_ts, written.cells[0][0]) == (OLDEST, 1_700_000_000_000_000)
