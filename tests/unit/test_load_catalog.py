"""What is asked of PostgreSQL before anything is written."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from casscade.config.tables import Choice
from casscade.core.errors import ConfigurationError
from casscade.cql.types import CqlType
from casscade.load.catalog import require_extensions
from casscade.schema.choices import ColumnChoices
from casscade.schema.mapping import Target, build_target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes


class Database:
    """A server that answers the one question about pgvector."""

    def __init__(self, visible: bool, schema: str | None, available: bool) -> None:
        self.row = (visible, schema, available)

    def execute(self, _query: str) -> Any:
        return self

    def fetchone(self) -> Any:
        return self.row


def target(form: str) -> Target:
    columns = (
        Column("p", ColumnKind.PARTITION_KEY, 0, CqlType("int")),
        Column("v", ColumnKind.REGULAR, -1, CqlType("vector", (CqlType("float"),), frozen=True, dimension=3)),
    )
    table = assign_indexes(Table(uuid.uuid4(), "shop", "items", columns), {})
    return build_target(table, choices=ColumnChoices({"v": Choice(form, "")}))


@pytest.mark.parametrize(
    ("database", "hint"),
    [
        (Database(False, None, True), "run CREATE EXTENSION vector in this database, or choose array"),
        (Database(False, None, False), "install pgvector on the server and run CREATE EXTENSION vector"),
        (Database(False, "ext", True), "add 'ext' to the search_path"),
    ],
)
def test_pgvector_must_be_there_when_a_column_asks_for_it(database: Any, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        require_extensions(database, [target("array"), target("vector")])
    assert caught.value.code == "extension_missing"
    assert "'v' of shop.items" in caught.value.what
    assert hint in caught.value.hint
    assert "array" in caught.value.hint
    require_extensions(database, [target("array")])


def test_pgvector_that_is_there_is_enough() -> None:
    database: Any = Database(True, "public", True)
    require_extensions(database, [target("vector")])


@pytest.mark.servers
def test_a_real_server_without_it_is_told_from_one_with_it(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        with pytest.raises(ConfigurationError, match="pgvector"):
            require_extensions(connection, [target("vector")])
        connection.execute("CREATE DOMAIN vector AS real[]")
        require_extensions(connection, [target("vector")])
