"""Decoding of single mutations: the worked examples of the format, and each rule by itself."""

from __future__ import annotations

import pytest

from casscade.commitlog.decoder import EPOCH_MICROS, EPOCH_SECONDS, decode_mutation
from casscade.commitlog.encoder import encode_mutation
from casscade.commitlog.peek import first_table_id, mentions_any, partition_key_of
from casscade.core.cell import (
    COUNTER_TTL,
    NO_EXPIRY,
    NO_TIMESTAMP,
    counter_cell,
    expiring_cell,
    live_cell,
    tombstone_cell,
)
from casscade.core.errors import CorruptionError, DroppedColumnError, InvariantError, UnknownSchemaError
from casscade.core.mutation import (
    EXCL_END_BOUND,
    EXCL_START_BOUND,
    EXPIRED_LIVENESS_TTL,
    INCL_END_BOUND,
    INCL_START_BOUND,
    Bound,
    ComplexColumn,
    PartitionUpdate,
    RangeTombstone,
    Row,
)
from casscade.core.table import COLUMN_LISTS_MAX, ColumnShape, TableShape

ID = bytes.fromhex("90c1abd0e71f11f1958e83d54943f4f6")
INSERT = bytes.fromhex("0190c1abd0e71f11f1958e83d54943f4f6040000000110fffffadfb5522580010000010176012400080000000101")
INT = ColumnShape(b"v", 0, fixed_length=4)


def table(columns: list[ColumnShape], clustering: list[int] | None = None, table_id: bytes = ID) -> TableShape:
    return TableShape(table_id, "ks", "t", clustering or [], columns)


def head(names: list[bytes], *, statics: list[bytes] | None = None) -> bytes:
    """An update's bytes up to its first row, with stats of zero."""
    listed = b""
    for columns in [names] if statics is None else [statics, names]:
        listed += bytes((len(columns),)) + b"".join(bytes((len(name),)) + name for name in columns)
    return b"\x01" + ID + b"\x01k" + (b"\x10" if statics is None else b"\x18") + b"\x00\x00\x00" + listed


def decode(data: bytes, shape: TableShape, version: int = 8) -> PartitionUpdate:
    (update,) = decode_mutation(data, version, {shape.id: shape})
    return update


@pytest.mark.requirement("FR-001")
def test_an_insert() -> None:
    update = decode(INSERT, table([INT]))
    assert update.key == b"\x00\x00\x00\x01"
    assert (update.deletion, update.static_row, update.range_tombstones) == (NO_TIMESTAMP, None, [])
    (row,) = update.rows
    assert (row.key, row.clustering, row.liveness_ts, row.deletion) == (b"", [], 1, NO_TIMESTAMP)
    assert row.cells == {0: live_cell(1, b"\x00\x00\x00\x01")}
    assert row.complex is None


@pytest.mark.requirement("FR-007")
def test_a_range_delete() -> None:
    data = bytes.fromhex(
        "018efd8da0e71f11f1958e83d54943f4f60c00026262000004000000010010fffffadfb552259388f015036c1c000000"
        "020100010000000001000002000001000000000500000" + "1"
    )
    shape = table([], [4, -1, 16], bytes.fromhex("8efd8da0e71f11f1958e83d54943f4f6"))
    update = decode(data, shape)
    (found,) = update.range_tombstones
    assert found.deletion == 5000
    assert (found.start.kind, found.start.values) == (INCL_START_BOUND, [b"\x00\x00\x00\x01"])
    assert (found.end.kind, found.end.values) == (EXCL_END_BOUND, [b"\x00\x00\x00\x05"])
    assert update.rows == []


