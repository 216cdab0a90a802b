"""Nodes of a ring of three go down during reads: QUORUM goes on with two, waits with one, and recovers."""

from __future__ import annotations

import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from cassandra import ConsistencyLevel
from cassandra.concurrent import execute_concurrent_with_args

from casscade.core.errors import RetryableError
from casscade.load.control import ControlStore
from casscade.schema.connect import CassandraSettings, connect
from casscade.schema.reader import read_schema
from casscade.schema.truncations import read_truncations
from casscade.snapshot.ranges import split_ring
from casscade.snapshot.rows import TableScan
from casscade.snapshot.scanner import Scanner, ScanOptions
from casscade.snapshot.store import SnapshotStore, SnapshotTask
from casscade.snapshot.wire import RawSession
from casscade.transport.chunk import Chunk, SnapshotProgress
from tests.support.ring import NODES, Ring, ring_of

ROWS: Final = 4000
PAGE_ROWS: Final = 100
RANGES: Final = 8
SCAN_S_MAX: Final = 180.0


@pytest.fixture(scope="module")
def ring() -> Iterator[Ring]:
    directory = Path(tempfile.mkdtemp(prefix="casscade-ring-"))
    try:
        with ring_of(directory) as opened:
            yield opened
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Scan:
    """A snapshot of one table; `on_page` is called before each page goes on. Progress is committed at once."""

    def __init__(self, ring: Ring, cluster: Any, session: Any, name: str) -> None:
        self.ring = ring
        self.keys: set[bytes] = set()
        self.pages = 0
        self.on_page: dict[int, Any] = {}
        self._lock = threading.Lock()
        self._store = SnapshotStore(name, "casscade")
        (table,) = (t for t in read_schema(session).tables.values() if t.full_name == "down.t")
        with self._transaction() as connection:
            ControlStore(name, "casscade").migrate(connection)
            self._store.create_tasks(connection, table.id, table.full_name, split_ring(RANGES))
        self._reader = RawSession(cluster)
        self.scanner = Scanner(
            self._reader,
            {table.id: TableScan(table)},
            self._store,
            self._transaction,
            self._put,
            ScanOptions(ConsistencyLevel.QUORUM, page_rows=PAGE_ROWS),
            owner=f"{name}#1",
            on_page=self._page,
        )

    def _page(self, _task: SnapshotTask, _rows: int) -> None:
        with self._lock:
            self.pages += 1
            act = self.on_page.pop(self.pages, None)
        if act is not None:
            act()

    def _put(self, chunk: Chunk, _stop: threading.Event) -> bool:
        with self._lock:
            self.keys.update(mutation[18:22] for mutation in chunk.mutations)
        assert isinstance(chunk.progress, SnapshotProgress)
        with self._transaction() as connection:
            self._store.commit_progress(connection, chunk.progress)
        return True

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.ring.postgres.dsn()) as connection:
            yield connection

    def run(self) -> None:
        """Read all of it; raises what stopped a worker."""
        with closing(self._reader):
            self.scanner.start()
            assert self.scanner.join(SCAN_S_MAX)


@pytest.mark.timeout(900)
@pytest.mark.servers
@pytest.mark.requirement("FR-019")
def test_reads_at_quorum_survive_the_loss_of_a_node_and_wait_out_that_of_two(ring: Ring) -> None:
    replication = f"{{'class': 'SimpleStrategy', 'replication_factor': {NODES}}}"
    ring.session.execute(f"CREATE KEYSPACE down WITH replication = {replication}")
    ring.session.execute("CREATE TABLE down.t (p int PRIMARY KEY, a text) WITH cdc = true")
    insert = ring.session.prepare("INSERT INTO down.t (p, a) VALUES (?, ?)")
    insert.consistency_level = ConsistencyLevel.ALL
    execute_concurrent_with_args(ring.session, insert, [(key, "a" * 200) for key in range(ROWS)], concurrency=64)
    first, second, third = ring.nodes
    cluster, session = connect(CassandraSettings(tuple(n.address for n in ring.nodes), "datacenter1", first.port))
    ids = {host.address: uuid.UUID(str(host.host_id)) for host in cluster.metadata.all_hosts()}
    try:
        scan = Scan(ring, cluster, session, "one")
        scan.on_page[4] = third.kill  # in the middle of pages that it coordinates
        scan.run()
        assert len(scan.keys) == ROWS
        ring.tell(f"{scan.pages} pages read, node 3 killed at the fourth")
        assert "t" in {table.name for table in read_schema(session).tables.values()}
        assert read_truncations(session, ids[first.address]) is not None
        with pytest.raises(RetryableError):
            read_truncations(session, ids[third.address])

        begun = threading.Event()

        def lose_second() -> None:
            second.kill()
            begun.set()

        def bring_back() -> None:
            assert begun.wait(SCAN_S_MAX)
            second.start()
            second.wait_ready(120)

        back = threading.Thread(target=bring_back)
        back.start()
        scan = Scan(ring, cluster, session, "two")
        scan.on_page[2] = lose_second  # one of three is left: no QUORUM until it is back
        scan.run()
        back.join()
        assert len(scan.keys) == ROWS
        ring.tell(f"{scan.pages} pages read, nodes 2 and 3 down in the middle, node 2 came back")
        third.start()
        third.wait_ready(120)
        ring.wait(lambda: _answers(session, ids[third.address]), "node 3 answers again")
    finally:
        cluster.shutdown()


def _answers(session: Any, host_id: uuid.UUID) -> bool:
    try:
        read_truncations(session, host_id)
    except RetryableError:
        return False
    return True
