"""The shared servers of the run are real ones, with the settings that change data capture needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from casscade.devstack.cassandra import CassandraNode

pytestmark = pytest.mark.servers


@pytest.mark.xdist_group("cdc")
def test_a_cdc_table_leaves_segments_with_an_index(
    cassandra_node: CassandraNode, cassandra_session: Any, keyspace: str
) -> None:
    cassandra_session.execute(f"CREATE TABLE {keyspace}.t (id int PRIMARY KEY, v text) WITH cdc = true")
    cassandra_session.execute(f"INSERT INTO {keyspace}.t (id, v) VALUES (1, 'x')")

    def indexes() -> list[Path]:
        return sorted(cassandra_node.cdc_directory.glob("*_cdc.idx"))

    import time

    deadline = time.monotonic() + 10
    while not indexes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert indexes()
    newest = indexes()[-1]
    # CommitLog-8-...: `storage_compatibility_mode: NONE` writes descriptor version 8.
    assert newest.name.startswith("CommitLog-8-")
    assert int(newest.read_text().split()[0]) > 0


def test_each_database_is_new_and_empty(database: str) -> None:
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace").fetchone()
        settings = connection.execute("SELECT current_setting('wal_level'), current_setting('TimeZone')").fetchone()
        encoding = connection.execute("SHOW server_encoding").fetchone()
    assert row == (0,)
    assert settings == ("replica", "UTC")
    assert encoding == ("UTF8",)


def test_the_server_listens_on_loopback_only(database: str) -> None:
    with psycopg.connect(database) as connection:
        row = connection.execute("SHOW listen_addresses").fetchone()
        rules = connection.execute("SELECT DISTINCT address FROM pg_hba_file_rules").fetchall()
    assert row == ("127.0.0.1",)
    assert rules == [("127.0.0.1",)]