@pytest.mark.requirement("FR-008")
def test_an_insert_with_ttl_and_a_set() -> None:
    data = bytes.fromhex(
        "01" + ID.hex() + "0400000001" + "10fd40a3786887aef015036c1cc186a0" + "03017601770173" + "01" + "6c"
        "0000000001" + "0100c186a0" + "1a00000001" + "1a0174" + "000002" + "1e0400000001" + "1e0400000002" + "01"
    )
    shape = table([INT, ColumnShape(b"w", 1), ColumnShape(b"s", 2, multi_cell=True)], [4])
    (row,) = decode(data, shape).rows
    min_ts = EPOCH_MICROS + 0x140A3786887AE
    expires_at = EPOCH_SECONDS + 0x15036C1C + 100000
    assert (row.liveness_ts, row.liveness_ttl, row.liveness_expires_at) == (min_ts + 1, 100000, expires_at)
    assert row.clustering == [b"\x00\x00\x00\x01"]
    assert row.cells == {
        0: expiring_cell(min_ts + 1, expires_at, 100000, b"\x00\x00\x00\x01"),
        1: expiring_cell(min_ts + 1, expires_at, 100000, b"t"),
    }
    assert row.complex is not None
    assert row.complex[2].deletion == min_ts
    assert row.complex[2].cells == {
        bytes((0, 0, 0, i)): expiring_cell(min_ts + 1, expires_at, 100000, b"") for i in (1, 2)
    }


def test_an_update_of_a_static_column() -> None:
    data = bytes.fromhex("01" + ID.hex() + "0400000001" + "18fd40a3786962900000" + "01027374" + "00" + "a001" + "0000")
    data += bytes.fromhex("00000005" + "00" + "01")
    update = decode(data, table([ColumnShape(b"st", 0, fixed_length=4, static=True)], [4]))
    assert update.static_row is not None
    assert update.static_row.key == b""
    assert update.static_row.cells == {0: live_cell(EPOCH_MICROS + 0x140A378696290, b"\x00\x00\x00\x05")}
    assert update.rows == []


@pytest.mark.requirement("FR-008")
@pytest.mark.parametrize(
    ("version", "delta", "expires_at"),
    [
        (6, "00", EPOCH_SECONDS),
        (7, "f0" + f"{0x7FFFFFFE - EPOCH_SECONDS:08x}", 0x7FFFFFFE),
        (7, "f0" + f"{0x7FFFFFFF - EPOCH_SECONDS:08x}", NO_EXPIRY),
        (7, "f0" + f"{0x80000001 - EPOCH_SECONDS:08x}", 0x7FFFFFFE),
        (7, "f0" + f"{0xFFFFFFFF - EPOCH_SECONDS:08x}", 0x7FFFFFFE),
        (8, "f0" + f"{0x7FFFFFFF - EPOCH_SECONDS:08x}", 0x7FFFFFFF),
        (8, "f0" + f"{0xFFFFFFFE - EPOCH_SECONDS:08x}", 0xFFFFFFFE),
        (8, "f0" + f"{0xFFFFFFFF - EPOCH_SECONDS:08x}", NO_EXPIRY),
    ],
)
def test_expiry_is_signed_up_to_version_7_and_unsigned_from_8(version: int, delta: str, expires_at: int) -> None:
    data = head([b"v"]) + b"\x01\x20\x02\x00" + bytes.fromhex(delta) + b"\x3c" + b"\x00\x00\x00\x07\x01"
    (row,) = decode(data, table([INT]), version).rows
    assert row.cells == {0: expiring_cell(EPOCH_MICROS, expires_at, 60, b"\x00\x00\x00\x07")}


def test_expired_liveness_of_views_is_kept_as_it_is() -> None:
    data = head([]) + b"\x01\x2c\x00\xf0\x7f\xff\xff\xff\x05\x01"
    (row,) = decode(data, table([])).rows
    assert (row.liveness_ttl, row.liveness_expires_at) == (EXPIRED_LIVENESS_TTL, EPOCH_SECONDS + 5)


