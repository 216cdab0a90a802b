"""Three nodes, three copies of every row, three pipelines that write into one PostgreSQL: both sides equal in the end.

What happens to a ring happens here in turn: a snapshot that three processes share, writes through every coordinator at
different consistency levels, a pipeline that is killed, a node that is killed and gets what it missed as hints, read
repair, repair, and a comparison that asks all replicas.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from cassandra import ConsistencyLevel
from cassandra.concurrent import execute_concurrent_with_args

from casscade.devstack.nodetool import nodetool
from casscade.schema.mapping import build_target
from casscade.schema.reader import read_schema
from casscade.testing.runner import Runner
from casscade.testing.samples import (
    EVENTS,
    EXPIRING,
    KEYS_ONLY,
    MAP_ENTRIES,
    ORDERED,
    PLAIN,
    SIMPLE_TYPES,
    STATICS,
    WIDE,
)
from casscade.testing.tables import create_all
from casscade.testing.workload import Workload
from casscade.verify.compare import compare_table
from tests.support.differential import options_for
from tests.support.ring import NODES, Ring, ring_of

KEYSPACE: Final = "ring"
OLD_ROWS: Final = 3000
PLAIN_WRITES: Final = 1000
OPERATIONS: Final = 1000
DIVERGED: Final = 200
TABLES: Final = (PLAIN, KEYS_ONLY, SIMPLE_TYPES, ORDERED, EVENTS, STATICS, WIDE, EXPIRING, MAP_ENTRIES)


@pytest.fixture(scope="module")
def ring() -> Iterator[Ring]:
    directory = Path(tempfile.mkdtemp(prefix="casscade-ring-"))
    began = time.monotonic()
    try:
        with ring_of(directory) as opened:
            opened.tell(f"three nodes formed a ring in {time.monotonic() - began:.1f} s")
            yield opened
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def runners(ring: Ring, under_way: int = 64) -> Iterator[list[Runner]]:
    """One for each consistency level; the driver asks all coordinators in turn."""
    opened: list[Runner] = []
    drivers: list[Any] = []
    try:
        for level in (ConsistencyLevel.ONE, ConsistencyLevel.QUORUM):
            driver = ring.cluster.connect(level)
            drivers.append(driver)
            opened.append(Runner(driver.connect(), under_way=under_way))
        yield opened
    finally:
        for runner in opened:
            runner.close()
        for driver in drivers:
            driver.shutdown()


def write_at_random(ring: Ring, seed: int, operations: int = OPERATIONS) -> int:
    """Random operations at ONE or QUORUM; returns how many statements Cassandra accepted."""
    rng = random.Random(f"levels {seed}")
    workload = Workload(seed, KEYSPACE, TABLES, replace(options_for(seed), conditional=0.0))
    with runners(ring) as both:
        for _ in range(operations):
            rng.choice(both).execute(next(workload))
        for runner in both:
            runner.flush()
        return sum(runner.statements for runner in both)


def insert(ring: Ring, table: str, keys: range, *, value: int = 0) -> None:
    """Plain inserts at QUORUM, one mutation each."""
    prepared = ring.session.prepare(f"INSERT INTO {KEYSPACE}.{table} (p, a) VALUES (?, ?)")
    prepared.consistency_level = ConsistencyLevel.QUORUM
    execute_concurrent_with_args(ring.session, prepared, [(key, value) for key in keys], concurrency=64)


def differences(ring: Ring) -> list[str]:
    """Every row of every table, read from all replicas, against PostgreSQL."""
    found = []
    with psycopg.connect(ring.postgres.dsn(), autocommit=True) as connection:
        for table in read_schema(ring.session).tables.values():
            if table.keyspace != KEYSPACE:
                continue
            result = compare_table(
                ring.session,
                connection,
                build_target(table),
                consistency=ConsistencyLevel.ALL,
                token_ranges=3,
                settle_s=0.5,
                show_values=True,
            )
            found += [f"{result.table}: {example}" for example in result.examples]
            assert result.rows_cassandra == result.rows_postgres or result.examples
    return found


def check_equal(ring: Ring, what: str) -> None:
    ring.wait_quiet()
    begin = time.monotonic()
    assert differences(ring) == [], what
    ring.tell(f"{what}: both sides equal, read at ALL in {time.monotonic() - begin:.1f} s")


def snapshot_shared(ring: Ring) -> None:
    """Rows older than the pipelines, read by three processes: each range once, all of them, none twice."""
    replication = f"{{'class': 'SimpleStrategy', 'replication_factor': {NODES}}}"
    ring.session.execute(f"CREATE KEYSPACE {KEYSPACE} WITH replication = {replication}")
    for statement in create_all(KEYSPACE, TABLES):
        ring.session.execute(statement)
    for table in ("old", "counted", "diverged"):
        ring.session.execute(f"CREATE TABLE {KEYSPACE}.{table} (p int PRIMARY KEY, a int) WITH cdc = true")
    insert(ring, "old", range(OLD_ROWS))
    ring.start_pipelines(KEYSPACE)
    seconds = ring.wait(
        lambda: ring.rows("SELECT count(*) FROM casscade.snapshot_tasks WHERE state <> 'done'") == [(0,)],
        "the snapshot is complete",
    )
    tasks = ring.rows("SELECT sum(rows) FROM casscade.snapshot_tasks WHERE source_name = 'ring.old'")
    assert tasks == [(OLD_ROWS,)]  # a range that was read twice would count twice
    sources = ring.rows("SELECT count(*), min(epoch), max(epoch) FROM casscade.positions")
    assert sources == [(NODES, 1, 1)]
    assert ring.sources() == {source for (source,) in ring.rows("SELECT source FROM casscade.positions")}
    ring.tell(f"snapshot of {OLD_ROWS} rows by {NODES} processes done after {seconds:.1f} s more; {ring.memory()}")
    check_equal(ring, "snapshot")


def column_added(ring: Ring) -> None:
    """All processes learn of it, whichever log shows it first; none writes with the old columns after another's new."""
    ring.session.execute(f"ALTER TABLE {KEYSPACE}.old ADD b int")
    prepared = ring.session.prepare(f"UPDATE {KEYSPACE}.old SET b = ? WHERE p = ?")
    execute_concurrent_with_args(ring.session, prepared, [(key, key) for key in range(OLD_ROWS)], concurrency=64)
    added = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'old' AND column_name = 'b'"
    ring.wait(lambda: ring.rows(added) == [(1,)], "the new column")
    ring.wait(lambda: ring.rows(f"SELECT count(b) FROM {KEYSPACE}.old") == [(OLD_ROWS,)], "its values")
    check_equal(ring, f"a column added and {OLD_ROWS} rows updated")


