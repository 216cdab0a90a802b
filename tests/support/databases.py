"""Databases of tests on one PostgreSQL server, of any version that the stack has."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

STRATEGY_SINCE = 150000
FORCE_SINCE = 130000


def create_database(connection: psycopg.Connection[Any], name: str, *, encoding: str = "UTF8") -> None:
    """A new and empty database; `connection` commits by itself."""
    options = f"ENCODING '{encoding}'"
    if connection.info.server_version >= STRATEGY_SINCE:
        # Copying files is faster than writing each block to the WAL; older servers know nothing else.
        options += " STRATEGY file_copy" + (" LOCALE_PROVIDER libc LOCALE 'C'" if encoding != "UTF8" else "")
    connection.execute(sql.SQL(f"CREATE DATABASE {{}} {options} TEMPLATE template0").format(sql.Identifier(name)))


def drop_database(connection: psycopg.Connection[Any], name: str) -> None:
    """Drop it with whatever is still connected to it."""
    force = "WITH (FORCE)"
    if connection.info.server_version < FORCE_SINCE:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        force = ""  # the server waits five seconds for sessions that are about to end
    connection.execute(sql.SQL(f"DROP DATABASE {{}} {force}").format(sql.Identifier(name)))