@pytest.mark.requirement("FR-007")
@pytest.mark.parametrize("ldt", ["00", "f0ffffffff"])
def test_a_deletion_that_is_none_is_told_by_its_timestamp_alone(ldt: str) -> None:
    none = (NO_TIMESTAMP - EPOCH_MICROS) % (1 << 64)
    deletion = b"\xff" + none.to_bytes(8, "big") + bytes.fromhex(ldt)
    data = head([b"s"]) + b"\x01\x60" + deletion + b"\x01\x04\x00\x01e\x01"
    (row,) = decode(data, table([ColumnShape(b"s", 0, multi_cell=True)])).rows
    assert row.complex is not None
    assert row.complex[0].deletion == NO_TIMESTAMP
    assert row.complex[0].cells == {b"e": live_cell(EPOCH_MICROS, b"")}


def test_tombstones_empty_values_and_counters() -> None:
    columns = [INT, ColumnShape(b"w", 1), ColumnShape(b"n", 2, counter=True), ColumnShape(b"m", 3, counter=True)]
    data = head([b"v", b"w", b"n", b"m"]) + b"\x01\x20" + b"\x05\x07\x63" + b"\x04\x08" + b"\x00\x09\x02\xaa\xbb"
    (row,) = decode(data + b"\x05\x0a\x00" + b"\x01", table(columns)).rows
    assert row.cells == {
        0: tombstone_cell(EPOCH_MICROS + 7),
        1: live_cell(EPOCH_MICROS + 8, b""),
        2: counter_cell(EPOCH_MICROS + 9, b"\xaa\xbb"),
        3: tombstone_cell(EPOCH_MICROS + 10),
    }
    assert row.cells[2][2] == COUNTER_TTL


@pytest.mark.requirement("FR-016")
def test_cells_of_dropped_columns_are_stepped_over() -> None:
    dropped = ColumnShape(b"v", 0, fixed_length=4, dropped=True, dropped_at=EPOCH_MICROS + 5)
    again = ColumnShape(b"w", 1, dropped_at=EPOCH_MICROS + 5)
    elements = ColumnShape(b"x", 2, multi_cell=True, dropped_at=EPOCH_MICROS + 5)
    shape = table([dropped, again, elements])
    cells = b"\x00\x05\x00\x00\x00\x01" + b"\x00\x05\x01a" + b"\x05\x00" + b"\x02\x00\x05\x01p\x01a\x00\x06\x01q\x01b"
    (row,) = decode(head([b"v", b"w", b"x"]) + b"\x01\x60" + cells + b"\x01", shape).rows
    assert row.cells == {}
    assert row.complex is not None
    assert row.complex[2].deletion == NO_TIMESTAMP
    assert row.complex[2].cells == {b"q": live_cell(EPOCH_MICROS + 6, b"b")}
    newer = head([b"v"]) + b"\x01\x20\x00\x09\x00\x00\x00\x01\x01"
    with pytest.raises(DroppedColumnError) as caught:
        decode(newer, shape)
    assert (caught.value.table_id, caught.value.column) == (shape.id, b"v")
    assert decode(newer, shape.lenient()).rows == []
    (later,) = decode(head([b"w"]) + b"\x01\x20\x00\x06\x01a\x01", shape).rows
    assert later.cells == {1: live_cell(EPOCH_MICROS + 6, b"a")}


