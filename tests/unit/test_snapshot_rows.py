"""From raw rows to partition updates: cells, statics, liveness, and what is never made up."""

from __future__ import annotations

import uuid

import pytest

from casscade.core.cell import NO_EXPIRY, NO_TIMESTAMP
from casscade.core.errors import InvariantError
from casscade.core.keys import pack_values
from casscade.core.observed import NOTHING, SETTLED, UNBOUNDED
from casscade.cql.types import UdtDefinition, parse_type
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes, ordered_columns
from casscade.snapshot import rows as rows_module
from casscade.snapshot.elements import read_complex_cells
from casscade.snapshot.plain import OLDEST
from casscade.snapshot.rows import TableScan, shows_element_times

KINDS = {"p": ColumnKind.PARTITION_KEY, "c": ColumnKind.CLUSTERING, "s": ColumnKind.STATIC, "r": ColumnKind.REGULAR}
UDTS = {"addr": UdtDefinition("k", "addr", ("street", "zip"), ("text", "int"))}
NOW = 1_700_000_000


def make_table(*columns: tuple[str, str, str]) -> Table:
    built = [
        Column(name, KINDS[kind], i if kind in "pc" else -1, parse_type(text, "k", UDTS))
        for i, (name, kind, text) in enumerate(columns)
    ]
    return assign_indexes(Table(uuid.uuid4(), "k", "t", ordered_columns(built), cdc=True), {})


def i64(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)


def i32(number: int) -> bytes:
    return number.to_bytes(4, "big", signed=True)


def listed(*values: bytes | None) -> bytes:
    """A serialized list: count, then length and bytes of each element."""
    parts = [i32(-1) if value is None else i32(len(value)) + value for value in values]
    return i32(len(values)) + b"".join(parts)


PLAIN = make_table(("p", "p", "int"), ("c", "c", "text"), ("st", "s", "int"), ("v", "r", "int"), ("w", "r", "text"))
# Raw rows of PLAIN: token, p, c, then value, write time and TTL of st, v and w.
NULLS: list[bytes | None] = [None, None, None]


def test_the_query_asks_for_token_key_and_each_cell() -> None:
    assert TableScan(PLAIN).query == (
        'SELECT token("p"), "p", "c", "st", WRITETIME("st"), TTL("st"), "v", WRITETIME("v"), TTL("v"), '
        '"w", WRITETIME("w"), TTL("w") FROM "k"."t" WHERE token("p") > ? AND token("p") <= ?'
    )


def test_names_in_the_query_are_quoted() -> None:
    scan = TableScan(make_table(("P", "p", "int"), ('a"b', "p", "int"), ("v", "r", "int")))
    assert 'WHERE token("P", "a""b") > ? AND token("P", "a""b") <= ?' in scan.query


@pytest.mark.requirement("US-1")
def test_cells_keep_write_time_and_expiry() -> None:
    raw = [i64(5), i32(1), b"a", *NULLS, i32(7), i64(100), None, b"x", i64(200), i32(60)]
    (part,) = TableScan(PLAIN).read_page([raw], NOW)
    (row,) = part.update.rows
    assert part.token == 5
    assert part.rows == 1
    assert part.update.key == i32(1)
    assert part.update.static_row is None
    assert part.update.deletion == NO_TIMESTAMP
    assert row.clustering == [b"a"]
    assert row.cells == {0: (100, NO_EXPIRY, 0, i32(7)), 1: (200, NOW + 60, 60, b"x")}
    assert row.deletion == NO_TIMESTAMP


def test_nulls_yield_nothing_and_empty_values_do() -> None:
    raw = [i64(5), i32(1), b"", *NULLS, *NULLS, b"", i64(200), None]
    (part,) = TableScan(PLAIN).read_page([raw], NOW)
    assert part.update.rows[0].cells == {1: (200, NO_EXPIRY, 0, b"")}
    assert part.update.rows[0].clustering == [b""]


def test_rows_of_a_partition_share_an_update_and_its_static_row() -> None:
    static = [i32(9), i64(50), None]
    page = [
        [i64(5), i32(1), b"a", *static, i32(7), i64(100), None, *NULLS],
        [i64(5), i32(1), b"b", *static, i32(8), i64(100), None, *NULLS],
        [i64(6), i32(2), None, *static, *NULLS, *NULLS],
    ]
    first, second = TableScan(PLAIN).read_page(page, NOW)
    assert [row.clustering for row in first.update.rows] == [[b"a"], [b"b"]]
    assert first.update.static_row is not None
    assert first.update.static_row.cells == {2: (50, NO_EXPIRY, 0, i32(9))}
    assert second.update.rows == []
    assert second.update.static_row is not None
    assert (second.rows, second.token) == (1, 6)