def captured_three_times(ring: Ring) -> None:
    before = ring.forwarded()
    begin = time.monotonic()
    insert(ring, "counted", range(PLAIN_WRITES))
    ring.wait_captured(before, [PLAIN_WRITES] * NODES)
    ring.tell(f"{PLAIN_WRITES} writes captured on each of {NODES} nodes within {time.monotonic() - begin:.1f} s")


def pipeline_killed(ring: Ring, seed: int) -> None:
    """SIGKILL in the middle of the writes; the other two go on, and the third again where it was."""
    victim = ring.processes[1]
    epochs = "SELECT sum(epoch) FROM casscade.positions"
    ((before,),) = ring.rows(epochs)
    accepted = write_at_random(ring, seed, OPERATIONS // 2)
    victim.kill()
    accepted += write_at_random(ring, seed + 1, OPERATIONS // 2)
    victim.start()
    victim.wait_ready(60)
    check_equal(ring, f"pipeline 2 killed among {accepted} statements (seeds {seed}, {seed + 1})")
    assert ring.rows(epochs) == [(before + 1,)]  # a new owner of one source; the others were not fenced


def node_away(ring: Ring, seed: int) -> None:
    """A node is killed and misses writes; it gets them as hints, long after they were written."""
    node = ring.nodes[2]
    before = ring.forwarded()
    node.kill()
    ring.tell("node 3 killed")
    insert(ring, "counted", range(PLAIN_WRITES), value=1)  # the other nodes have not noticed yet
    ring.wait_seen(node.address, "DN")
    accepted = write_at_random(ring, seed)
    ring.wait_quiet()
    assert ring.forwarded()[2] == before[2]
    begin = time.monotonic()
    node.start()
    node.wait_ready(120)
    ring.tell(f"node 3 back after {time.monotonic() - begin:.1f} s")
    seconds = ring.wait_hints_delivered()
    ring.wait_quiet()
    late = ring.forwarded()[2] - before[2]
    ring.tell(f"hints delivered after {seconds:.1f} s: {late} mutations captured late on node 3; {ring.memory()}")
    assert late >= PLAIN_WRITES + accepted // 2  # a batch is one mutation for each partition
    check_equal(ring, f"node 3 away during {accepted + PLAIN_WRITES} statements (seed {seed})")


def repaired(ring: Ring) -> None:
    """Rows that a node misses and no hint brings: half of them by read repair, the others by `nodetool repair`."""
    node = ring.nodes[2]
    for other in ring.nodes[:2]:
        nodetool(other, "disablehandoff")
    node.kill()
    insert(ring, "diverged", range(DIVERGED), value=2)
    node.start()
    node.wait_ready(120)
    ring.wait_seen(node.address, "UN")
    ring.wait_quiet()
    before = ring.forwarded()
    read = ring.session.prepare(f"SELECT a FROM {KEYSPACE}.diverged WHERE p = ?")
    read.consistency_level = ConsistencyLevel.ALL
    for key in range(DIVERGED // 2):
        assert ring.session.execute(read, (key,)).one().a == 2
    ring.wait_captured_by(2, before, DIVERGED // 2)
    read_repaired = ring.forwarded()
    ring.tell(f"read repair: {read_repaired[2] - before[2]} mutations captured on node 3")
    begin = time.monotonic()
    nodetool(node, "repair", "--full", KEYSPACE, "diverged")
    ring.wait_captured_by(2, read_repaired, DIVERGED // 2)
    streamed = ring.forwarded()[2] - read_repaired[2]
    ring.tell(f"nodetool repair in {time.monotonic() - begin:.1f} s: {streamed} mutations captured on node 3")
    for other in ring.nodes[:2]:
        nodetool(other, "enablehandoff")
    check_equal(ring, "read repair and repair")


@pytest.mark.timeout(1500)
@pytest.mark.servers
@pytest.mark.requirement("FR-003")
@pytest.mark.requirement("FR-023")
@pytest.mark.requirement("FR-025")
def test_a_ring_of_three_and_its_copy_are_equal(ring: Ring) -> None:
    seed = random.randrange(1 << 30)
    ring.tell(f"seed {seed}")
    snapshot_shared(ring)
    column_added(ring)
    captured_three_times(ring)
    pipeline_killed(ring, seed)
    node_away(ring, seed + 2)
    repaired(ring)
    letters = ring.rows("SELECT code, count(*) FROM casscade.dead_letters GROUP BY code")
    assert letters == []
    for number, process in enumerate(ring.processes, 1):
        status = process.status()
        ring.tell(f"pipeline {number}: {status['capture']['mutations_forwarded']} mutations, {status['rows']}")
        assert process.stop().code == 0
