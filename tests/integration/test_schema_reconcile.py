"""What an ALTER asks of PostgreSQL, planned and run: what is there afterwards, and what is told of the rest."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from casscade.config.tables import Choice
from casscade.core.errors import ConfigurationError
from casscade.cql.types import UdtDefinition, parse_type
from casscade.load.catalog import read_existing
from casscade.schema.choices import ColumnChoices
from casscade.schema.ddl import plan_target
from casscade.schema.mapping import Target, build_target
from casscade.schema.model import Column, ColumnKind, Table, ordered_columns
from casscade.schema.reconcile import DEPRECATED, Conflict, reconcile, without

pytestmark = pytest.mark.servers

PLACE = {"place": UdtDefinition("k", "place", ("lat",), ("double",))}
PLACE_LATER = {"place": UdtDefinition("k", "place", ("latitude", "lon"), ("double", "float"))}
ID = uuid.uuid4()


def target(
    regulars: Mapping[str, str],
    *,
    statics: Mapping[str, str] | None = None,
    dropped: Mapping[str, str] | None = None,
    again: tuple[str, ...] = (),
    clustering: str = "c",
    udts: Mapping[str, UdtDefinition] = PLACE,
    choices: ColumnChoices | None = None,
) -> Target:
    columns = [
        Column("p", ColumnKind.PARTITION_KEY, 0, parse_type("text", "k", {})),
        Column(clustering, ColumnKind.CLUSTERING, 0, parse_type("int", "k", {})),
        *(Column(n, ColumnKind.STATIC, -1, parse_type(t, "k", udts)) for n, t in (statics or {}).items()),
        *(
            Column(n, ColumnKind.REGULAR, -1, parse_type(t, "k", udts), dropped_at=9 if n in again else -(1 << 63))
            for n, t in regulars.items()
        ),
        *(
            Column(n, ColumnKind.REGULAR, -1, parse_type(t, "k", udts), dropped=True, dropped_at=9)
            for n, t in (dropped or {}).items()
        ),
    ]
    table = Table(ID, "k", "t", ordered_columns(columns), cdc=True)
    return build_target(table, choices=choices or ColumnChoices())


class Place:
    """A database in which targets are brought about, one after the other."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def bring(self, wanted: Target, renamed: Mapping[str, str] | None = None) -> tuple[list[str], list[Conflict]]:
        """Carry the plan out; nothing may be left to do afterwards."""
        found = reconcile(wanted, read_existing(self.connection, wanted), renamed or {})
        settled = without(wanted, {conflict.column.column.name for conflict in found.conflicts})
        statements = [*found.statements, *plan_target(settled, found.existing)]
        for statement in statements:
            self.connection.execute(statement.sql.encode())
        left = reconcile(settled, read_existing(self.connection, settled), {})
        assert left.statements == []
        assert plan_target(settled, left.existing) == []
        return [statement.sql for statement in statements], found.conflicts

    def types(self, relation: str = "t") -> dict[str, str]:
        """The value columns and their types."""
        rows = self.connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass "
            "AND attnum > 0 AND NOT attisdropped AND attname NOT LIKE '\\_cdc%%' ORDER BY attname",
            (f"k.{relation}",),
        ).fetchall()
        return dict(rows)

    def comment(self, column: str) -> str:
        row = self.connection.execute(
            "SELECT coalesce(col_description(attrelid, attnum), '') FROM pg_attribute "
            "WHERE attrelid = 'k.t'::regclass AND attname = %s",
            (column,),
        ).fetchone()
        assert row is not None
        return str(row[0])


@pytest.fixture
def place(database: str) -> Any:
    with psycopg.connect(database, autocommit=True) as connection:
        yield Place(connection)


@pytest.mark.requirement("US-3")
@pytest.mark.requirement("FR-015")
def test_columns_end_come_back_widen_and_conflict(place: Place) -> None:
    place.bring(target({"a": "int", "b": "float", "n": "int"}))
    place.connection.execute("INSERT INTO k.t VALUES ('x', 1, 7, 1.5, 8, 0)")
    place.bring(target({"b": "float", "n": "int"}, dropped={"a": "int"}))
    assert place.types()["a"] == "integer"
    assert place.comment("a") == f"{DEPRECATED}; takes no more values"
    assert place.connection.execute("SELECT a FROM k.t").fetchone() == (7,)
    statements, _ = place.bring(target({"a": "int", "b": "float", "n": "int"}, again=("a",)))
    assert statements == ['COMMENT ON COLUMN "k"."t"."a" IS NULL']
    wide = target({"a": "bigint", "b": "double", "n": "varint"}, again=("a", "b", "n"))
    place.bring(wide)
    assert place.types() == {"a": "bigint", "b": "double precision", "c": "integer", "n": "numeric", "p": "text"}
    _, conflicts = place.bring(target({"a": "bigint", "b": "blob", "n": "varint"}, again=("a", "b", "n")))
    (conflict,) = conflicts
    for word in ("k.t", "'b'", "blob", "bytea", "double precision", "retyped", "b__2", "replay"):
        assert word in conflict.what
    assert place.types()["b"] == "double precision"