def test_a_composite_partition_key_is_serialized_by_component() -> None:
    table = make_table(("p1", "p", "text"), ("p2", "p", "int"), ("v", "r", "int"))
    (part,) = TableScan(table).read_page([[i64(5), b"bb", i32(1), *NULLS]], NOW)
    assert part.update.key.hex() == "0002626200000400000001" + "00"


def test_a_large_partition_comes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "CHUNK_BYTES_MAX", 100)
    page = [[i64(5), i32(1), bytes([i]) * 60, *NULLS, *NULLS, *NULLS] for i in range(4)]
    parts = TableScan(PLAIN).read_page(page, NOW)
    assert [len(part.update.rows) for part in parts] == [2, 2]
    assert {part.token for part in parts} == {5}
    assert {part.update.key for part in parts} == {i32(1)}


def liveness(v: list[bytes | None], w: list[bytes | None]) -> tuple[int, int, int]:
    (part,) = TableScan(PLAIN).read_page([[i64(5), i32(1), b"a", *NULLS, *v, *w]], NOW)
    row = part.update.rows[0]
    return (row.liveness_ts, row.liveness_ttl, row.liveness_expires_at)


@pytest.mark.requirement("FR-008")
def test_only_a_row_without_values_shows_that_it_has_a_liveness() -> None:
    live_at_100: list[bytes | None] = [i32(1), i64(100), None]
    expiring_at_200: list[bytes | None] = [b"x", i64(200), i32(90)]
    assert liveness(live_at_100, expiring_at_200) == (NO_TIMESTAMP, 0, NO_EXPIRY)
    assert liveness(NULLS, NULLS) == (OLDEST, 0, NO_EXPIRY)
    assert OLDEST == -(1 << 63) + 1


@pytest.mark.requirement("FR-010")
def test_elements_get_their_own_write_times() -> None:
    times = listed(i64(100), i64(200))
    ttls = listed(None, i32(60))
    assert read_complex_cells("set", listed(b"a", b"b"), times, None, NOW) == {
        b"a": (100, NO_EXPIRY, 0, b""),
        b"b": (200, NO_EXPIRY, 0, b""),
    }
    assert read_complex_cells("map", i32(2) + listed(b"k", b"v", b"l", b"w")[4:], times, ttls, NOW) == {
        b"k": (100, NO_EXPIRY, 0, b"v"),
        b"l": (200, NOW + 60, 60, b"w"),
    }


@pytest.mark.requirement("FR-011")
def test_fields_of_a_udt_are_told_apart_by_number() -> None:
    value = i32(-1) + i32(4) + i32(12)
    cells = read_complex_cells("udt", value, listed(None, i64(200)), listed(None, None), NOW)
    assert cells == {b"\x00\x01": (200, NO_EXPIRY, 0, i32(12))}


def test_a_multi_cell_column_becomes_cells_without_a_deletion() -> None:
    table = make_table(("p", "p", "int"), ("s", "r", "set<text>"), ("v", "r", "int"))
    raw = [i64(5), i32(1), listed(b"a"), listed(i64(300)), listed(i32(5)), i32(1), i64(100), None]
    (part,) = TableScan(table).read_page([raw], NOW)
    (row,) = part.update.rows
    assert row.complex is not None
    assert row.complex[0].deletion == NO_TIMESTAMP
    assert row.complex[0].cells == {b"a": (300, NOW + 5, 5, b"")}
    assert row.liveness_ts == NO_TIMESTAMP


def test_write_times_that_do_not_fit_are_a_bug_or_a_broken_server() -> None:
    with pytest.raises(InvariantError):
        read_complex_cells("set", listed(b"a", b"b"), listed(i64(1)), None, NOW)


READ_AT = NOW * 1_000_000 + 7


@pytest.mark.requirement("FR-010")
def test_a_list_is_observed_with_the_bound_of_its_elements_and_the_first_expiry() -> None:
    scan = TableScan(make_table(("p", "p", "int"), ("l", "r", "list<int>")))
    value = listed(i32(1), i32(2))
    raw = [i64(5), i32(1), value, listed(i64(300), i64(200)), listed(i32(60), None)]
    (part,) = scan.read_page([raw], NOW, READ_AT)
    (row,) = part.update.rows
    assert (row.cells, row.complex, row.liveness_ts) == ({}, None, NO_TIMESTAMP)
    assert row.observed == {0: (0, READ_AT, 300, NOW + 60, value)}


