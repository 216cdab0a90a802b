"""Capture beside a real node: live across segments, a crash of the node, another start with compression."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
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
from casscade.devstack.stack import Stack
from casscade.transport.direct import DirectTransport

pytestmark = pytest.mark.servers

ROWS = 500
PADDING = "x" * 3600
WAIT_S = 40.0


class Agent:
    """A follower in its thread, and a loader that only counts keys and acknowledges."""

    def __init__(
        self, node: CassandraNode, state: Path, tables: set[bytes], start: Position, seen: Counter[int]
    ) -> None:
        self.anomalies: list[Anomaly] = []
        self.stop = threading.Event()
        self.transport = DirectTransport(1 << 20)
        self.end = start
        self.seen = seen
        self.tables = tables
        self.follower = Follower(
            "node",
            node.cdc_directory,
            state,
            lambda: tables,
            self.transport,
            start,
            self.stop,
            on_anomaly=self.anomalies.append,
        )
        self.threads = [threading.Thread(target=self.follower.run), threading.Thread(target=self.load)]
        for thread in self.threads:
            thread.start()

    def load(self) -> None:
        """Count the keys of each chunk, then acknowledge it."""
        while not self.stop.is_set():
            chunk = self.transport.get(0.05)
            if chunk is not None:
                # A change of the schema mentions the table id, too; decoding would find that out.
                rows = [mutation for mutation in chunk.mutations if mutation[1:17] in self.tables]
                self.seen.update(int.from_bytes(partition_key_of(mutation), "big") for mutation in rows)
                self.end = chunk.end
                self.transport.acknowledge(chunk.source, chunk.end)

    def close(self) -> Position:
        """Stop both threads as a kill would; the last position that is durable."""
        self.stop.set()
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()
        return self.end


@pytest.fixture
def node() -> Iterator[CassandraNode]:
    """The node of a stack of its own: capture deletes from its cdc_raw, and the node is killed."""
    # Enterable by the user PostgreSQL drops to, which pytest's own directory is not.
    directory = Path(tempfile.mkdtemp(prefix="casscade-stack-"))
    directory.chmod(0o755)
    settings = CassandraSettings(
        commitlog_sync_period_ms=100,
        segment_size="1MiB",
        jvm=("-XX:TieredStopAtLevel=1",),
    )
    lines: list[str] = []
    stack = Stack(
        directory,
        cassandra_port=free_port(),
        postgres_port=free_port(),
        cassandra_settings=settings,
        owner=os.getpid(),
        progress=lines.append,
    )
    try:
        stack.up()
        assert all(status.ready for status in stack.status())
        # A laptop has 8 GB, and the pipeline and its tests run beside the stack.
        assert sum(status.rss_bytes for status in stack.status()) < 1 << 30
        yield stack.cassandra
        stack.down()
        assert [status.pid for status in stack.status()] == [None, None]
        assert "postgres: stopped" in lines
    finally:
        stack.reset()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def agents() -> Iterator[list[Agent]]:
    """Agents that end with the test."""
    started: list[Agent] = []
    yield started
    for agent in started:
        agent.close()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Fail when `condition` does not become true in time."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"not in {WAIT_S:.0f} s: {what}"
        time.sleep(0.05)


def insert(session: Any, first: int, table: str = "shop.orders") -> None:
    """Insert `ROWS` rows from the key `first` on."""
    from cassandra.concurrent import execute_concurrent_with_args

    statement = session.prepare(f"INSERT INTO {table} (id, note) VALUES (?, ?)")
    rows = [(key, PADDING) for key in range(first, first + ROWS)]
    execute_concurrent_with_args(session, statement, rows, concurrency=64)


def keys(session: Any) -> set[int]:
    """The keys that Cassandra holds."""
    return {row.id for row in session.execute("SELECT id FROM shop.orders")}


@pytest.mark.requirement("FR-001")
@pytest.mark.requirement("FR-003")
@pytest.mark.requirement("SC-001")
def test_every_row_is_captured_once_and_its_segment_goes(
    node: CassandraNode, agents: list[Agent], tmp_path: Path
) -> None:
    seen: Counter[int] = Counter()
    with node.session() as session:
        session.execute("CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        for table in ("orders", "others"):
            session.execute(f"CREATE TABLE shop.{table} (id int PRIMARY KEY, note text) WITH cdc = true")
        (row,) = session.execute(
            "SELECT id FROM system_schema.tables WHERE keyspace_name = 'shop' AND table_name = 'orders'"
        )
        tables = {row.id.bytes}
        agents.append(Agent(node, tmp_path / "state", tables, START, seen))
        insert(session, 0)
        insert(session, 1_000_000, "shop.others")
        wait_for(lambda: len(seen) >= ROWS, "all rows of a plain log")
        position = agents[0].close()
        insert(session, ROWS)
        agents.append(Agent(node, tmp_path / "state", tables, position, seen))
        wait_for(lambda: len(seen) >= 2 * ROWS, "all rows after a restart of capture")
    assert position.segment > START.segment
    node.kill()
    again = CassandraNode(node.directory, replace(node.settings, compression="LZ4Compressor"))
    again.start()
    again.wait_ready()
    with again.session() as session:
        insert(session, 2 * ROWS)
        expected = keys(session)
    again.stop()
    wait_for(lambda: len(seen) >= len(expected), "all rows of a compressed log")
    wait_for(lambda: not list(node.cdc_directory.glob("*_cdc.idx")), "the end of all completed segments")
    agents[-1].close()
    assert set(seen) == expected == set(range(3 * ROWS))
    assert {key: count for key, count in seen.items() if count != 1} == {}
    assert [anomaly for agent in agents for anomaly in agent.anomalies] == []
    assert sum(agent.follower.counters.segments_deleted for agent in agents) >= 9
    assert sum(agent.follower.counters.skipped["table_not_replicated"] for agent in agents) >= ROWS
    assert sum(agent.follower.counters.gaps for agent in agents) == 0
