"""Three nodes, three copies of every row, three pipelines that write into one PostgreSQL: both sides equal in the end.

What happens to a ring happens here in turn: a snapshot that three processes share and one does not survive, writes
through every coordinator at different consistency levels, counters, a pipeline that is killed, a node that is killed
and gets what it missed as hints, TRUNCATE among writes, read repair, repair; each time all rows are read at ALL.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from cassandra import ConsistencyLevel
from cassandra.concurrent import execute_concurrent_with_args

from casscade.devstack.nodetool import nodetool
from casscade.snapshot.store import LEASE_S
from casscade.testing.samples import (
    COLLECTIONS,
    EVENTS,
    EXACT,
    EXPIRING,
    KEYS_ONLY,
    LIST_ELEMENTS,
    MAP_ENTRIES,
    ORDERED,
    PLAIN,
    SIMPLE_TYPES,
    STATIC_COLLECTIONS,
    STATICS,
    WIDE,
)
from casscade.testing.tables import create_types
from tests.support.ring import KEYSPACE, NODES, Ring, ring_of
from tests.support.ring_truncations import CUT, Trickle, applied, truncate, wait_truncated
from tests.support.ring_writes import COUNTERS, OLDEST, CounterBook, write_at_random

OLD_ROWS: Final = 3000
PLAIN_WRITES: Final = 1000
OPERATIONS: Final = 1000
COUNTS: Final = 600
DIVERGED: Final = 200
SCHEMA_CHANGES_MAX: Final = 60
# Those that hold rows before the snapshot: lists are observed, and keys exact by type or by choice.
OLD_TABLES: Final = (ORDERED, STATICS, COLLECTIONS, LIST_ELEMENTS, STATIC_COLLECTIONS, *EXACT)
TABLES: Final = (PLAIN, KEYS_ONLY, SIMPLE_TYPES, EVENTS, WIDE, EXPIRING, MAP_ENTRIES, *OLD_TABLES)
PLAIN_TABLES: Final = ("old", "counted", "diverged")


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


def insert(ring: Ring, table: str, keys: range, *, value: int = 0, level: int = ConsistencyLevel.QUORUM) -> None:
    """Plain inserts, one mutation each."""
    prepared = ring.session.prepare(f"INSERT INTO {KEYSPACE}.{table} (p, a) VALUES (?, ?)")
    prepared.consistency_level = level
    execute_concurrent_with_args(ring.session, prepared, [(key, value) for key in keys], concurrency=64)


def fill(ring: Ring, seed: int, book: CounterBook) -> None:
    """Rows older than change data capture: in no commit log that a pipeline will read."""
    replication = f"{{'class': 'SimpleStrategy', 'replication_factor': {NODES}}}"
    ring.session.execute(f"CREATE KEYSPACE {KEYSPACE} WITH replication = {replication}")
    for statement in create_types(KEYSPACE):
        ring.session.execute(statement)
    for table in TABLES:
        ring.session.execute(table.create(KEYSPACE, cdc=table not in OLD_TABLES))
    for name in PLAIN_TABLES:
        cdc = "false" if name == "old" else "true"
        ring.session.execute(f"CREATE TABLE {KEYSPACE}.{name} (p int PRIMARY KEY, a int) WITH cdc = {cdc}")
    ring.session.execute(COUNTERS)
    insert(ring, "old", range(OLD_ROWS))
    accepted = write_at_random(ring, OLD_TABLES, seed, OPERATIONS // 2, OLDEST)
    book.add(ring, ring.nodes, COUNTS)
    ring.roll_segments()
    for name in (*(table.cql for table in OLD_TABLES), "old", "counters"):
        ring.session.execute(f"ALTER TABLE {KEYSPACE}.{name} WITH cdc = true")
    ring.session.execute(CUT)
    ring.tell(f"{OLD_ROWS} rows, {accepted} random statements (seed {seed}) and {COUNTS} of counters before")


def unfinished(ring: Ring, number: int) -> set[int]:
    """The tasks that a pipeline has claimed and not completed."""
    query = "SELECT task_id FROM casscade.snapshot_tasks WHERE state = 'claimed' AND owner LIKE"
    return {task for (task,) in ring.rows(f"{query} '{ring.host_ids[number]}#%'")}


def snapshot_shared(ring: Ring) -> None:
    """Three processes read each range once; one dies in the middle, and the others take over what it had."""
    left = "SELECT count(*) FROM casscade.snapshot_tasks WHERE state <> 'done'"
    victim = 2
    ring.start_pipelines()
    ring.wait(lambda: len(unfinished(ring, victim)) > 0, "the third pipeline reads a range")
    ring.kill_pipeline(victim)
    killed = time.monotonic()
    orphans = unfinished(ring, victim)
    assert orphans
    ((waiting,),) = ring.rows(left)
    ring.tell(f"pipeline 3 killed with {len(orphans)} of {waiting} unfinished ranges")
    ring.wait(lambda: ring.rows(left)[0][0] <= len(orphans), "all other ranges are done")
    others = time.monotonic() - killed
    # PostgreSQL may have committed a batch that was on its way when its client died.
    assert unfinished(ring, victim) <= orphans
    ring.wait(lambda: ring.rows(left) == [(0,)], "the orphans", 2 * LEASE_S)
    ring.tell(f"the other ranges were done after {others:.1f} s, its own after {time.monotonic() - killed:.1f} s")
    ((rows,),) = ring.rows("SELECT sum(rows) FROM casscade.snapshot_tasks WHERE source_name = 'ring.old'")
    assert OLD_ROWS <= rows <= OLD_ROWS + len(orphans)  # a page that was cut off ends with a row that is read again
    ring.start_pipeline(victim)
    ring.wait_ready()
    sources = ring.rows("SELECT source, epoch FROM casscade.positions")
    assert sorted(sources) == sorted(zip(ring.host_ids, (1, 1, 2), strict=True))
    ring.wait(lambda: ring.sources() == set(ring.host_ids), "the metrics name all sources")
    ring.wait_quiet()
    # The rows are in no commit log: the snapshot alone brought them. What was forwarded are changes of the schema.
    assert max(ring.forwarded()) < SCHEMA_CHANGES_MAX
    ring.tell(f"snapshot by {NODES} processes; {ring.memory()}")
    ring.check_equal("snapshot")


def counted_everywhere(ring: Ring, book: CounterBook) -> None:
    """Counters, most of them from before the snapshot, added to through every node, and deleted."""
    book.add(ring, ring.nodes, COUNTS)
    ring.check_equal(f"{COUNTS} additions to counters through {NODES} nodes")
    book.check(ring)
    book.delete(ring, ring.nodes, 10, ConsistencyLevel.ALL)
    book.add(ring, ring.nodes, COUNTS)
    ring.check_equal("counters deleted, and added to beside")
    book.check(ring)
    # Quiet: each node's log has the deletion before what follows.
    book.revive(ring, ring.nodes)
    ring.check_equal("deleted counters added to")
    book.check(ring)


def column_added(ring: Ring) -> None:
    """All processes learn of it, whichever log shows it first; none writes with the old columns after another's new."""
    ring.session.execute(f"ALTER TABLE {KEYSPACE}.old ADD b int")
    prepared = ring.session.prepare(f"UPDATE {KEYSPACE}.old SET b = ? WHERE p = ?")
    execute_concurrent_with_args(ring.session, prepared, [(key, key) for key in range(OLD_ROWS)], concurrency=64)
    added = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'old' AND column_name = 'b'"
    ring.wait(lambda: ring.rows(added) == [(1,)], "the new column")
    ring.wait(lambda: ring.rows(f"SELECT count(b) FROM {KEYSPACE}.old") == [(OLD_ROWS,)], "its values")
    ring.check_equal(f"a column added and {OLD_ROWS} rows updated")


