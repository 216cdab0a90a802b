"""A ring of Cassandra nodes, a pipeline for each of them, and one PostgreSQL that they all write to.

Invariant: every server and process belongs to the test: it ends with it, also when the test itself is killed.
"""

from __future__ import annotations

import os
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg
from cassandra import ConsistencyLevel

from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.cassandra_files import CassandraSettings
from casscade.devstack.cluster import CassandraCluster
from casscade.devstack.nodetool import nodetool
from casscade.devstack.places import free_port
from casscade.devstack.postgres import PostgresServer
from casscade.schema.key_form import AUTO, EXACT
from casscade.schema.mapping import build_target
from casscade.schema.reader import read_schema
from casscade.verify.compare import compare_table
from tests.support.pipeline_process import PipelineProcess, configuration

NODES: Final = 3
PIPELINE: Final = "ring"
KEYSPACE: Final = "ring"
# Its key is exact because the configuration says so; others because of their types.
CHOSEN_EXACT: Final = "ordered"
WAIT_S: Final = 120.0
# The commit log is synced every 100 ms: what was acknowledged before is read by then, and shows as a change.
# A busy machine is slow, which is nothing to test here.
REQUESTS: Final = ("read", "range", "write", "counter_write", "truncate")
QUIET_S: Final = 1.0
# Three segments of 1 MiB; a mutation is at most half of one.
FILLER_WRITES: Final = 8
FILLER_BYTES: Final = 400_000
POLL_S: Final = 0.1


