"""Fixtures for the real servers: one Cassandra node and one PostgreSQL server for the whole run.

Invariant: all workers of a run share the same two servers, started by the first test that asks for them; both end
with the run, also when it is killed, because they belong to the process that controls it.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from casscade.devstack import places
from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.guard import birth_of
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.postgres import PostgresServer
from casscade.devstack.releases import find_release
from tests.support.databases import create_database, drop_database
from tests.support.examples import load_profile
from tests.support.servers import ServerChoice, add_options

RUN_VARIABLE = "CASSCADE_TEST_RUN"
PREFIX = "casscade-test-"
JVM = ("-XX:TieredStopAtLevel=1",)
# The schema's own tables are not written out after each change, of which a run makes some hundreds: each takes half the
# time. This node never starts again. 3.11 hands over a segment only when nothing in it waits to be written out.
JVM_SINCE_4_0 = ("-Dcassandra.test.flush_local_schema_changes=false",)
_names = itertools.count(1)


class OneFollowerScheduling(LoadScopeScheduling):  # type: ignore[misc] # an untyped base
    """Each test runs wherever a worker is free, but those of the mark `xdist_group("cdc")` all in one worker.

    They follow cdc_raw of the shared node, lock it and delete from it, so that they must come one after another. The
    directories decide, because pytest-xdist 3.8 loses the mark under pytest 9.2, whose node ids can't be written.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "cdc" if nodeid.startswith(("tests/e2e/", "tests/crash/")) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneFollowerScheduling:
    """Our scheduler, whatever `--dist` says."""
    return OneFollowerScheduling(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which servers the tests run against; by default the newest."""
    add_options(parser.addoption)


def pytest_configure(config: pytest.Config) -> None:
    """The controlling process makes the directory of the run; its workers inherit the variable."""
    load_profile()
    if hasattr(config, "workerinput"):
        return
    # Not below pytest's own directory: that one is closed to the user PostgreSQL drops to when we are root.
    _sweep()
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    directory.chmod(0o755)
    (directory / "owner").write_text(f"{os.getpid()} {birth_of(os.getpid())}", encoding="ascii")
    os.environ[RUN_VARIABLE] = str(directory)
    os.environ["CASSCADE_TEST_OWNER"] = str(os.getpid())


def _sweep() -> None:
    """Remove what runs that were killed have left; their servers have ended with them."""
    for owner in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/owner"):
        pid, _, birth = owner.read_text(encoding="ascii").partition(" ")
        if pid and birth_of(int(pid)) != birth:
            shutil.rmtree(owner.parent, ignore_errors=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The controlling process ends the servers and removes the directory of the run."""
    if hasattr(config, "workerinput"):
        return
    directory = _run_directory()
    CassandraNode(directory / "cassandra").kill()
    PostgresServer(directory / "postgres").kill()
    KafkaBroker(directory / "kafka").kill()
    shutil.rmtree(directory, ignore_errors=True)


def _run_directory() -> Path:
    return Path(os.environ[RUN_VARIABLE])


def _owner() -> int:
    return int(os.environ["CASSCADE_TEST_OWNER"])


def _ports(directory: Path, *names: str) -> dict[str, int]:
    """Free ports, chosen once a run and kept in a file (the lock of the service is held)."""
    file = directory / "ports.json"
    if not file.exists():
        places.make_directory(directory)
        file.write_text(json.dumps({name: places.free_port() for name in names}), encoding="ascii")
    ports: dict[str, int] = json.loads(file.read_text(encoding="ascii"))
    return ports


@pytest.fixture(scope="session")
def server_choice(request: pytest.FixtureRequest) -> ServerChoice:
    """The versions that the options of this run name."""
    return ServerChoice.of(vars(request.config.option))


@pytest.fixture(scope="session")
def cassandra_node(server_choice: ServerChoice) -> CassandraNode:
    """A running node with CDC on: `.address`, `.port`, `.cdc_directory`, `.session(keyspace)`."""
    directory = _run_directory() / "cassandra"
    with places.locked(_run_directory() / "cassandra.lock"):
        ports = _ports(directory, "cql", "storage")
        jvm = JVM + (JVM_SINCE_4_0 if find_release(server_choice.cassandra).line >= (4, 0) else ())
        settings = server_choice.cassandra_settings(ports["cql"], ports["storage"], jvm=jvm)
        node = CassandraNode(directory, settings, version=server_choice.cassandra)
        if node.pid is None:
            node.start(owner=_owner())
        node.wait_ready()
    return node


@pytest.fixture(scope="session")
def postgres_server(server_choice: ServerChoice) -> PostgresServer:
    """A running server: `.dsn(database)`, `.address`, `.port`; durability is off, nothing outlives the run."""
    directory = _run_directory() / "postgres"
    with places.locked(_run_directory() / "postgres.lock"):
        port = _ports(directory, "port")["port"]
        settings = {"fsync": "off", "max_connections": "300"}
        server = PostgresServer(directory, version=server_choice.postgres, port=port, settings=settings)
        if server.pid is None:
            server.start(owner=_owner())
        server.wait_ready()
    return server


def pytest_collection_finish(session: pytest.Session) -> None:
    """The broker starts beside the first tests, so that none waits for it; whatever fails shows in its fixture."""
    if any("kafka_broker" in getattr(item, "fixturenames", ()) for item in session.items):
        threading.Thread(target=_start_broker, daemon=True).start()


def _start_broker() -> KafkaBroker:
    directory = _run_directory() / "kafka"
    with places.locked(_run_directory() / "kafka.lock"):
        ports = _ports(directory, "clients", "controller")
        broker = KafkaBroker(directory, port=ports["clients"], controller_port=ports["controller"])
        if broker.pid is None:
            broker.start(owner=_owner())
    return broker


@pytest.fixture(scope="session")
def kafka_broker() -> KafkaBroker:
    """A running broker: `.bootstrap`; tests take topics of their own."""
    broker = _start_broker()
    broker.wait_ready()
    return broker


@pytest.fixture
def own_broker() -> Iterator[KafkaBroker]:
    """A broker of one test, which may kill it."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as directory:
        broker = KafkaBroker(Path(directory) / "kafka", port=places.free_port(), controller_port=places.free_port())
        broker.start(owner=os.getpid())
        broker.wait_ready()
        yield broker
        broker.kill()


@pytest.fixture(scope="session")
def _cassandra_driver_session(cassandra_node: CassandraNode) -> Iterator[Any]:
    session: AbstractContextManager[Any] = cassandra_node.session()
    with session as opened:
        yield opened


@pytest.fixture(scope="session")
def cassandra_session(_cassandra_driver_session: Any) -> Any:
    """A session of the Cassandra driver, shared by the tests of one worker; name tables with their keyspace."""
    return _cassandra_driver_session


def _unique(prefix: str) -> str:
    return f"{prefix}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}_{next(_names)}"


@pytest.fixture
def keyspace(cassandra_session: Any) -> Iterator[str]:
    """The name of a new keyspace, dropped at the end."""
    name = _unique("ks")
    cassandra_session.execute(
        f"CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    )
    yield name
    cassandra_session.execute(f"DROP KEYSPACE {name}", timeout=60)


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """The connection URL of a new database, dropped at the end with whatever is still connected to it."""
    name = _unique("db")
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        create_database(connection, name)
    yield postgres_server.dsn(name)
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        drop_database(connection, name)


@pytest.fixture(scope="session")
def fixtures_directory() -> Path:
    """The golden commit-log segments, by Cassandra version."""
    return Path(__file__).parent / "golden"
