"""Which form of key a table gets, and what stands in PostgreSQL for it."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from casscade.core.errors import ConfigurationError
from casscade.cql.types import UdtDefinition, parse_type
from casscade.schema.ddl import ExistingColumn, ExistingSchema, ExistingTable, diff_target, plan_target
from casscade.schema.key_form import is_exact
from casscade.schema.mapping import META_COLUMNS, Relation, build_target
from casscade.schema.model import Column, ColumnKind, Table, ordered_columns

UDTS = {"pair": UdtDefinition("k", "pair", ("x", "y"), ("int", "text"))}


def make_table(partition: str, clustering: str = "", *, statics: bool = False) -> Table:
    columns = [Column("id", ColumnKind.PARTITION_KEY, 0, parse_type(partition, "k", UDTS))]
    if clustering:
        columns.append(Column("at", ColumnKind.CLUSTERING, 0, parse_type(clustering, "k", UDTS)))
    if statics:
        columns.append(Column("st", ColumnKind.STATIC, -1, parse_type("int", "k", UDTS)))
    columns.append(Column("v", ColumnKind.REGULAR, -1, parse_type("int", "k", UDTS)))
    return Table(uuid.uuid4(), "k", "t", ordered_columns(columns))


@pytest.mark.requirement("FR-009")
@pytest.mark.parametrize(
    ("partition", "clustering", "exact"),
    [
        ("int", "", False),
        ("text", "decimal", False),
        ("decimal", "", True),
        ("int", "double", True),
        ("float", "int", True),
        ("frozen<list<int>>", "", True),
        ("int", "frozen<set<text>>", True),
        ("int", "frozen<map<int, int>>", True),
        ("int", "frozen<tuple<int, int>>", True),
        ("frozen<pair>", "", True),
        ("vector<float, 2>", "", True),
        ("'org.apache.cassandra.db.marshal.DynamicCompositeType'", "", True),
        ("varint", "boolean", False),
    ],
)
def test_auto_is_exact_where_everyday_values_need_it(partition: str, clustering: str, exact: bool) -> None:
    table = make_table(partition, clustering)
    assert is_exact(table, "auto") is exact
    assert is_exact(table, "exact")


@pytest.mark.requirement("FR-009")
def test_natural_is_refused_only_where_it_is_impossible() -> None:
    assert not is_exact(make_table("decimal", "double"), "natural")
    with pytest.raises(ConfigurationError, match=r"key column 'at' of k\.t has the type frozen<list<int>>") as caught:
        build_target(make_table("int", "frozen<list<int>>"), key="natural")
    assert caught.value.code == "key_type_unsupported"


def test_an_exact_key_is_the_primary_key_beside_the_columns_that_show_it() -> None:
    plan = plan_target(build_target(make_table("text", "double", statics=True)), ExistingSchema(exists=True))
    assert [statement.sql for statement in plan] == [
        'CREATE TABLE "k"."t" ("id" text COLLATE "C", "at" double precision, "v" integer, "_cdc_ts" bigint NOT NULL, '
        '"_cdc_state" bytea, "_cdc_expires_at" timestamp with time zone, "_cdc_partition" bytea NOT NULL, '
        '"_cdc_clustering" bytea NOT NULL, "_cdc_long_key" bytea, PRIMARY KEY ("_cdc_partition", "_cdc_clustering")) '
        "WITH (fillfactor = 80)",
        'CREATE INDEX ON "k"."t" ("_cdc_expires_at") WHERE "_cdc_expires_at" IS NOT NULL',
        'CREATE INDEX ON "k"."t" ("id", "at")',
        'CREATE TABLE "k"."t_static" ("id" text COLLATE "C", "st" integer, "_cdc_ts" bigint NOT NULL, '
        '"_cdc_state" bytea, "_cdc_expires_at" timestamp with time zone, "_cdc_partition" bytea NOT NULL, '
        '"_cdc_long_key" bytea, PRIMARY KEY ("_cdc_partition")) WITH (fillfactor = 80)',
        'CREATE INDEX ON "k"."t_static" ("_cdc_expires_at") WHERE "_cdc_expires_at" IS NOT NULL',
        'CREATE INDEX ON "k"."t_static" ("id")',
        'CREATE VIEW "k"."t_with_static" AS SELECT COALESCE(r."id", s."id") AS "id", "at", "st", "v" FROM "k"."t" AS r '
        'FULL JOIN "k"."t_static" AS s USING ("_cdc_partition")',
    ]


def test_without_clustering_there_is_no_clustering_key_and_jsonb_gets_no_index() -> None:
    target = build_target(make_table("frozen<list<int>>"))
    assert target.rows.primary_key == ("_cdc_partition",)
    assert [s.purpose for s in plan_target(target, ExistingSchema(exists=True))] == [
        "table k.t",
        "index of expiring rows of t",
    ]


def _as_made(relation: Relation) -> ExistingTable:
    columns = [ExistingColumn(c.name, c.pg_type.name, c.nullable, collation=c.collation) for c in relation.columns]
    columns += [ExistingColumn(m.name, m.pg_type, m.nullable) for m in (*META_COLUMNS, *relation.exact_columns)]
    return ExistingTable(tuple(columns), relation.primary_key, expiry_index=True)


@pytest.mark.parametrize("form", ["natural", "exact"])
def test_what_was_made_needs_nothing_and_the_other_form_is_named(form: str) -> None:
    table = make_table("text", "int")
    target = build_target(table, key=form)
    found = ExistingSchema(True, {"t": _as_made(target.rows)})
    assert plan_target(target, found) == []
    other = "exact" if form == "natural" else "natural"
    (difference,) = diff_target(build_target(table, key=other), found)
    assert (
        str(difference) == f"k.t: its key is {form}, needed is {other}: set key: {form} for this table, or make it anew"
    )


def test_a_lost_exact_column_is_a_difference() -> None:
    target = build_target(make_table("text", "int"), key="exact")
    made = _as_made(target.rows)
    broken = replace(made, columns=tuple(c for c in made.columns if c.name != "_cdc_long_key"))
    (difference,) = diff_target(target, ExistingSchema(True, {"t": broken}))
    assert difference.column == "_cdc_long_key"


@pytest.mark.parametrize("name", ["_cdc_partition", "_cdc_clustering", "_cdc_long_key"])
def test_the_names_are_taken(name: str) -> None:
    table = make_table("int")
    taken = Column(name, ColumnKind.REGULAR, -1, parse_type("int", "k", {}))
    with pytest.raises(ConfigurationError) as caught:
        build_target(replace(table, columns=(*table.columns, taken)))
    assert caught.value.code == "name_collision"
