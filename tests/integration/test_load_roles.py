"""A role that loses its rights, its password or its existence under a working loader, on a real PostgreSQL."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from casscade.core.position import Position
from casscade.core.retry import RetryPolicy
from casscade.load.raw import register
from casscade.load.session import Listener, Outcome, PostgresSession, SessionOptions
from casscade.transport.chunk import Chunk
from tests.integration.test_dlq import NODE, Site, mutation

pytestmark = pytest.mark.servers
WAIT_S = 20.0


class Listening(Listener):
    """Keeps what it hears; `failed` is set by the first failure."""

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.failed = threading.Event()
        self.recovered_count = 0

    def retrying(self, code: str, wait_s: float, failures: int) -> None:
        self.codes.append(code)
        self.failed.set()

    def recovered(self) -> None:
        self.recovered_count += 1


class Loading:
    """A session of a role of its own."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.role = f"loader_{uuid.uuid4().hex[:8]}"
        self.listener = Listening()
        self.stop = threading.Event()
        self.create()
        self.session = PostgresSession(
            self.connect,
            site.writer.prepare,
            lambda: True,
            self.stop,
            self.listener,
            SessionOptions(RetryPolicy(0.01, 0.05, 60.0), failures_max=1000),
        )
        self._position = 0

    def admin(self, statement: str) -> None:
        self.site.connection.execute(sql.SQL(statement).format(role=sql.Identifier(self.role)))

    def create(self) -> None:
        self.admin("CREATE ROLE {role} LOGIN")
        for schema in ("ks", "casscade"):
            self.admin(f"GRANT ALL ON SCHEMA {schema} TO {{role}}")
            self.admin(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {{role}}")

    def drop(self) -> None:
        self.admin("DROP OWNED BY {role}")
        self.admin("DROP ROLE {role}")

    def connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(self.site.dsn, user=self.role, autocommit=True)
        register(connection)
        return connection

    def load(self, key: str) -> Outcome:
        self._position += 1
        self.site.batcher.add(Chunk(NODE, 8, Position(1, self._position), 0.0, [mutation(key, 1)], [self._position]))
        batch = self.site.batcher.take()
        return self.session.run(lambda connection: _apply(self.site, connection, batch), give_up=True)

    def load_while(self, key: str, healed: str) -> None:
        """Load; once that has failed, do `healed`."""
        outcomes: list[Outcome] = []
        self.listener.failed.clear()
        thread = threading.Thread(target=lambda: outcomes.append(self.load(key)), daemon=True)
        thread.start()
        assert self.listener.failed.wait(WAIT_S)
        if healed:
            self.admin(healed)
        else:
            self.create()
        thread.join(WAIT_S)
        assert outcomes == [Outcome.DONE]


def _apply(site: Site, connection: psycopg.Connection[Any], batch: Any) -> None:
    site.writer.apply(connection, batch)


@pytest.fixture
def loading(database: str) -> Iterator[Loading]:
    with psycopg.connect(database, autocommit=True) as connection:
        loading = Loading(Site(connection, database))
        yield loading
        loading.stop.set()
        loading.session.close()
        loading.drop()


@pytest.mark.requirement("FR-019")
@pytest.mark.requirement("SC-017")
def test_a_role_that_is_replaced_is_waited_for_and_nothing_becomes_a_dead_letter(loading: Loading) -> None:
    assert loading.load("a") is Outcome.DONE
    loading.admin("REVOKE ALL ON ALL TABLES IN SCHEMA ks FROM {role}")
    loading.load_while("b", "GRANT ALL ON ALL TABLES IN SCHEMA ks TO {role}")
    assert "42501" in loading.listener.codes
    loading.drop()
    loading.load_while("c", "")
    loading.admin("ALTER ROLE {role} NOLOGIN")
    loading.site.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (loading.role,)
    )
    loading.load_while("d", "ALTER ROLE {role} LOGIN")
    assert [key for key, _ in loading.site.rows()] == ["a", "b", "c", "d"]
    assert loading.site.letters() == []
    assert loading.listener.recovered_count == 3
