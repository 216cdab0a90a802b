"""Tables that are refused, each with its reason and remedy."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from casscade.core.errors import ConfigurationError
from casscade.cql.types import CqlType
from casscade.schema.checks import require_table
from casscade.schema.model import Column, ColumnKind, Keyspace, SchemaSnapshot, Table

GOOD = Table(
    uuid.uuid4(),
    "shop",
    "orders",
    (
        Column("p", ColumnKind.PARTITION_KEY, 0, CqlType("int")),
        Column("v", ColumnKind.REGULAR, -1, CqlType("int"), index=0),
    ),
    cdc=True,
)
KEY = (GOOD.columns[0], Column("c", ColumnKind.CLUSTERING, 0, CqlType("int")))
DENSE = replace(GOOD, flags=frozenset({"dense"}), columns=(*KEY, GOOD.columns[1]))
HIDDEN = Column("value", ColumnKind.REGULAR, -1, CqlType("empty"), index=0)
COUNTER = replace(GOOD, columns=(*GOOD.columns[:1], Column("n", ColumnKind.REGULAR, -1, CqlType("counter"), index=0)))


def snapshot_of(table: Table, *, durable: bool = True) -> SchemaSnapshot:
    return SchemaSnapshot({"shop": Keyspace("shop", durable_writes=durable)}, {table.id: table}, {})


def test_a_good_table_is_returned() -> None:
    assert require_table(snapshot_of(GOOD), "shop", "orders") is GOOD
    assert require_table(snapshot_of(COUNTER), "shop", "orders") is COUNTER
    assert require_table(snapshot_of(DENSE), "shop", "orders") is DENSE


@pytest.mark.requirement("FR-006")
@pytest.mark.parametrize(
    ("table", "code", "hint"),
    [
        (replace(GOOD, cdc=False), "table_without_cdc", "ALTER TABLE shop.orders WITH cdc = true;"),
        (replace(GOOD, is_view=True), "table_is_view", "base table"),
        (replace(GOOD, flags=frozenset({"dense"})), "table_compact", "DROP COMPACT STORAGE"),
        (replace(DENSE, columns=(*KEY, HIDDEN)), "table_compact", "DROP COMPACT STORAGE"),
        (replace(DENSE, flags=frozenset({"dense", "compound"})), "table_compact", "DROP COMPACT STORAGE"),
        (replace(DENSE, flags=frozenset()), "table_compact", "DROP COMPACT STORAGE"),
        (replace(GOOD, flags=frozenset({"super", "compound"})), "table_compact", "DROP COMPACT STORAGE"),
    ],
)
def test_tables_that_are_refused(table: Table, code: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        require_table(snapshot_of(table), "shop", "orders")
    assert caught.value.code == code
    assert hint in caught.value.hint


def test_the_remedy_quotes_odd_names() -> None:
    table = replace(GOOD, name="Orders", cdc=False)
    with pytest.raises(ConfigurationError) as caught:
        require_table(snapshot_of(table), "shop", "Orders")
    assert caught.value.hint == 'ALTER TABLE shop."Orders" WITH cdc = true;'


def test_a_keyspace_without_durable_writes_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="durable_writes"):
        require_table(snapshot_of(GOOD, durable=False), "shop", "orders")


@pytest.mark.parametrize(
    ("keyspace", "name", "code", "hint"),
    [
        ("shopp", "orders", "keyspace_unknown", "'shop'"),
        ("xyz", "orders", "keyspace_unknown", "create it"),
        ("shop", "order", "table_unknown", "'orders'"),
        ("shop", "xyz", "table_unknown", "create it"),
    ],
)
def test_unknown_names_get_a_suggestion(keyspace: str, name: str, code: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        require_table(snapshot_of(GOOD), keyspace, name)
    assert caught.value.code == code
    assert hint in caught.value.hint
