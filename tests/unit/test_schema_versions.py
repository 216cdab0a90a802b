"""Versions of a table: written, read back, and compared."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace

import pytest

from casscade.cql.types import UdtDefinition, parse_type
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes, ordered_columns
from casscade.schema.versions import changes, from_document, renamed_keys, to_document

UDTS = {
    "home": UdtDefinition("shop", "home", ("street", "Where"), ("text", "frozen<place>")),
    "place": UdtDefinition("shop", "place", ("lat",), ("double",)),
}
ID = uuid.uuid4()


def column(name: str, type_: str = "int", kind: ColumnKind = ColumnKind.REGULAR, position: int = -1) -> Column:
    return Column(name, kind, position, parse_type(type_, "shop", UDTS))


def table(*columns: Column) -> Table:
    keys = [
        column("p", "text", ColumnKind.PARTITION_KEY, 0),
        column("c", "int", ColumnKind.CLUSTERING, 0),
    ]
    made = Table(ID, "shop", "t", ordered_columns([*keys, *columns]), cdc=True)
    return assign_indexes(made, {})


@pytest.mark.requirement("FR-018")
def test_what_was_written_is_read_back_whole() -> None:
    gone = replace(column("gone", "frozen<list<int>>"), dropped=True, dropped_at=17)
    again = replace(column("again", "set<text>"), dropped_at=-5)
    written = table(
        column("home", "home"),
        column("many", "map<text, frozen<home>>"),
        column("st", "tuple<int, text>", ColumnKind.STATIC),
        gone,
        again,
    )
    document = json.loads(json.dumps(to_document(written)))
    assert from_document(ID, document, 3) == written
    assert from_document(ID, document, 3).altered_at == 3


@pytest.mark.requirement("FR-014")
def test_each_kind_of_change_is_told_in_words() -> None:
    before = table(column("a"), column("b", "text"), column("home", "home"))
    added = table(*before.regulars, column("n", "bigint"), column("s", "int", ColumnKind.STATIC))
    assert [str(change) for change in changes(before, added)] == [
        "static column s int added",
        "column n bigint added",
    ]
    gone = replace(column("a"), dropped=True, dropped_at=5)
    dropped = table(gone, column("b", "text"), column("home", "home"))
    assert [str(change) for change in changes(before, dropped)] == ["column a int dropped"]
    again = table(replace(column("a", "bigint"), dropped_at=5), column("b", "text"), column("home", "home"))
    assert [str(change) for change in changes(dropped, again)] == ["column a added again as bigint (it was int)"]
    assert [change.kind for change in changes(before, again)] == ["added again"]
    longer = {**UDTS, "place": UdtDefinition("shop", "place", ("lat", "lon"), ("double", "double"))}
    nested = table(
        column("a"), column("b", "text"), Column("home", ColumnKind.REGULAR, -1, parse_type("home", "shop", longer))
    )
    assert [str(change) for change in changes(before, nested)] == [
        "the fields of the type of column home (home) changed"
    ]
    options = replace(before, gc_grace_seconds=60, default_time_to_live=5, cdc=False)
    assert [str(change) for change in changes(before, options)] == [
        "gc_grace_seconds: 864000 became 60",
        "default_time_to_live: 0 became 5",
        "cdc: true became false",
    ]
    assert changes(before, replace(before, altered_at=99)) == []


def test_a_key_column_that_was_renamed_keeps_its_place() -> None:
    before = table(column("a"))
    columns = tuple(replace(each, name="moment") if each.name == "c" else each for each in before.columns)
    after = replace(before, columns=columns)
    assert [str(change) for change in changes(before, after)] == ["key column c renamed to moment"]
    assert renamed_keys(before, after) == {"moment": "c"}
