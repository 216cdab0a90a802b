"""The planned DDL against a real PostgreSQL: every type, and the view over rows and statics."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from casscade.cql.types import SIMPLE_TYPES, parse_type
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import Target, build_target
from casscade.schema.model import Column, ColumnKind, Table, ordered_columns

pytestmark = pytest.mark.servers


def create(connection: psycopg.Connection, target: Target) -> None:
    for statement in plan_target(target, ExistingSchema()):
        connection.execute(statement.sql.encode())


@pytest.mark.requirement("FR-009")
def test_every_type_can_be_a_column_with_the_name_that_format_type_prints(database: str) -> None:
    texts = [*sorted(SIMPLE_TYPES - {"empty"}), "list<int>", "tuple<int, text>", "vector<float, 3>"]
    columns = [Column(f"v{i}", ColumnKind.REGULAR, -1, parse_type(text, "k", {})) for i, text in enumerate(texts)]
    columns.append(Column("xmin", ColumnKind.PARTITION_KEY, 0, parse_type("text", "k", {})))
    target = build_target(Table(uuid.uuid4(), 'k"x', "T" * 80, ordered_columns(columns), cdc=True))
    with psycopg.connect(database) as connection:
        create(connection, target)
        found = connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute a JOIN pg_class c "
            "ON c.oid = attrelid WHERE relname = %s AND attnum > 0 ORDER BY attnum",
            (target.rows.name,),
        ).fetchall()
        options = connection.execute("SELECT reloptions FROM pg_class WHERE relname = %s", (target.rows.name,))
        assert options.fetchone() == (["fillfactor=80"],)
    expected = [(column.name, column.pg_type.name, column.key) for column in target.rows.columns]
    assert found[:-3] == expected
    assert [name for name, _, _ in found[-3:]] == ["_cdc_ts", "_cdc_state", "_cdc_expires_at"]


def test_the_view_shows_what_select_star_shows(database: str) -> None:
    columns = [
        Column("p", ColumnKind.PARTITION_KEY, 0, parse_type("text", "k", {})),
        Column("c", ColumnKind.CLUSTERING, 0, parse_type("int", "k", {})),
        Column("st", ColumnKind.STATIC, -1, parse_type("int", "k", {})),
        Column("v", ColumnKind.REGULAR, -1, parse_type("int", "k", {})),
    ]
    target = build_target(Table(uuid.uuid4(), "k", "t", ordered_columns(columns), cdc=True))
    with psycopg.connect(database) as connection:
        create(connection, target)
        connection.execute("INSERT INTO k.t VALUES ('both', 1, 10, 0), ('both', 2, 20, 0), ('rows', 1, 30, 0)")
        connection.execute("INSERT INTO k.t_static VALUES ('both', 7, 0), ('static', 8, 0)")
        rows = connection.execute("SELECT * FROM k.t_with_static ORDER BY p, c").fetchall()
    assert rows == [("both", 1, 7, 10), ("both", 2, 7, 20), ("rows", 1, None, 30), ("static", None, 8, None)]
