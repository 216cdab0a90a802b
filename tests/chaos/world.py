"""What the chaos driver acts on: servers behind proxies, the processes of a pipeline, and what should be up.

Invariant: `wanted` tells of every part whether it ought to run; a part that ought to run and has ended is an error,
unless it says that it could not reach a server at its start, which whoever supervises it answers by starting it again.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg

from casscade.core.errors import RetryableError
from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.cassandra_files import CassandraSettings
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.places import free_port
from casscade.devstack.postgres import PostgresServer
from casscade.devstack.server import Server
from casscade.verify.compare import TABLE_ALTERED, TableComparison
from tests.support.both_sides import compare_keyspace, describe
from tests.support.databases import create_database, drop_database
from tests.support.pipeline_process import PipelineProcess, configuration
from tests.support.proxy import Proxy

PARTITIONS: Final = 4
LOADERS: Final = 2
# Pauses between tries grow to 60 s: who has just begun one may take as long to notice that all is well again.
EQUAL_S: Final = 240.0
READY_S: Final = 120.0
STATEMENT_TIMEOUT_MS: Final = 8000
# Shorter than a table may be locked by another session.
LOCK_TIMEOUT_MS: Final = 2500
_LOOK_S: Final = 0.25
# What a start says about a server that it can't reach: nothing was begun, and the next start may succeed.
UNREACHABLE: Final = ("postgres_unreachable", "cassandra_unreachable", "kafka_unreachable")


class ChaosError(Exception):
    """The product did what it must not do."""


@dataclass(slots=True)
class Part:
    """A process of the pipeline; `wanted`: it ought to run, `suspended`: it was sent SIGSTOP."""

    name: str
    process: PipelineProcess
    wanted: bool = False
    suspended: bool = False
    restarts: int = 0

    def start(self) -> None:
        """Start it; returns at once."""
        self.process.start()
        self.wanted = True

    def supervise(self) -> None:
        """Start it again if it gave up because a server was away; raises ChaosError when it ended otherwise."""
        if not self.wanted or self.process.running:
            return
        said = self.process.tail()
        if self.process.exit_code != 2 or not any(word in said for word in UNREACHABLE):
            raise ChaosError(f"{self.name} ended by itself with {self.process.exit_code}:\n{said}")
        self.restarts += 1
        self.process.start()


@dataclass(slots=True)
class Servers:
    """The servers by name, each behind a proxy of the same name, and a session past the proxies."""

    directory: Path
    node: CassandraNode
    postgres: PostgresServer
    broker: KafkaBroker
    proxies: dict[str, Proxy]
    stack: ExitStack
    session: Any = None
    rounds: int = 0

    @property
    def all(self) -> dict[str, Server]:
        """By name."""
        return {"cassandra": self.node, "postgres": self.postgres, "kafka": self.broker}

    def up(self, *names: str) -> None:
        """Start what is down (of all, or of `names`), and wait until it answers."""
        wanted = [server for name, server in self.all.items() if not names or name in names]
        began = self.node in wanted and self.node.pid is None
        for server in wanted:
            server.start(owner=os.getpid())
        for server in wanted:
            server.wait_ready()
        if began or self.session is None:
            # The driver would come back to a node that was away in its own time.
            self.session = self.stack.enter_context(self.node.session())


@contextmanager
def servers() -> Iterator[Servers]:
    """Servers on free ports; their files stay if the run failed."""
    directory = Path(tempfile.mkdtemp(prefix="casscade-chaos-"))
    directory.chmod(0o755)
    ports = {name: free_port() for name in ("cassandra", "postgres", "kafka")}
    settings = CassandraSettings(
        port=ports["cassandra"],
        storage_port=free_port(),
        commitlog_sync_period_ms=100,
        segment_size="1MiB",
        heap="768m",
        jvm=("-XX:TieredStopAtLevel=1",),
    )
    with ExitStack() as stack:
        proxies = {name: Proxy(("127.0.0.1", port)) for name, port in ports.items()}
        for made in proxies.values():
            stack.callback(made.close)
        kafka = proxies["kafka"].port
        built = Servers(
            directory,
            CassandraNode(directory / "cassandra", settings),
            PostgresServer(directory / "postgres", port=ports["postgres"], settings={"max_connections": "100"}),
            KafkaBroker(
                directory / "kafka",
                port=ports["kafka"],
                controller_port=free_port(),
                settings={"advertised.listeners": f"PLAINTEXT://127.0.0.1:{kafka}"},
            ),
            proxies,
            stack,
        )
        for server in built.all.values():
            stack.callback(server.kill)
        built.up()
        yield built
    shutil.rmtree(directory, ignore_errors=True)


@dataclass(slots=True)
class World:
    """A pipeline between a keyspace and a database of its own; `kafka` tells over which transport."""

    servers: Servers
    name: str
    kafka: bool
    document: dict[str, Any]
    parts: list[Part] = field(default_factory=list)
    down: set[str] = field(default_factory=set)
    paused: bool = False
    backends: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        commands = ["capture", *["load"] * LOADERS] if self.kafka else ["run"]
        for number, command in enumerate(commands):
            document = deepcopy(self.document)
            document["http"] = {"listen": f"127.0.0.1:{free_port()}"}
            name = f"{command}-{number}"
            self.parts.append(Part(name, PipelineProcess(self.directory / name, document, command)))

    @property
    def directory(self) -> Path:
        """Where the configurations and logs of its processes lie."""
        return self.servers.directory / self.name

    @property
    def faulty(self) -> list[str]:
        """The servers whose network has a fault."""
        return [name for name, proxy in self.servers.proxies.items() if proxy.fault.name != "NONE"]

    def supervise(self) -> None:
        """Raises ChaosError when a part ended that ought to run."""
        for part in self.parts:
            part.supervise()

    def heal(self) -> None:
        """All servers up, no fault, every part running."""
        for proxy in self.servers.proxies.values():
            proxy.heal()
        self.resume_backends()
        self.servers.up()
        self.down.clear()
        for part in self.parts:
            if part.suspended:
                part.process.signal(signal.SIGCONT)
                part.suspended = False
            if not part.wanted:
                part.start()
        if self.paused:
            self.command("snapshot resume")
            self.paused = False

    def resume_backends(self) -> None:
        """Let stopped sessions of PostgreSQL go on."""
        for pid in self.backends:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.backends.clear()

    def command(self, command: str) -> None:
        """Run a command of `casscade` with the configuration of the first part; raises ChaosError when it fails."""
        ran = PipelineProcess(self.directory / "commands", self.document, command)
        ran.start()
        ended = ran.wait_end(READY_S)
        if ended.code != 0:
            raise ChaosError(f"casscade {command} ended with {ended.code}:\n{ran.tail()}")

    def wait_equal(self) -> list[TableComparison]:
        """Heal, and return when both sides are equal; raises ChaosError when that takes too long."""
        self.heal()
        deadline = time.monotonic() + EQUAL_S
        comparisons: list[TableComparison] = []
        while time.monotonic() < deadline:
            self.supervise()
            if self._caught_up():
                try:
                    comparisons = compare_keyspace(self.servers.session, self.dsn, self.name)
                except RetryableError as error:
                    if error.code != TABLE_ALTERED:
                        raise
                    comparisons = []  # a new column is on its way to PostgreSQL
                if comparisons and not any(one.differences for one in comparisons):
                    self._no_letters()
                    return comparisons
            time.sleep(_LOOK_S)
        said = describe(comparisons) if comparisons else "it did not catch up"
        raise ChaosError(f"not equal after {EQUAL_S:.0f} s: {said}\n{self.tails()}")

    def _caught_up(self) -> bool:
        try:
            status = [part.process.status() for part in self.parts]
            capture = status[0]["capture"].get("caught_up", False)
            lag = [sum(one["kafka"]["lag_events"].values()) for one in status[1:]]
            owned = sum(one["kafka"]["partitions"] for one in status[1:])
        except (OSError, KeyError):
            return False
        return bool(capture) and not any(lag) and (owned == PARTITIONS or not self.kafka)

    def _no_letters(self) -> None:
        ((letters,),) = self.rows("SELECT count(*) FROM casscade.dead_letters")
        if letters:
            raise ChaosError(f"{letters} dead letters")

    @property
    def dsn(self) -> str:
        """Past the proxy."""
        return self.servers.postgres.dsn(self.name)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What PostgreSQL answers."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()

    def tails(self) -> str:
        """The ends of all logs."""
        return "\n".join(f"--- {part.name}\n{part.process.tail()}" for part in self.parts)

    def stop(self) -> None:
        """SIGTERM for all; raises ChaosError when one does not end well."""
        for part in self.parts:
            part.wanted = False
            ended = part.process.stop(60.0)
            if ended.code != 0:
                raise ChaosError(f"{part.name} ended with {ended.code} after SIGTERM:\n{part.process.tail()}")


@contextmanager
def world(on: Servers, *, kafka: bool) -> Iterator[World]:
    """A new keyspace, database and topic; gone at the end, with the processes."""
    on.rounds += 1
    name = f"zippy{on.rounds}"
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    on.session.execute(f"CREATE KEYSPACE {name} WITH replication = {replication}")
    with psycopg.connect(on.postgres.dsn(), autocommit=True) as connection:
        create_database(connection, name)
    dsn = on.postgres.dsn(name).replace(f":{on.postgres.port}/", f":{on.proxies['postgres'].port}/")
    document = configuration(on.node, dsn, on.directory / f"{name}-state", [{"source": f"{name}.*"}])
    document["name"] = name
    document["cassandra"]["port"] = on.proxies["cassandra"].port
    document["load"] |= {"statement_timeout_ms": STATEMENT_TIMEOUT_MS, "batch_rows": 500, "batch_ms": 100}
    document["load"]["lock_timeout_ms"] = LOCK_TIMEOUT_MS
    document["snapshot"] = {"ranges_per_table": 8, "page_rows": 100}
    if kafka:
        document["transport"] = {
            "kind": "kafka",
            "bootstrap_servers": [f"127.0.0.1:{on.proxies['kafka'].port}"],
            "partitions": PARTITIONS,
            "replication_factor": 1,
        }
    made = World(on, name, kafka, document)
    try:
        yield made
    finally:
        for part in made.parts:
            if part.suspended:
                part.process.signal(signal.SIGCONT)
            part.process.kill()
        for proxy in on.proxies.values():
            proxy.heal()
        made.resume_backends()
        on.up()
        on.session.execute(f"DROP KEYSPACE {name}", timeout=60)
        with psycopg.connect(on.postgres.dsn(), autocommit=True) as connection:
            drop_database(connection, name)