def captured_three_times(ring: Ring) -> None:
    before = ring.forwarded()
    begin = time.monotonic()
    insert(ring, "counted", range(PLAIN_WRITES))
    ring.wait_captured(before, [PLAIN_WRITES] * NODES)
    ring.tell(f"{PLAIN_WRITES} writes captured on each of {NODES} nodes within {time.monotonic() - begin:.1f} s")


def pipeline_killed(ring: Ring, seed: int) -> None:
    """SIGKILL in the middle of the writes; the other two go on, and the third again where it was."""
    epochs = "SELECT sum(epoch) FROM casscade.positions"
    ((before,),) = ring.rows(epochs)
    accepted = write_at_random(ring, TABLES, seed, OPERATIONS // 2)
    ring.kill_pipeline(1)
    accepted += write_at_random(ring, TABLES, seed + 1, OPERATIONS // 2)
    ring.start_pipeline(1)
    ring.check_equal(f"pipeline 2 killed among {accepted} statements (seeds {seed}, {seed + 1})")
    assert ring.rows(epochs) == [(before + 1,)]  # a new owner of one source; the others were not fenced


def node_away(ring: Ring, seed: int, book: CounterBook) -> None:
    """A node is killed and misses writes; it gets them as hints, long after they were written."""
    node = ring.nodes[2]
    before = ring.forwarded()
    ring.wait_quiet()  # what it acknowledged is synced
    node.kill()
    ring.tell("node 3 killed")
    insert(ring, "counted", range(PLAIN_WRITES), value=1)  # the other nodes have not noticed yet
    ring.wait_seen(node.address, "DN")
    accepted = write_at_random(ring, TABLES, seed, OPERATIONS)
    book.add(ring, ring.nodes[:2], COUNTS)
    book.delete(ring, ring.nodes[:2], 5, ConsistencyLevel.QUORUM)
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
    assert late >= PLAIN_WRITES + accepted // 2 + COUNTS // 2  # a batch is one mutation for each partition
    ring.check_equal(f"node 3 away during {accepted + PLAIN_WRITES + COUNTS} statements (seed {seed})")
    book.check(ring)
    book.add(ring, ring.nodes, COUNTS)
    ring.check_equal("counters added to when node 3 is back")
    book.check(ring)


def truncated(ring: Ring, seed: int) -> None:
    """TRUNCATE among writes from the past: one process empties the copy, the others are fenced and go back."""
    trickle = Trickle(ring)
    epochs = "SELECT sum(epoch) FROM casscade.positions"
    ((before,),), wiped = ring.rows(epochs), sum(applied(ring))
    trickle.flow(1.0)
    future = f"INSERT INTO {KEYSPACE}.cut (p, c, s, v) VALUES (9, 9, 9, 'future') USING TIMESTAMP 9000000000000000"
    ring.session.execute(future)
    ring.wait(lambda: ring.rows(f"SELECT c FROM {KEYSPACE}.cut WHERE p = 9") == [(9,)], "a row from the future")
    with trickle.flowing():
        time.sleep(0.5)
        began, ended = truncate(ring, "cut")
        time.sleep(0.5)
    seconds = wait_truncated(ring)
    ring.check_equal(f"TRUNCATE among writes (in {ended - began:.1f} s), all sources behind it {seconds:.1f} s later")
    ring.tell(trickle.check(began, ended))
    ((after,),), rounds = ring.rows(epochs), sum(applied(ring)) - wiped
    assert rounds >= 1  # a node that was much later than the others makes another round
    assert after - before >= rounds * (2 * NODES - 1)  # each begins anew, the others were fenced before
    ring.tell(f"{rounds} rounds, epochs {before} to {after}")
    insert(ring, "old", range(OLD_ROWS, OLD_ROWS + 100), level=ConsistencyLevel.ALL)
    ring.kill_pipeline(0)
    with trickle.flowing():
        time.sleep(0.5)
        truncate(ring, "old")
        for table in TABLES:
            truncate(ring, table.cql)
        began, ended = truncate(ring, "cut")
        insert(ring, "old", range(50))
        accepted = write_at_random(ring, TABLES, seed, OPERATIONS, OLDEST)
    ring.start_pipeline(0)
    seconds = wait_truncated(ring)
    what = f"{len(TABLES) + 2} tables truncated while pipeline 1 was down, then {accepted} statements (seed {seed})"
    ring.check_equal(f"{what}, all sources behind it {seconds:.1f} s later")
    ring.tell(trickle.check(began, ended))
    assert ring.rows(f"SELECT count(*) FROM {KEYSPACE}.old") == [(50,)]
    assert ring.rows(f"SELECT count(*) FROM {KEYSPACE}.cut_static") == [(0,)]


def counters_truncated(ring: Ring, book: CounterBook) -> CounterBook:
    """Counters begin again at nothing, on every node; returns the new book."""
    truncate(ring, "counters")
    new = CounterBook(book.seed + 1)
    new.add(ring, ring.nodes, COUNTS)
    wait_truncated(ring)
    ring.check_equal(f"counters truncated and {COUNTS} additions right behind")
    new.check(ring)
    return new


def repaired(ring: Ring) -> None:
    """Rows that a node misses and no hint brings: half of them by read repair, the others by `nodetool repair`."""
    node = ring.nodes[2]
    for other in ring.nodes[:2]:
        nodetool(other, "disablehandoff")
    node.kill()
    ring.wait_seen(node.address, "DN")  # before that they queue messages for it, and deliver them when it is back
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
    ring.check_equal("read repair and repair")


@pytest.mark.timeout(1500)
@pytest.mark.servers
@pytest.mark.requirement("FR-003")
@pytest.mark.requirement("FR-023")
@pytest.mark.requirement("FR-025")
def test_a_ring_of_three_and_its_copy_are_equal(ring: Ring) -> None:
    seed = random.randrange(1 << 30)
    ring.tell(f"seed {seed}")
    book = CounterBook(seed)
    fill(ring, seed, book)
    snapshot_shared(ring)
    counted_everywhere(ring, book)
    column_added(ring)
    captured_three_times(ring)
    pipeline_killed(ring, seed + 1)
    node_away(ring, seed + 3, book)
    truncated(ring, seed + 4)
    book = counters_truncated(ring, book)
    repaired(ring)
    book.check(ring)
    letters = ring.rows("SELECT code, count(*) FROM casscade.dead_letters GROUP BY code")
    assert letters == []
    for number, process in enumerate(ring.processes, 1):
        status = process.status()
        ring.tell(f"pipeline {number}: {status['capture']['mutations_forwarded']} mutations, {status['rows']}")
        assert process.stop().code == 0
