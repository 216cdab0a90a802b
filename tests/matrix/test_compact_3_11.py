"""Compact tables of a real 3.11 node: those whose rows are ordinary rows are copied, the others refused."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from casscade.core.errors import ConfigurationError
from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.places import free_port
from casscade.schema.checks import require_table
from casscade.schema.reader import read_schema
from tests.support.both_sides import compare_keyspace, describe
from tests.support.pipeline_process import configuration, started
from tests.support.servers import ServerChoice

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

TABLES = (
    "CREATE TABLE ks.dense (p int, c int, v text, PRIMARY KEY (p, c)) WITH COMPACT STORAGE AND cdc = true",
    "CREATE TABLE ks.keys (p int, c int, PRIMARY KEY (p, c)) WITH COMPACT STORAGE AND cdc = true",
    "CREATE TABLE ks.several (p int, c int, d int, v text, PRIMARY KEY (p, c, d)) WITH COMPACT STORAGE AND cdc = true",
    "CREATE TABLE ks.flat (p int PRIMARY KEY, v text, w int) WITH COMPACT STORAGE AND cdc = true",
)
BEFORE = (
    "INSERT INTO ks.dense (p, c, v) VALUES (1, 1, 'only here')",
    "INSERT INTO ks.dense (p, c, v) VALUES (1, 2, 'emptied')",
    "INSERT INTO ks.dense (p, c, v) VALUES (1, 3, 'deleted')",
    "INSERT INTO ks.dense (p, c, v) VALUES (1, 4, 'brief') USING TTL 2",
)
MEANWHILE = (
    "UPDATE ks.dense SET v = null WHERE p = 1 AND c = 2",
    "DELETE FROM ks.dense WHERE p = 1 AND c = 3",
    "INSERT INTO ks.dense (p, c, v) VALUES (2, 1, 'new')",
    "INSERT INTO ks.dense (p, c, v) VALUES (2, 2, 'emptied')",
    "UPDATE ks.dense SET v = null WHERE p = 2 AND c = 2",
    "INSERT INTO ks.dense (p, c, v) VALUES (2, 3, 'brief') USING TTL 2",
    "UPDATE ks.dense SET v = 'updated' WHERE p = 2 AND c = 4",
    "INSERT INTO ks.dense (p, c, v) VALUES (2, 5, '')",
    "INSERT INTO ks.dense (p, c, v) VALUES (3, 1, 'gone')",
    "DELETE FROM ks.dense WHERE p = 3 AND c < 5",
    "INSERT INTO ks.dense (p, c, v) VALUES (9, 9, 'last')",
)


@pytest.fixture
def node() -> Iterator[CassandraNode]:
    """A 3.11 node of this test alone."""
    directory = Path(tempfile.mkdtemp(prefix="casscade-compact-"))
    settings = ServerChoice("3.11.19", "NONE", "none", "periodic", "18").cassandra_settings(free_port(), free_port())
    made = CassandraNode(directory / "cassandra", settings, version="3.11")
    try:
        made.start(owner=os.getpid())
        made.wait_ready()
        yield made
    finally:
        made.kill()
        shutil.rmtree(directory, ignore_errors=True)


def test_a_dense_table_is_copied_and_others_are_refused(node: CassandraNode, database: str, tmp_path: Path) -> None:
    with node.session() as session:
        session.execute("CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        for statement in (*TABLES, *BEFORE):
            session.execute(statement)
        schema = read_schema(session)
        assert require_table(schema, "ks", "dense").is_compact
        for name in ("keys", "several", "flat"):
            with pytest.raises(ConfigurationError) as caught:
                require_table(schema, "ks", name)
            assert caught.value.code == "table_compact"
        document = configuration(node, database, tmp_path / "state", [{"source": "ks.dense"}])
        with started(tmp_path, document) as process:
            process.wait_ready(60)
            process.wait_caught_up(60)
            for statement in MEANWHILE:
                session.execute(statement)

            def equal() -> bool:
                (found,) = compare_keyspace(session, database, "ks", only={"dense"})
                return found.differences == 0 and found.rows_cassandra == 5

            process.wait(equal, describe(compare_keyspace(session, database, "ks", only={"dense"})), 40)