def test_boundaries_close_one_range_and_open_the_next() -> None:
    update = PartitionUpdate(table([], [4, 4]), b"k")
    one, two = b"\x00\x00\x00\x01", b"\x00\x00\x00\x02"
    update.range_tombstones = [
        RangeTombstone(Bound(INCL_START_BOUND, []), Bound(EXCL_END_BOUND, [one]), 5),
        RangeTombstone(Bound(INCL_START_BOUND, [one]), Bound(INCL_END_BOUND, [one, two]), 6),
        RangeTombstone(Bound(EXCL_START_BOUND, [one, two]), Bound(INCL_END_BOUND, []), 7),
    ]
    data = encode_mutation([update], 8)
    assert data.count(b"\x02\x02\x00\x01") == 1
    assert data.count(b"\x02\x05\x00\x02") == 1
    found = decode(data, update.table).range_tombstones
    assert [(item.start.kind, item.end.kind, item.deletion) for item in found] == [
        (INCL_START_BOUND, EXCL_END_BOUND, 5),
        (INCL_START_BOUND, INCL_END_BOUND, 6),
        (EXCL_START_BOUND, INCL_END_BOUND, 7),
    ]
    assert [(item.start.values, item.end.values) for item in found] == [
        ([], [one]),
        ([one], [one, two]),
        ([one, two], []),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        INSERT[:-1],
        INSERT + b"\x00",
        INSERT[:20],
        INSERT[:17] + b"\xff" + INSERT[18:],
        head([]) + b"\x01\x03",
        head([]) + b"\x01\x08\x3c\x00\x01",
        head([b"v", b"v"]) + b"\x01\x20\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01\x01",
        head([b"v"]) + b"\x01\x20\x08\x00\x00\x00\x01\x01",
        head([b"v"]) + b"\x01\x24\x00\x12\x00\x00\x00\x00\x01\x01",
        head([b"v"]) + b"\x01\x24\x00\x40\x00\x00\x00\x01\x01",
        head([b"v"]) + b"\x01\x20\x02\x00\x00\x00\x00\x00\x00\x01\x01",
        head([b"v"]) + b"\x01\x04\x00\x02\x01",
        head([]) + b"\x01\x02\x01\x00\x00\x00\x00\x01",
        head([]) + b"\x01\x02\x06\x00\x00\x00\x00\x01",
        head([]) + b"\x01\x02\x03\x00\x00\x00\x00\x01",
        head([]) + b"\x01\x02\x01\x00\x01\x00\x00\x00\x01",
        head([]) + b"\x01\x02\x01\x00\x00\x00\x00\x02\x01\x00\x00\x00\x00\x01",
        head([]) + b"\x01\x02\x01\x00\x00\x00\x00\x02\x06\x00\x00\x01\x00\x01",
        head([]) + b"\x01\xa0\x01\x01",
        head([], statics=[]) + b"\x20\x01",
        head([b"x"]) + b"\x01\x20\x02\x00\x00\x01e\x00\x00\x00\x01e\x00\x01",
    ],
    ids=range(23),
)
@pytest.mark.requirement("FR-022")
def test_what_no_writer_writes_is_corrupt(data: bytes) -> None:
    shape = table([INT, ColumnShape(b"x", 1, multi_cell=True)])
    with pytest.raises(CorruptionError) as caught:
        decode_mutation(data, 8, {ID: shape})
    assert caught.value.code == "mutation_corrupt"
    assert caught.value.hint


@pytest.mark.requirement("FR-014")
def test_unknown_tables_and_columns_are_named() -> None:
    with pytest.raises(UnknownSchemaError) as caught:
        decode_mutation(INSERT, 8, {})
    assert (caught.value.table_id, caught.value.column) == (ID, b"")
    with pytest.raises(UnknownSchemaError) as caught:
        decode_mutation(INSERT, 8, {ID: table([ColumnShape(b"w", 0)])})
    assert (caught.value.table_id, caught.value.column) == (ID, b"v")


@pytest.mark.requirement("FR-006")
def test_a_batch_loses_nothing_to_a_table_that_is_not_replicated() -> None:
    other = TableShape(b"\x02" * 16, "ks", "other", [], [INT], replicated=False)
    updates = [_update(other), _update(table([INT])), _update(other)]
    data = encode_mutation(updates, 8)
    decoded = decode_mutation(data, 8, {ID: updates[1].table, other.id: other})
    assert [update.table.id for update in decoded] == [ID]
    assert decode_mutation(encode_mutation([_update(other)], 8), 8, {other.id: other}) == []