@pytest.mark.requirement("FR-001")
def test_a_counter_is_observed_without_a_bound() -> None:
    scan = TableScan(make_table(("p", "p", "int"), ("n", "r", "counter"), ("m", "s", "counter"), ("c", "c", "int")))
    assert 'SELECT token("p"), "p", "c", "m", "n" FROM' in scan.query
    (part,) = scan.read_page([[i64(5), i32(1), i32(2), i64(41), i64(-3)]], NOW, READ_AT)
    assert part.update.rows[0].observed == {0: (0, READ_AT, UNBOUNDED, NO_EXPIRY, i64(-3))}
    assert part.update.static_row is not None
    assert part.update.static_row.observed == {1: (0, READ_AT, UNBOUNDED, NO_EXPIRY, i64(41))}


@pytest.mark.parametrize("type_", ["set<int>", "map<int, int>", "list<int>", "addr"])
@pytest.mark.parametrize(("ttl", "expires_at"), [(None, NO_EXPIRY), (i32(60), NOW + 60)])
def test_without_element_times_a_collection_is_observed_without_a_bound(
    type_: str, ttl: bytes | None, expires_at: int
) -> None:
    assert not shows_element_times("4.1.10")
    table = make_table(("p", "p", "int"), ("a", "r", "int"), ("v", "r", type_))
    scan = TableScan(table, element_times=shows_element_times("3.11.19"))
    assert '"a", WRITETIME("a"), TTL("a"), "v" FROM' in scan.query
    (part,) = scan.read_page([[i64(5), i32(1), i32(9), i64(100), ttl, b"value"]], NOW, READ_AT)
    assert part.update.rows[0].observed == {1: (0, READ_AT, UNBOUNDED, expires_at, b"value")}


def test_frozen_collections_and_elements_with_times_are_cells_as_ever() -> None:
    assert shows_element_times("5.0.6")
    for type_, version in (("frozen<list<int>>", "3.11.19"), ("set<int>", "5.0.6"), ("addr", "5.0.6")):
        scan = TableScan(make_table(("p", "p", "int"), ("v", "r", type_)), element_times=shows_element_times(version))
        assert '"v", WRITETIME("v"), TTL("v")' in scan.query


LISTS = make_table(("p", "p", "int"), ("c", "c", "int"), ("s", "s", "list<int>"), ("l", "r", "list<int>"))
KEY = (i32(1), pack_values([i32(2)]))


def test_an_answer_speaks_of_the_columns_in_doubt_alone() -> None:
    value = listed(i32(1))
    raw = [i64(5), i32(1), i32(2), value, listed(i64(200)), None, value, listed(i64(300)), None]
    scan = TableScan(LISTS)
    update = scan.read_again([raw], NOW, READ_AT, 7, KEY, [0], static=False)
    assert update is not None
    assert update.static_row is None
    assert update.rows[0].observed == {0: (7, READ_AT, 300, NO_EXPIRY, value)}
    update = scan.read_again([raw], NOW, READ_AT, 7, (i32(1), b""), [1], static=True)
    assert update is not None
    assert update.rows == []
    assert update.static_row is not None
    assert update.static_row.observed == {1: (7, READ_AT, 200, NO_EXPIRY, value)}


def test_what_an_answer_does_not_show_is_settled() -> None:
    scan = TableScan(LISTS)
    update = scan.read_again([], NOW, READ_AT, 7, KEY, [0], static=False)
    assert update is not None
    assert update.rows[0].clustering == [i32(2)]
    assert update.rows[0].observed == {0: SETTLED}
    assert scan.read_again([], NOW, READ_AT, 7, KEY, [], static=False) is None


def test_a_counter_that_an_answer_does_not_show_is_nothing_for_now() -> None:
    table = make_table(("p", "p", "int"), ("c", "c", "int"), ("n", "r", "counter"))
    update = TableScan(table).read_again([], NOW, READ_AT, 7, KEY, [0], static=False)
    assert update is not None
    assert update.rows[0].observed == {0: (7, READ_AT, UNBOUNDED, NO_EXPIRY, NOTHING)}