@pytest.mark.requirement("FR-015")
def test_text_widens_only_where_it_is_asked_for(place: Place) -> None:
    place.bring(target({"a": "int", "d": "uuid"}))
    place.connection.execute("INSERT INTO k.t VALUES ('x', 1, -7, NULL, 0)")
    _, conflicts = place.bring(target({"a": "text", "d": "uuid"}, again=("a",)))
    assert [conflict.have for conflict in conflicts] == ["integer"]
    asked = ColumnChoices({"d": Choice("text", "")})
    place.bring(target({"a": "int", "d": "uuid"}, choices=asked))
    assert place.types()["d"] == "text"


@pytest.mark.requirement("FR-017")
def test_a_rule_gives_a_retyped_column_another_place(place: Place) -> None:
    place.bring(target({"a": "text", "b": "timestamp"}))
    rules = ColumnChoices(retyped={"a": Choice("new_column", ""), "b": Choice("text", "")})
    _, conflicts = place.bring(target({"a": "blob", "b": "timestamp"}, again=("a",), choices=rules))
    assert conflicts == []
    assert place.types() == {
        "a": "text",
        "a__2": "bytea",
        "b": "timestamp with time zone",
        "c": "integer",
        "p": "text",
    }
    assert place.comment("a").startswith(DEPRECATED)
    place.bring(target({"n": "text"}))
    rules = ColumnChoices(retyped={"n": Choice("text", "")})
    _, conflicts = place.bring(target({"n": "blob"}, again=("n",), choices=rules))
    assert (conflicts, place.types()["n"]) == ([], "text")


@pytest.mark.requirement("FR-016")
def test_renamed_keys_new_statics_and_longer_types(place: Place) -> None:
    composite = ColumnChoices({"home": Choice("composite", "")})
    place.bring(target({"home": "place", "a": "int"}, choices=composite))
    place.connection.execute("INSERT INTO k.t VALUES ('x', 1, 3, ROW(1.5), 0)")
    statements, _ = place.bring(
        target(
            {"home": "place", "a": "int"},
            statics={"s": "int"},
            clustering="moment",
            udts=PLACE_LATER,
            choices=composite,
        ),
        {"moment": "c"},
    )
    assert 'ALTER TABLE "k"."t" RENAME COLUMN "c" TO "moment"' in statements
    assert place.connection.execute("SELECT moment, a, (home).latitude, (home).lon FROM k.t").fetchone() == (
        1,
        3,
        1.5,
        None,
    )
    assert place.types("t_static") == {"p": "text", "s": "integer"}
    statements, _ = place.bring(
        target(
            {"home": "place", "a": "bigint"},
            statics={"s": "int"},
            clustering="c",
            udts=PLACE_LATER,
            again=("a",),
            choices=composite,
        ),
        {"c": "moment"},
    )
    assert statements[0] == 'DROP VIEW "k"."t_with_static"'
    assert statements[-1].startswith("CREATE VIEW")
    assert place.connection.execute("SELECT c FROM k.t_with_static").fetchone() == (1,)


def test_what_can_not_be_reached_is_refused_with_the_statements_that_would(place: Place) -> None:
    place.bring(target({"a": "int", "b": "int"}))
    place.connection.execute("ALTER TABLE k.t ALTER b TYPE text, ALTER c TYPE bigint, ADD extra int NOT NULL")
    wanted = target({"a": "int", "b": "int"})
    with pytest.raises(ConfigurationError) as caught:
        plan_target(wanted, reconcile(wanted, read_existing(place.connection, wanted), {}).existing)
    assert caught.value.code == "target_mismatch"
    for words in ("column 'b': the type is text, needed is integer", "column 'extra': is unknown, NOT NULL"):
        assert words in caught.value.what
    remedies = caught.value.hint.partition("reconcile it: ")[2]
    place.connection.execute(remedies.encode())
    place.bring(wanted)


def test_a_table_that_casscade_did_not_make_gives_way_under_another_name(place: Place) -> None:
    place.connection.execute("CREATE SCHEMA k; CREATE TABLE k.t (p text PRIMARY KEY, note text)")
    wanted = target({"a": "int"})
    with pytest.raises(ConfigurationError) as caught:
        plan_target(wanted, read_existing(place.connection, wanted))
    place.connection.execute(caught.value.hint.partition("reconcile it: ")[2].encode())
    place.bring(wanted)
    assert place.connection.execute("SELECT count(*) FROM k.t_before").fetchone() == (0,)
    assert replace(wanted, view_name="") == wanted