@dataclass(slots=True)
class Ring:
    """The nodes, their pipelines (`processes[i]` reads the commit log of `nodes[i]`) and the copy."""

    cluster: CassandraCluster
    postgres: PostgresServer
    driver: Any
    session: Any
    directory: Path
    processes: list[PipelineProcess] = field(default_factory=list)
    away: set[int] = field(default_factory=set)
    compared: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def nodes(self) -> list[CassandraNode]:
        return self.cluster.nodes

    def tell(self, text: str) -> None:
        """Print what happened, with the seconds since the beginning."""
        print(f"[{time.monotonic() - self.began:6.1f} s] {text}", flush=True)

    def roll_segments(self) -> None:
        """Make all nodes forget the segments with what was written so far: flushed, and none of it for CDC."""
        replication = f"{{'class': 'SimpleStrategy', 'replication_factor': {len(self.nodes)}}}"
        self.session.execute(f"CREATE KEYSPACE filler WITH replication = {replication}")
        self.session.execute("CREATE TABLE filler.blobs (p int PRIMARY KEY, v blob)")
        insert = self.session.prepare("INSERT INTO filler.blobs (p, v) VALUES (?, ?)")
        insert.consistency_level = ConsistencyLevel.ALL
        for key in range(FILLER_WRITES):
            self.session.execute(insert, (key, b"\0" * FILLER_BYTES))
        for node in self.nodes:
            nodetool(node, "flush")

    def start_pipelines(self) -> None:
        """One process for each node; its own node is the first contact point, the others take over its reads."""
        tables = [{"source": f"{KEYSPACE}.*"}, {"source": f"{KEYSPACE}.{CHOSEN_EXACT}", "key": EXACT}]
        for number, node in enumerate(self.nodes):
            directory = self.directory / f"pipeline-{number + 1}"
            document = configuration(node, self.postgres.dsn(), directory / "state", tables, name=PIPELINE)
            document["snapshot"] |= {"page_rows": 100, "workers": 1}
            others = [other.address for other in self.nodes if other is not node]
            document["cassandra"] |= {"contact_points": [node.address, *others], "consistency": "QUORUM"}
            self.processes.append(PipelineProcess(directory, document))
        for process in self.processes:
            process.start()

    def wait_ready(self) -> None:
        """Return when all pipelines say that they are ready."""
        for process in self.processes:
            process.wait_ready(WAIT_S)

    def kill_pipeline(self, number: int) -> None:
        """SIGKILL; `wait` does not miss it until it is back."""
        self.away.add(number)
        self.processes[number].kill()

    def start_pipeline(self, number: int) -> None:
        """Start one again and wait until it is ready."""
        self.processes[number].start()
        self.processes[number].wait_ready(WAIT_S)
        self.away.discard(number)

    @property
    def host_ids(self) -> list[str]:
        """Of the nodes: the sources of their pipelines."""
        by_address = {host.address: str(host.host_id) for host in self.session.cluster.metadata.all_hosts()}
        return [by_address[node.address] for node in self.nodes]

    def forwarded(self) -> list[int]:
        """Mutations that each pipeline has captured in this life of its process."""
        return [int(process.status()["capture"]["mutations_forwarded"]) for process in self.processes]

    def sources(self) -> set[str]:
        """The host ids that the pipelines name in their metrics."""
        pages = [urllib.request.urlopen(process.url("/metrics"), timeout=5).read() for process in self.processes]
        return set(re.findall(r'^casscade_source_info{.*source="([^"]+)"', b"".join(pages).decode(), re.MULTILINE))

    def wait(self, condition: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> float:
        """Seconds until `condition` held; connection errors count as not yet."""
        begin = time.monotonic()
        while True:
            try:
                if condition():
                    return time.monotonic() - begin
            except (OSError, psycopg.errors.UndefinedTable):
                pass
            for number, process in enumerate(self.processes):
                ended = f"pipeline {number + 1} ended with {process.exit_code}:\n{process.tail()}"
                assert process.running or number in self.away, ended
            assert time.monotonic() - begin < timeout_s, f"not in {timeout_s:.0f} s: {what}"
            time.sleep(POLL_S)

    def wait_quiet(self) -> None:
        """Return when everything that was captured is durable, every row was read again that has to be, and nothing
        more has come for a while."""
        seen: list[int] = []
        since = time.monotonic()

        def quiet() -> bool:
            nonlocal seen, since
            if not all(process.status()["capture"] for process in self.processes):
                return False  # one has only just been started
            now = self.forwarded()
            applied = all(_applied(process) for process in self.processes)
            if now != seen or not applied or self.rows("SELECT count(*) FROM casscade.rechecks") != [(0,)]:
                seen, since = now, time.monotonic()
            return time.monotonic() - since > QUIET_S

        self.wait(quiet, "nothing more to capture")

    def wait_captured(self, before: list[int], more: list[int]) -> None:
        """Wait until each pipeline has captured exactly so many mutations more than `before`, and no more come."""
        expected = [first + second for first, second in zip(before, more, strict=True)]
        self.wait(lambda: all(now >= wanted for now, wanted in zip(self.forwarded(), expected, strict=True)), f"{more}")
        self.wait_quiet()
        assert self.forwarded() == expected

    def wait_seen(self, address: str, state: str) -> None:
        """Return when all other nodes that run see the node at `address` in `state` (`UN`: up, `DN`: down)."""
        others = [node for node in self.nodes if node.address != address and node.pid is not None]
        self.wait(lambda: all(f"{state}  {address} " in nodetool(node, "status") for node in others), state)

    def wait_captured_by(self, number: int, before: list[int], more: int) -> None:
        """Wait until one pipeline has captured so many mutations more than `before`, or some more than that.

        Nodes write more than clients ask for: a batchlog that outlived a kill is replayed a minute later.
        """
        self.wait(lambda: self.forwarded()[number] >= before[number] + more, f"{more} mutations")
        self.wait_quiet()

    def wait_hints_delivered(self) -> float:
        """Seconds until no node keeps hints for another."""
        return self.wait(lambda: all(not _pending_hints(node) for node in self.nodes), "hints are delivered", 240.0)

    def differences(self) -> list[str]:
        """Every row of every table, read from all replicas, against PostgreSQL."""
        found = []
        with psycopg.connect(self.postgres.dsn(), autocommit=True) as connection:
            for table in read_schema(self.session).tables.values():
                if table.keyspace != KEYSPACE:
                    continue
                result = compare_table(
                    self.session,
                    connection,
                    build_target(table, key=EXACT if table.name == CHOSEN_EXACT else AUTO),
                    consistency=ConsistencyLevel.ALL,
                    token_ranges=3,
                    settle_s=0.5,
                    show_values=True,
                )
                found += [f"{result.table}: {example}" for example in result.examples]
                assert result.rows_cassandra == result.rows_postgres or result.examples
                self.compared += result.rows_cassandra
        return found

    def check_equal(self, what: str) -> None:
        """Both sides hold the same once nothing more comes."""
        self.wait_quiet()
        begin, self.compared = time.monotonic(), 0
        assert self.differences() == [], what
        seconds = time.monotonic() - begin
        self.tell(f"{what}: both sides equal, {self.compared} rows read at ALL in {seconds:.1f} s")

    def rows(self, query: str) -> list[Any]:
        """What PostgreSQL answers."""
        with psycopg.connect(self.postgres.dsn()) as connection:
            return connection.execute(query.encode()).fetchall()

    def memory(self) -> str:
        """Resident megabytes of everything."""
        nodes = [f"{node.status().rss_bytes / 1e6:.0f}" for node in self.nodes]
        pipelines = [f"{_resident(process.status()['pid']) / 1e6:.0f}" for process in self.processes]
        postgres = self.postgres.status().rss_bytes / 1e6
        return f"MB: nodes {' '.join(nodes)}, pipelines {' '.join(pipelines)}, PostgreSQL {postgres:.0f}"


def _applied(process: PipelineProcess) -> bool:
    capture = process.status()["capture"]
    return bool(capture["caught_up"]) and capture["position"] == capture["acknowledged"]


def _pending_hints(node: CassandraNode) -> bool:
    """Whether it has hint files: `nodetool listpendinghints` does not count the one that is being written or sent."""
    return any((node.directory / "hints").glob("*.hints"))


def _resident(pid: int) -> int:
    text = Path(f"/proc/{pid}/statm").read_text(encoding="ascii")
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def ring_of(directory: Path, nodes: int = NODES) -> Iterator[Ring]:
    """A running ring with its PostgreSQL; the pipelines are started by the test."""
    directory.chmod(0o755)
    settings = CassandraSettings(
        address="127.0.3.1",
        port=free_port("127.0.3.1"),
        storage_port=free_port("127.0.3.1"),
        commitlog_sync_period_ms=100,
        segment_size="1MiB",
        jvm=("-XX:TieredStopAtLevel=1",),
        extra={"hinted_handoff_throttle": "10MiB", "hints_flush_period": "1s"}
        | {f"{kind}_request_timeout": "30s" for kind in REQUESTS},
    )
    cluster = CassandraCluster(directory / "cassandra", nodes, settings)
    postgres = PostgresServer(directory / "postgres", port=free_port(), settings={"fsync": "off"})
    with ExitStack() as stack:
        stack.callback(cluster.remove)
        stack.callback(postgres.remove)
        postgres.start(owner=os.getpid())
        cluster.up(owner=os.getpid())
        postgres.wait_ready()
        driver = cluster.connect()
        stack.callback(driver.shutdown)
        session = driver.connect()
        ring = Ring(cluster, postgres, driver, session, directory)
        try:
            yield ring
        finally:
            for process in ring.processes:
                process.kill()
