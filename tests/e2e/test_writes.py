"""Each kind of write, under one running pipeline: what PostgreSQL shows is what the kind says, and what CQL shows.

Every kind is written twice: once with all of its statements while the pipeline follows, and once with its last
statement alone, on rows that only the snapshot has seen.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.postgres import PostgresServer
from tests.support.databases import create_database, drop_database
from tests.support.pipeline_process import configuration, running
from tests.support.replica import Replica
from tests.support.write_kinds import COLUMNS, KINDS, REPLICATED, SCHEMA, Kind, Step

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("cdc")]

# Partitions of the kinds: those that the snapshot begins, those that the stream has all of, and the second ones (`q`).
STREAMED, SECOND = 1000, 5000
SENTINEL, EXPIRING = 999_999, 999_998
WAIT_S = 20.0
# PostgreSQL notes by its own clock when a row goes.
WATCH = """
CREATE TABLE removed (p int, expires_at timestamptz, at timestamptz);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.removed VALUES (OLD.p, OLD._cdc_expires_at, clock_timestamp());
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER DELETE ON {ks}.data FOR EACH ROW EXECUTE FUNCTION public.note();
"""


@pytest.fixture(scope="module")
def replica(
    cassandra_node: CassandraNode,
    cassandra_session: Any,
    postgres_server: PostgresServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Replica]:
    """Both sides after every kind was written and has arrived."""
    name = f"writes_{uuid.uuid4().hex[:8]}"
    session = cassandra_session
    session.execute(f"CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}")
    for statement in SCHEMA:
        session.execute(statement.replace("{ks}", name))
    for number, kind in enumerate(KINDS.values()):
        write(session, name, kind.steps[:-1], number)
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as admin:
        create_database(admin, name)
        dsn = postgres_server.dsn(name)
        directory = tmp_path_factory.mktemp("writes")
        tables = [{"source": f"{name}.{table}"} for table in REPLICATED]
        document = configuration(cassandra_node, dsn, directory / "state", tables)
        with running(directory, document) as process, psycopg.connect(dsn, autocommit=True) as connection:
            process.wait_caught_up()
            made = Replica(session, name, connection, process)
            connection.execute(WATCH.replace("{ks}", name).encode())
            for c in range(3):
                made.cql(f"INSERT INTO {{ks}}.data (p, c, a) VALUES ({EXPIRING}, {c}, 'x') USING TTL 3")
            for number, kind in enumerate(KINDS.values()):
                write(session, name, kind.steps, STREAMED + number)
                write(session, name, kind.steps[-1:], number)
            made.cql(f"INSERT INTO {{ks}}.other (p, v) VALUES ({SENTINEL}, 'last')")
            made.arrives(f"SELECT v FROM {{ks}}.other WHERE p = {SENTINEL}", [("last",)], WAIT_S)
            yield made
        drop_database(admin, name)
    session.execute(f"DROP KEYSPACE {name}", timeout=60)


def write(session: Any, keyspace: str, steps: tuple[Step, ...], partition: int) -> None:
    """Run the steps for one partition."""
    for step in steps:
        text, values = (step, ()) if isinstance(step, str) else step
        for mark, replacement in (("{ks}", keyspace), ("{p}", partition), ("{q}", SECOND + partition)):
            text = text.replace(mark, str(replacement))
        session.execute(session.prepare(text), values) if values else session.execute(text)


def plain(value: Any) -> Any:
    """A value of the driver as psycopg gives its copy."""
    if hasattr(value, "_asdict"):
        return value._asdict()
    if hasattr(value, "items"):
        return dict(value.items())
    return list(value) if isinstance(value, list | set) or hasattr(value, "isdisjoint") else value


@pytest.mark.requirement("FR-008")
def test_expiry_shows_within_two_seconds_of_its_time(replica: Replica) -> None:
    replica.arrives(f"SELECT count(*) FROM removed WHERE p = {EXPIRING}", [(3,)], WAIT_S)
    query = f"SELECT extract(epoch FROM at - expires_at)::float FROM removed WHERE p = {EXPIRING} ORDER BY 1"
    delays = [delay for (delay,) in replica.rows(query)]
    assert delays[0] >= 0
    # The middle one: the machine may stand still for a moment at any of them.
    assert delays[1] <= 2.0


@pytest.mark.requirement("FR-002")
@pytest.mark.requirement("FR-007")
@pytest.mark.requirement("FR-010")
@pytest.mark.parametrize("start", [0, STREAMED], ids=["on-a-snapshot", "streamed"])
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.shown[0][0] in REPLICATED])
def test_kind(replica: Replica, name: str, start: int) -> None:
    kind: Kind = KINDS[name]
    number = start + list(KINDS).index(name)
    for table, which, rows in kind.shown:
        partition = number if which == "p" else SECOND + number
        relation, columns, order = COLUMNS[table]
        query = f"SELECT {columns} FROM {{ks}}.{relation} WHERE p = {partition} ORDER BY {order}"
        replica.arrives(query, list(rows), WAIT_S)
        answer = replica.session.execute(f"SELECT {columns} FROM {replica.schema}.{table} WHERE p = {partition}")
        assert [tuple(map(plain, row)) for row in answer] == list(rows), "Cassandra"
