"""Sessions of processes that stopped within a COPY are ended, and no others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from casscade.load.stuck import end_stuck_sessions

pytestmark = [pytest.mark.servers]

NAME = "casscade stuck"
TIMEOUT_MS = 100
WAIT_S = 10.0


@contextmanager
def copying(dsn: str, name: str) -> Iterator[Connection[Any]]:
    """A connection that has changed a row and begun a COPY, of which nothing more comes."""
    connection = psycopg.connect(dsn, application_name=name)
    connection.execute("UPDATE t SET v = v + 1")
    connection.execute("CREATE TEMP TABLE staged (v int)")
    connection.pgconn.send_query(b"COPY staged FROM STDIN")
    while True:
        connection.pgconn.consume_input()
        if not connection.pgconn.is_busy():
            break
    yield connection
    connection.pgconn.finish()


def wait_stuck(watching: Connection[Any], name: str) -> None:
    stuck = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Client' "
        "AND state = 'active' AND query_start < clock_timestamp() - interval '200 ms'"
    )
    deadline = time.monotonic() + WAIT_S
    while watching.execute(stuck, (name,)).fetchone() != (1,):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def waiting(database: str) -> Iterator[Connection[Any]]:
    """A loader's connection, beside a table of one row."""
    options = f"-c statement_timeout={TIMEOUT_MS}"
    with psycopg.connect(database, autocommit=True, application_name=NAME, options=options) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS v")
        yield connection


@pytest.mark.requirement("FR-019")
def test_what_waits_for_a_stopped_process_goes_on(database: str, waiting: Connection[Any]) -> None:
    with copying(database, NAME):
        wait_stuck(waiting, NAME)
        with pytest.raises(psycopg.errors.QueryCanceled):
            waiting.execute("UPDATE t SET v = 10")
        assert end_stuck_sessions(waiting) == 1
        waiting.execute("UPDATE t SET v = v + 10")
        assert waiting.execute("SELECT v FROM t").fetchone() == (11,)


def test_others_are_left_alone(database: str, waiting: Connection[Any]) -> None:
    with ExitStack() as stack:
        other = stack.enter_context(copying(database, "casscade other"))
        wait_stuck(waiting, "casscade other")
        assert end_stuck_sessions(waiting) == 0
        other.pgconn.put_copy_end(b"enough")
