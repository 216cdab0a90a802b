"""DDL plans: what is created, added, left alone and refused."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from casscade.config.tables import Choice
from casscade.core.errors import ConfigurationError
from casscade.cql.types import UdtDefinition, parse_type
from casscade.schema.choices import ColumnChoices
from casscade.schema.ddl import (
    ExistingColumn,
    ExistingSchema,
    ExistingTable,
    diff_target,
    plan_target,
)
from casscade.schema.mapping import META_COLUMNS, Relation, Target, build_target
from casscade.schema.model import Column, ColumnKind, Table, ordered_columns


def make_target(*, extra: tuple[str, ...] = (), statics: bool = False) -> Target:
    columns = [
        Column("id", ColumnKind.PARTITION_KEY, 0, parse_type("text", "shop", {})),
        Column("at", ColumnKind.CLUSTERING, 0, parse_type("timestamp", "shop", {})),
        Column("v", ColumnKind.REGULAR, -1, parse_type("int", "shop", {})),
        *(Column(name, ColumnKind.REGULAR, -1, parse_type("int", "shop", {})) for name in extra),
    ]
    if statics:
        columns.append(Column("st", ColumnKind.STATIC, -1, parse_type("int", "shop", {})))
    return build_target(Table(uuid.uuid4(), "shop", "t", ordered_columns(columns), cdc=True))


def existing_table(relation: Relation) -> ExistingTable:
    """The relation as PostgreSQL would show it after its creation."""
    columns = [ExistingColumn(c.name, c.pg_type.name, not c.key, collation=c.collation) for c in relation.columns]
    columns += [ExistingColumn(meta.name, meta.pg_type, meta.nullable) for meta in META_COLUMNS]
    key = tuple(column.name for column in relation.key_columns)
    return ExistingTable(tuple(columns), key, expiry_index=True)


def existing(target: Target) -> ExistingSchema:
    relations = {relation.name: existing_table(relation) for relation in target.relations}
    if target.statics is not None:
        names = ["id", "at", "st", *(column.name for column in target.rows.value_columns)]
        view = ExistingTable(tuple(ExistingColumn(name, "integer", nullable=True) for name in names), kind="view")
        relations[target.view_name] = view
    return ExistingSchema(exists=True, relations=relations)


def changed(target: Target, table: ExistingTable) -> ExistingSchema:
    return ExistingSchema(exists=True, relations={target.rows.name: table})


UDTS = {
    "home": UdtDefinition("shop", "home", ("street", "where"), ("text", "frozen<place>")),
    "place": UdtDefinition("shop", "place", ("lat", "Lon"), ("double", "decimal")),
}


def composite_target() -> Target:
    key = Column("id", ColumnKind.PARTITION_KEY, 0, parse_type("int", "shop", {}))
    home = Column("home", ColumnKind.REGULAR, -1, parse_type("home", "shop", UDTS))
    table = Table(uuid.uuid4(), "shop", "t", ordered_columns([key, home]), cdc=True)
    return build_target(table, choices=ColumnChoices({"home": Choice("composite", "")}))


def composite_types(target: Target) -> dict[str, ExistingTable]:
    return {
        type_.composite[1]: ExistingTable(
            tuple(ExistingColumn(name, field.name, nullable=True) for name, field in type_.fields), kind="type"
        )
        for type_ in target.composites
    }


def test_composite_types_come_before_the_table() -> None:
    target = composite_target()
    plan = plan_target(target, ExistingSchema(exists=True))
    assert [statement.sql for statement in plan[:2]] == [
        'CREATE TYPE "shop"."place" AS ("lat" double precision, "Lon" numeric)',
        'CREATE TYPE "shop"."home" AS ("street" text, "where" "shop"."place")',
    ]
    assert '"home" "shop"."home"' in plan[2].sql
    types = composite_types(target)
    assert plan_target(target, replace(existing(target), types=types)) == []
    assert [statement.purpose for statement in plan_target(target, ExistingSchema(exists=True, types=types))] == [
        "table shop.t",
        "index of expiring rows of t",
    ]


def test_another_type_under_the_name_of_a_composite_type_is_refused() -> None:
    target = composite_target()
    types = composite_types(target)
    short = {"place": replace(types["place"], columns=types["place"].columns[:1])}
    table = {"place": replace(types["place"], kind="table")}
    for changed_types, what in ((short, "fields are (lat double precision), needed"), (table, "is a table")):
        found = diff_target(target, replace(existing(target), types=types | changed_types))
        assert len(found) == 1
        assert what in str(found[0])


@pytest.mark.requirement("FR-002")
def test_an_empty_database_gets_schema_table_and_index() -> None:
    assert [statement.sql for statement in plan_target(make_target(), ExistingSchema())] == [
        'CREATE SCHEMA "shop"',
        'CREATE TABLE "shop"."t" ("id" text COLLATE "C" NOT NULL, "at" timestamp with time zone NOT NULL, "v" integer, '
        '"_cdc_ts" bigint NOT NULL, "_cdc_state" bytea, "_cdc_expires_at" timestamp with time zone, '
        'PRIMARY KEY ("id", "at")) WITH (fillfactor = 80)',
        'CREATE INDEX ON "shop"."t" ("_cdc_expires_at") WHERE "_cdc_expires_at" IS NOT NULL',
    ]


def test_statics_get_a_table_and_a_view() -> None:
    plan = plan_target(make_target(statics=True), ExistingSchema(exists=True))
    assert [statement.purpose for statement in plan] == [
        "table shop.t",
        "index of expiring rows of t",
        "table shop.t_static",
        "index of expiring rows of t_static",
        "view shop.t_with_static",
    ]
    assert plan[-1].sql == (
        'CREATE VIEW "shop"."t_with_static" AS SELECT "id", "at", "st", "v" FROM "shop"."t" '
        'FULL JOIN "shop"."t_static" USING ("id")'
    )


@pytest.mark.parametrize("statics", [False, True])
def test_nothing_is_planned_when_all_is_there(statics: bool) -> None:
    target = make_target(statics=statics)
    assert plan_target(target, existing(target)) == []


@pytest.mark.requirement("FR-015")
def test_a_new_value_column_is_added_and_the_view_made_anew() -> None:
    before = existing(make_target(statics=True))
    plan = plan_target(make_target(extra=("w",), statics=True), before)
    assert [statement.sql.split(" AS ")[0] for statement in plan] == [
        'ALTER TABLE "shop"."t" ADD COLUMN "w" integer',
        'DROP VIEW "shop"."t_with_static"',
        'CREATE VIEW "shop"."t_with_static"',
    ]


def test_a_lost_index_comes_back() -> None:
    target = make_target()
    table = replace(existing_table(target.rows), expiry_index=False)
    assert [statement.purpose for statement in plan_target(target, changed(target, table))] == [
        "index of expiring rows of t"
    ]


def test_columns_of_the_user_may_stay() -> None:
    target = make_target()
    table = existing_table(target.rows)
    extra = (ExistingColumn("note", "text", nullable=True), ExistingColumn("n", "integer", False, has_default=True))
    assert plan_target(target, changed(target, replace(table, columns=table.columns + extra))) == []


def with_column(table: ExistingTable, name: str, **changes: object) -> ExistingTable:
    columns = tuple(replace(c, **changes) if c.name == name else c for c in table.columns)  # type: ignore[arg-type]
    return replace(table, columns=columns)


@pytest.mark.requirement("FR-012")
def test_not_null_of_a_value_is_a_constraint_of_the_user() -> None:
    target = make_target()
    assert plan_target(target, changed(target, with_column(existing_table(target.rows), "v", nullable=False))) == []


def without_column(table: ExistingTable, name: str) -> ExistingTable:
    return replace(table, columns=tuple(column for column in table.columns if column.name != name))


GOOD = existing_table(make_target().rows)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (with_column(GOOD, "v", type="text"), "shop.t, column 'v': the type is text, needed is integer"),
        (
            with_column(GOOD, "_cdc_state", nullable=False),
            "shop.t, column '_cdc_state': is NOT NULL, but Cassandra may have no value",
        ),
        (with_column(GOOD, "id", collation="en_US"), "shop.t, column 'id': the collation is en_US, needed is C"),
        (with_column(GOOD, "_cdc_ts", nullable=True), "shop.t, column '_cdc_ts': is nullable, needed is NOT NULL"),
        (replace(GOOD, primary_key=("id",)), "shop.t: the primary key is id, needed is id, at"),
        (replace(GOOD, primary_key=()), "shop.t: the primary key is none, needed is id, at"),
        (without_column(GOOD, "at"), "shop.t, column 'at': is missing"),
        (
            without_column(GOOD, "_cdc_state"),
            "shop.t, column '_cdc_state': is missing: Casscade did not make this table",
        ),
        (replace(GOOD, kind="view"), "shop.t: is a view, a table is needed"),
        (
            replace(GOOD, columns=(*GOOD.columns, ExistingColumn("x", "text", nullable=False))),
            "shop.t, column 'x': is unknown, NOT NULL and has no default",
        ),
    ],
)
def test_what_cannot_be_added_is_a_difference(table: ExistingTable, expected: str) -> None:
    target = make_target()
    assert [str(difference) for difference in diff_target(target, changed(target, table))] == [expected]
    with pytest.raises(ConfigurationError) as caught:
        plan_target(target, changed(target, table))
    assert caught.value.code == "target_mismatch"
    assert expected in caught.value.what


def test_a_table_where_the_view_should_be_is_a_difference() -> None:
    target = make_target(statics=True)
    found = existing(target)
    relations = {**found.relations, "t_with_static": existing_table(target.rows)}
    differences = diff_target(target, replace(found, relations=relations))
    assert [str(difference) for difference in differences] == ["shop.t_with_static: is a table, a view is needed"]


def test_names_in_statements_are_quoted() -> None:
    target = build_target(make_target().table, schema='a"b', name="T; --")
    plan = plan_target(target, ExistingSchema())
    assert plan[0].sql == 'CREATE SCHEMA "a""b"'
    assert plan[1].sql.startswith('CREATE TABLE "a""b"."T; --" (')