def _update(shape: TableShape, key: bytes = b"k") -> PartitionUpdate:
    update = PartitionUpdate(shape, key)
    row = Row(b"", [])
    row.cells = {0: live_cell(5, b"\x00\x00\x00\x01")}
    update.rows = [row]
    return update


def test_updates_of_one_mutation_share_their_key() -> None:
    other = TableShape(b"\x02" * 16, "ks", "other", [], [INT])
    data = encode_mutation([_update(table([INT])), _update(other, b"l")], 8)
    with pytest.raises(CorruptionError, match="different partition keys"):
        decode_mutation(data, 8, {ID: table([INT]), other.id: other})


def test_the_lists_of_columns_that_a_table_remembers_are_bounded() -> None:
    columns = [ColumnShape(bytes((65 + i // 26, 65 + i % 26)), i, fixed_length=1) for i in range(2 * COLUMN_LISTS_MAX)]
    shape = table(columns)
    for column in columns:
        data = head([column.name]) + b"\x01\x20\x00\x00\x07\x01"
        assert decode(data, shape).rows[0].cells == {column.index: live_cell(EPOCH_MICROS, b"\x07")}
        assert decode(data, shape).rows[0].cells == {column.index: live_cell(EPOCH_MICROS, b"\x07")}
    assert 0 < len(shape.column_lists) <= COLUMN_LISTS_MAX


@pytest.mark.requirement("FR-006")
def test_peeking_needs_no_schema() -> None:
    assert first_table_id(INSERT) == ID
    assert partition_key_of(INSERT) == b"\x00\x00\x00\x01"
    assert mentions_any(INSERT, {ID})
    assert not mentions_any(INSERT, {b"\x02" * 16})
    assert not mentions_any(INSERT, set())
    other = TableShape(b"\x02" * 16, "ks", "other", [], [INT])
    batch = encode_mutation([_update(other), _update(table([INT]))], 8)
    assert mentions_any(batch, {ID})
    assert mentions_any(batch, {other.id})
    assert not mentions_any(batch, {b"\x03" * 16})
    for cut in range(22):
        with pytest.raises(CorruptionError):
            partition_key_of(INSERT[:cut])
    for cut in range(17):
        with pytest.raises(CorruptionError):
            first_table_id(INSERT[:cut])


def test_what_the_format_cannot_hold_is_not_encoded() -> None:
    update = _update(table([INT]))
    row = update.rows[0]
    for cell in (
        expiring_cell(5, 0xFFFFFFFF, 60, b"\x00\x00\x00\x01"),
        (5, 1_700_000_000, 60, None),
        live_cell(5, b"\x01"),
    ):
        row.cells = {0: cell}
        with pytest.raises(InvariantError):
            encode_mutation([update], 8)
    row.cells = {0: expiring_cell(5, 0x7FFFFFFF, 60, b"\x00\x00\x00\x01")}
    assert encode_mutation([update], 8)
    with pytest.raises(InvariantError):
        encode_mutation([update], 7)


def test_complex_columns_without_a_deletion_stand_beside_ones_with_one() -> None:
    columns = [ColumnShape(b"a", 0, multi_cell=True), ColumnShape(b"b", 1, multi_cell=True)]
    update = _update(table(columns))
    update.rows[0].cells = {}
    update.rows[0].complex = {
        0: ComplexColumn(7, {}),
        1: ComplexColumn(NO_TIMESTAMP, {b"p": live_cell(9, b"v"), b"q": tombstone_cell(8)}),
    }
    (row,) = decode(encode_mutation([update], 7), update.table, 7).rows
    assert row.complex is not None
    assert {index: (held.deletion, held.cells) for index, held in row.complex.items()} == {
        0: (7, {}),
        1: (NO_TIMESTAMP, {b"p": live_cell(9, b"v"), b"q": tombstone_cell(8)}),
    }
