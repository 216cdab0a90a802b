"""Letters that a type kept back are replayed by command once a rule has decided, through Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from casscade.cli.main import main
from tests.matrix.test_kafka import Members, members

__all__ = ["members"]

pytestmark = pytest.mark.servers


@pytest.mark.requirement("FR-017")
@pytest.mark.parametrize(
    ("rule", "query", "shown"),
    [
        (
            "new_column",
            "SELECT id, n, note, note__2 FROM {}.t ORDER BY id",
            [(1, 1, "old", None), (2, 2, None, b"\x01")],
        ),
        ("text", "SELECT id, n, note FROM {}.t ORDER BY id", [(1, 1, None), (2, 2, "0x01")]),
    ],
)
def test_letters_of_a_blocked_column_come_back_through_kafka(
    cassandra_session: Any,
    keyspace: str,
    database: str,
    members: Members,
    rule: str,
    query: str,
    shown: list[tuple[Any, ...]],
) -> None:
    execute = cassandra_session.execute
    execute(f"CREATE TABLE {keyspace}.t (id int PRIMARY KEY, n int, note text) WITH cdc = true")
    execute(f"INSERT INTO {keyspace}.t (id, n, note) VALUES (1, 1, 'old')")
    agent, loader = members.start("capture"), members.start("load")
    for process in (agent, loader):
        process.wait_ready(40.0)
    with psycopg.connect(database, autocommit=True) as connection:

        def rows(text: str) -> list[tuple[Any, ...]]:
            try:
                return connection.execute(text.format(keyspace).encode()).fetchall()
            except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
                return []

        loader.wait(lambda: rows("SELECT id, note FROM {}.t") == [(1, "old")], "the snapshot", 30.0)
        execute(f"ALTER TABLE {keyspace}.t DROP note")
        execute(f"ALTER TABLE {keyspace}.t ADD note blob")
        execute(f"INSERT INTO {keyspace}.t (id, n, note) VALUES (2, 2, 0x01)")
        letters = "SELECT code, schema_version IS NOT NULL, retry_count FROM casscade.dead_letters"
        loader.wait(lambda: rows(letters) == [("column_blocked", True, 0)], "the letter", 30.0)
        loader.wait(lambda: rows("SELECT n FROM {}.t WHERE id = 2") == [(2,)], "the other columns")
        assert _replay(loader.config_file) == "1 of 1 dead letters will be replayed"
        loader.wait(lambda: rows(letters) == [("column_blocked", True, 1)], "another failure: nothing was decided")
        assert loader.stop().code == 0
        members.document["tables"].append({"source": f"{keyspace}.t", "columns": {"retyped": {"note": rule}}})
        loader = members.start("load")
        loader.wait_ready(40.0)
        assert _replay(loader.config_file) == "1 of 1 dead letters will be replayed"
        loader.wait(lambda: rows(query) == shown, "the values", 30.0)
        loader.wait(lambda: rows(letters) == [], "an empty store")
        assert agent.running


def _replay(config_file: Path) -> str:
    result = CliRunner().invoke(main, ["dlq", "replay", "--code", "column_blocked", "-c", str(config_file)])
    assert result.exit_code == 0, result.output
    return result.output.splitlines()[1]
