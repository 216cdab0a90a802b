"""Lost deletions of a table with rules are repaired: shown rows, hidden rows, masked and renamed columns."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from casscade.cli.verify import verify
from casscade.devstack.cassandra import CassandraNode
from tests.support.pipeline_process import PipelineProcess, configuration

pytestmark = [pytest.mark.servers, pytest.mark.requirement("FR-023"), pytest.mark.requirement("FR-013")]

REPAIR_S_MAX = 40.0
ROWS = 12
TABLE = (
    "CREATE TABLE {ks}.people (id int, k int, name text, email text, score double, state text, tags set<text>, "
    "PRIMARY KEY (id, k)) WITH cdc = true"
)
RULES: dict[str, Any] = {
    "where": "id <> 99 and (state = 'open' or email is null)",
    "transforms": [
        {"trim": {"columns": ["name"]}},
        {"rename": {"column": "name", "to": "full_name"}},
        {"mask": {"columns": ["name"], "with": "hmac-sha256"}},
        {"cast": {"columns": ["score"], "to": "text"}},
    ],
}
# Rows of k = 1 are shown, those of k = 2 hidden.
BEFORE = (
    "INSERT INTO {ks}.people (id, k, name, email, score, state, tags) "
    "VALUES (%s, 1, ' Ada ', 'a@b', 1.5, 'open', {'x', 'y'})",
    "INSERT INTO {ks}.people (id, k, name, email, score, state, tags) "
    "VALUES (%s, 2, ' Eve ', 'a@b', 2.5, 'closed', {'x', 'y'})",
)
LOST = (
    "DELETE FROM {ks}.people WHERE id = 0",
    "DELETE FROM {ks}.people WHERE id = 1 AND k = 1",
    "DELETE FROM {ks}.people WHERE id = 2 AND k = 2",
    "DELETE name, score FROM {ks}.people WHERE id = 3 AND k = 1",
    "DELETE name FROM {ks}.people WHERE id = 4 AND k = 2",
    "DELETE state FROM {ks}.people WHERE id = 5 AND k = 1",
    "DELETE email FROM {ks}.people WHERE id = 6 AND k = 2",
    "UPDATE {ks}.people SET tags = tags - {'x'} WHERE id = 7 AND k = 2",
    "DELETE tags FROM {ks}.people WHERE id = 8 AND k = 2",
    "INSERT INTO {ks}.people (id, k, name, state) VALUES (900, 1, 'new', 'open')",
)
# What a deletion that is not known would let come back.
AFTER = tuple(f"UPDATE {{ks}}.people SET state = 'open' WHERE id = {number} AND k = 2" for number in (0, 2, 4, 7, 8))
SHOWN = b'SELECT id, k, full_name IS NOT NULL, score, tags FROM "%s".people WHERE id < 9 ORDER BY id, k'


def repaired(process: PipelineProcess) -> bool:
    """Whether there were gaps and all of them are repaired."""
    return {gap["state"] for gap in process.status()["gaps"]} == {"repaired"}


def test_lost_deletions_are_found_behind_rules(
    cassandra_node: CassandraNode, cassandra_session: Any, database: str, tmp_path: Path
) -> None:
    session, schema = cassandra_session, f"gap_{uuid.uuid4().hex[:8]}"
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    session.execute(f"CREATE KEYSPACE {schema} WITH replication = {replication}")
    session.execute(TABLE.replace("{ks}", schema))
    document = configuration(
        cassandra_node, database, tmp_path / "state", [{"source": f"{schema}.people", **RULES}]
    ) | {"rules": {"key": "0123456789abcdef"}}
    process = PipelineProcess(tmp_path / "pipeline", document)
    try:
        process.start()
        process.wait_caught_up()
        for number in range(ROWS):
            for statement in BEFORE:
                session.execute(statement.replace("{ks}", schema) % number)
        with psycopg.connect(database, autocommit=True) as connection:
            shown = f'SELECT count(*) FROM "{schema}".people'.encode()
            process.wait(lambda: connection.execute(shown).fetchone() == (ROWS,), "the rows")
            hidden = b"SELECT count(*) FROM casscade.hidden_rows"
            process.wait(lambda: connection.execute(hidden).fetchone() == (ROWS,), "the hidden rows")
            process.kill()
            for statement in LOST:
                session.execute(statement.replace("{ks}", schema))
            for path in cassandra_node.cdc_directory.iterdir():
                path.unlink()
            # What follows is in a segment that is not lost.
            session.execute(f"CREATE TABLE {schema}.moves (id int PRIMARY KEY, filler blob)")
            move = session.prepare(f"INSERT INTO {schema}.moves (id, filler) VALUES (?, ?)")
            for number in range(16):
                session.execute(move, (number, bytes(400_000)))
            process.start()
            process.wait(lambda: repaired(process), "the repair", REPAIR_S_MAX)
            assert sum(gap["rows_repaired"] for gap in process.status()["gaps"]) > 0
            for statement in AFTER:
                session.execute(statement.replace("{ks}", schema))
            back = f'SELECT count(*) FROM "{schema}".people WHERE k = 2 AND id IN (0, 2, 4, 7, 8)'.encode()
            process.wait(lambda: connection.execute(back).fetchone() == (5,), "rows that match now")
            whole, bare = ("1.5", ["x", "y"]), (None, None)
            assert connection.execute(SHOWN % schema.encode()).fetchall() == [
                (0, 2, False, *bare),
                (2, 1, True, *whole),
                (2, 2, False, *bare),
                (3, 1, False, None, ["x", "y"]),
                (4, 1, True, *whole),
                (4, 2, False, "2.5", ["x", "y"]),
                (6, 1, True, *whole),
                (6, 2, True, "2.5", ["x", "y"]),
                (7, 1, True, *whole),
                (7, 2, True, "2.5", ["y"]),
                (8, 1, True, *whole),
                (8, 2, True, "2.5", None),
            ]
            process.wait(lambda: repaired(process), "the repair of all gaps", REPAIR_S_MAX)
        compared = CliRunner().invoke(verify, ["-c", str(process.config_file)])
        assert compared.exit_code == 0, compared.output
        assert process.stop().code == 0
    finally:
        process.kill()
        session.execute(f"DROP KEYSPACE {schema}", timeout=60)
