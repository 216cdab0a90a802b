"""The servers of a chaos run, and the processes of one pipeline on them, which are killed and started again.

Invariant: everything that was started ends with the run, also when the run itself is killed; each pipeline has a
keyspace, a database and a topic of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg

from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.cassandra_files import CassandraSettings
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.places import free_port
from casscade.devstack.postgres import PostgresServer
from casscade.verify.compare import TableComparison
from tests.support.both_sides import compare_keyspace, describe
from tests.support.databases import create_database, drop_database
from tests.support.pipeline_process import PipelineProcess, configuration

PARTITIONS: Final = 6
LOADERS: Final = 2
READY_S: Final = 60.0
# A clean end drains what is in hand; with a broker that is away as well the clients wait for their own limits.
STOP_S: Final = 40.0
EQUAL_S: Final = 150.0
_LOOK_S: Final = 0.25
# A statement of a loader that waits for one that was stopped gives up after this time, which ends that one's, too.
STATEMENT_TIMEOUT_MS: Final = 8000


@dataclass(slots=True)
class Site:
    """The servers, and a session of the Cassandra driver."""

    directory: Path
    node: CassandraNode
    postgres: PostgresServer
    broker: KafkaBroker
    session: Any
    pipelines: int = 0


@contextmanager
def site() -> Iterator[Site]:
    """Servers on free ports; at the end they are gone, and their files too unless the run failed."""
    directory = Path(tempfile.mkdtemp(prefix="casscade-chaos-"))
    directory.chmod(0o755)
    settings = CassandraSettings(
        port=free_port(),
        storage_port=free_port(),
        commitlog_sync_period_ms=100,
        heap="768m",
        # The better compiler takes longer than a run of some minutes gives back.
        jvm=("-XX:TieredStopAtLevel=1",),
    )
    node = CassandraNode(directory / "cassandra", settings)
    postgres = PostgresServer(
        directory / "postgres", port=free_port(), settings={"fsync": "off", "max_connections": "100"}
    )
    broker = KafkaBroker(directory / "kafka", port=free_port(), controller_port=free_port())
    with ExitStack() as stack:
        for server in (node, postgres, broker):
            stack.callback(server.kill)
            server.start(owner=os.getpid())
        for server in (node, postgres, broker):
            server.wait_ready()
        yield Site(directory, node, postgres, broker, stack.enter_context(node.session()))
    shutil.rmtree(directory, ignore_errors=True)


class Member:
    """An agent or a loader as a victim; `lives` counts its starts."""

    def __init__(self, kind: str, process: PipelineProcess) -> None:
        self.kind = kind
        self.process = process
        self.lives = 0
        self._ready = False

    def start(self) -> None:
        """A new life; returns at once."""
        self.process.start()
        self.lives += 1
        self._ready = False

    def wait_ready(self) -> None:
        """Return when it works."""
        self.process.wait_ready(READY_S)
        self._ready = True

    def strike(self, how: str) -> None:
        """Send SIGKILL or SIGTERM; it must have been running."""
        assert self.process.running, (
            f"{self.kind} ended by itself with {self.process.exit_code}:\n{self.process.tail()}"
        )
        self._ready = self._ready or self._answers()
        if how == "hard":
            self.process.kill()
        else:
            self.process.signal(signal.SIGTERM)

    def await_down(self, how: str) -> None:
        """Wait for its end; one that was ready and told to end must end well."""
        code = self.process.wait_end(STOP_S).code
        expected = {"hard": (-signal.SIGKILL,), "clean": (0,) if self._ready else (0, -signal.SIGTERM)}[how]
        assert code in expected, f"{self.kind} ended with {code} after {how}:\n{self.process.tail()}"

    def _answers(self) -> bool:
        try:
            return self.process.probe("/livez")
        except OSError:
            return False


class BrokerMember:
    """The broker as a victim."""

    kind = "broker"

    def __init__(self, broker: KafkaBroker) -> None:
        self._broker = broker
        self._ending: threading.Thread | None = None

    def start(self) -> None:
        """Start it again; returns at once."""
        self._broker.start(owner=os.getpid())

    def wait_ready(self) -> None:
        """Return when it works."""
        self._broker.wait_ready()

    def strike(self, how: str) -> None:
        """Send SIGKILL or SIGTERM; returns at once."""
        end = self._broker.kill if how == "hard" else self._broker.stop
        self._ending = threading.Thread(target=end, name="broker-end", daemon=True)
        self._ending.start()

    def await_down(self, how: str) -> None:
        """Wait for its end."""
        assert self._ending is not None
        self._ending.join(STOP_S)
        assert self._broker.pid is None, f"the broker did not end after {how}"


Victim = Member | BrokerMember


@dataclass(slots=True)
class Pipeline:
    """One agent and some loaders between `keyspace` and a database of its own."""

    site: Site
    name: str
    keyspace: str
    dsn: str
    directory: Path
    document: dict[str, Any]
    agent: Member = field(init=False)
    loaders: list[Member] = field(default_factory=list)
    broker: BrokerMember = field(init=False)
    _made: int = 0

    def __post_init__(self) -> None:
        self.agent = self._member("capture")
        self.broker = BrokerMember(self.site.broker)

    def _member(self, command: str) -> Member:
        self._made += 1
        document = deepcopy(self.document)
        document["http"] = {"listen": f"127.0.0.1:{free_port()}"}
        if command == "load" and self._made % 2 == 0:  # the first and every other one is the same member in each life
            document["transport"]["instance"] = f"loader-{self._made}"
        directory = self.directory / f"{command}-{self._made}"
        return Member(command, PipelineProcess(directory, document, command))

    def add_loader(self) -> Member:
        """One more loader, started and not waited for."""
        loader = self._member("load")
        self.loaders.append(loader)
        loader.start()
        return loader

    @property
    def members(self) -> list[Member]:
        return [self.agent, *self.loaders]

    def start(self) -> None:
        """Start all, and wait until the existing rows are there."""
        self.agent.start()
        for _ in range(LOADERS):
            self.add_loader()
        for member in self.members:
            member.wait_ready()
        self.loaders[0].process.wait(self._snapshot_done, "the snapshot", READY_S)

    def _snapshot_done(self) -> bool:
        tables = [table for loader in self.loaders for table in loader.process.status()["snapshot"]]
        return bool(tables) and all(table["ranges_done"] == table["ranges_total"] > 0 for table in tables)

    def wait_equal(self) -> list[TableComparison]:
        """Return when all is applied and both sides are equal, or with the differences when that takes too long."""
        deadline = time.monotonic() + EQUAL_S
        while True:
            for member in self.members:
                process = member.process
                assert process.running, f"{member.kind} ended by itself with {process.exit_code}:\n{process.tail()}"
            late = time.monotonic() > deadline
            if late or self._applied():
                comparisons = compare_keyspace(self.site.session, self.dsn, self.keyspace)
                if late or not any(one.differences for one in comparisons):
                    if late:
                        print(describe(comparisons), "\n", self.tails(), flush=True)
                    return comparisons
            time.sleep(_LOOK_S)

    def _applied(self) -> bool:
        try:
            kafka = [loader.process.status()["kafka"] for loader in self.loaders]
            caught_up = self.agent.process.status()["capture"].get("caught_up", False)
        except (OSError, KeyError):
            return False
        owned = sum(one["partitions"] for one in kafka)
        return bool(caught_up) and owned == PARTITIONS and not any(sum(one["lag_events"].values()) for one in kafka)

    def tails(self) -> str:
        """The ends of all logs."""
        return "\n".join(f"--- {member.kind}\n{member.process.tail()}" for member in self.members)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What PostgreSQL answers."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()

    def stop(self) -> None:
        """SIGTERM for all; each must end well."""
        for member in self.members:
            member.strike("clean")
        for member in self.members:
            member.await_down("clean")

    def kill(self) -> None:
        """End whatever still runs."""
        for member in self.members:
            member.process.kill()


@contextmanager
def pipeline(on: Site) -> Iterator[Pipeline]:
    """A new keyspace, database and topic; gone at the end, with the processes."""
    # Where the scenario before failed, it may have left the broker ended.
    on.broker.start(owner=os.getpid())
    on.broker.wait_ready()
    on.pipelines += 1
    name = f"chaos{on.pipelines}"
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    on.session.execute(f"CREATE KEYSPACE {name} WITH replication = {replication}")
    with psycopg.connect(on.postgres.dsn(), autocommit=True) as connection:
        create_database(connection, name)
    document = configuration(on.node, on.postgres.dsn(name), on.directory / "state", [{"source": f"{name}.*"}])
    document["name"] = name
    document["transport"] = {
        "kind": "kafka",
        "bootstrap_servers": [on.broker.bootstrap],
        "partitions": PARTITIONS,
        "replication_factor": 1,
    }
    document["load"] |= {"statement_timeout_ms": STATEMENT_TIMEOUT_MS, "batch_rows": 2000, "batch_ms": 200}
    made = Pipeline(on, name, name, on.postgres.dsn(name), on.directory / name, document)
    try:
        yield made
    finally:
        made.kill()
        # Only one that ended well leaves nothing to look at.
        on.session.execute(f"DROP KEYSPACE {name}", timeout=60)
        with psycopg.connect(on.postgres.dsn(), autocommit=True) as connection:
            drop_database(connection, name)
