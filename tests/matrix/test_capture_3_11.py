"""The live segments of a real 3.11 node: seconds instead of hours, through rotations, flushes, kills and restarts."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from casscade.capture.counters import Anomaly
from casscade.capture.follower import Follower
from casscade.commitlog.peek import partition_key_of
from casscade.core.position import START, Position
from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.cassandra_files import CassandraSettings
from casscade.devstack.places import free_port
from casscade.transport.direct import DirectTransport

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]

ROWS = 3000
PADDING = "x" * 900
WAIT_S = 60.0


class Agent:
    """A follower of the live log in its thread, and a loader that only counts keys and acknowledges."""

    def __init__(
        self, node: CassandraNode, state: Path, table: bytes, start: Position, seen: Counter[int], *, eager: bool
    ) -> None:
        self.anomalies: list[Anomaly] = []
        self.ends: list[Position] = [start]
        self.seen = seen
        self.table = table
        self.stop = threading.Event()
        self.grown = threading.Condition()
        self.transport = DirectTransport(1 << 20)
        self.follower = Follower(
            "node",
            node.cdc_directory,
            state,
            lambda: {table},
            self.transport,
            start,
            self.stop,
            on_anomaly=self.anomalies.append,
            eager=eager,
            commitlog_directory=node.commitlog_directory,
        )
        self.threads = [threading.Thread(target=self.follower.run), threading.Thread(target=self.load)]
        for thread in self.threads:
            thread.start()

    def load(self) -> None:
        """Count the keys of each chunk, then acknowledge it."""
        while not self.stop.is_set():
            chunk = self.transport.get(0.05)
            with self.grown:
                if chunk is not None:
                    rows = [mutation for mutation in chunk.mutations if mutation[1:17] == self.table]
                    self.seen.update(int.from_bytes(partition_key_of(mutation), "big") for mutation in rows)
                    self.ends.append(chunk.end)
                    self.transport.acknowledge(chunk.source, chunk.end)
                self.grown.notify_all()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Return when `condition` holds."""
        with self.grown:
            assert self.grown.wait_for(condition, WAIT_S), f"not in {WAIT_S:.0f} s: {what}"

    def close(self) -> Position:
        """Stop both threads as a kill would; the last position that is durable."""
        self.stop.set()
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()
        assert self.ends == sorted(self.ends), "positions never go back"
        return self.ends[-1]


@pytest.fixture(params=[None, "LZ4Compressor"], ids=["plain", "lz4"])
def node(request: pytest.FixtureRequest) -> Iterator[CassandraNode]:
    """A node of its own, with small segments."""
    directory = Path(tempfile.mkdtemp(prefix="casscade-3-11-"))
    settings = CassandraSettings(
        port=free_port(),
        storage_port=free_port(),
        commitlog_sync_period_ms=200,
        segment_size="1MiB",
        compression=request.param,
        jvm=("-XX:TieredStopAtLevel=1",),
    )
    node = CassandraNode(directory / "cassandra", settings, version="3.11")
    try:
        node.start(owner=os.getpid())
        node.wait_ready()
        yield node
    finally:
        node.kill()
        shutil.rmtree(directory, ignore_errors=True)


def insert(session: Any, first: int) -> None:
    """Insert `ROWS` rows from the key `first` on: several segments."""
    from cassandra.concurrent import execute_concurrent_with_args

    statement = session.prepare("INSERT INTO shop.orders (id, note) VALUES (?, ?)")
    execute_concurrent_with_args(session, statement, [(key, PADDING) for key in range(first, first + ROWS)], 32)


@pytest.mark.requirement("FR-001")
@pytest.mark.parametrize("eager", [False, True], ids=["synced", "eager"])
def test_a_live_log_is_followed_and_only_cdc_raw_is_cleaned(node: CassandraNode, tmp_path: Path, eager: bool) -> None:
    seen: Counter[int] = Counter()
    agents: list[Agent] = []
    try:
        with node.session() as session:
            session.execute(
                "CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
            )
            session.execute("CREATE TABLE shop.orders (id int PRIMARY KEY, note text) WITH cdc = true")
            (row,) = session.execute(
                "SELECT id FROM system_schema.tables WHERE keyspace_name = 'shop' AND table_name = 'orders'"
            )
            table = row.id.bytes
            agents.append(Agent(node, tmp_path / "state", table, START, seen, eager=eager))
            insert(session, 0)
            agents[0].wait(lambda: len(seen) >= ROWS, "all rows of the live log")
            position = agents[0].close()
            insert(session, ROWS)
            agents.append(Agent(node, tmp_path / "state", table, position, seen, eager=eager))
            agents[1].wait(lambda: len(seen) >= 2 * ROWS, "all rows after a restart of capture")
        node.stop()
        agents[1].wait(lambda: not list(node.cdc_directory.iterdir()), "the end of all segments that were moved")
        agents[1].close()
    finally:
        for agent in agents:
            agent.close()
    assert seen == Counter(range(2 * ROWS)), "every row once"
    assert [anomaly for agent in agents for anomaly in agent.anomalies] == []
    assert sum(agent.follower.counters.segments_deleted for agent in agents) >= 5
    assert sum(agent.follower.counters.gaps for agent in agents) == 0
