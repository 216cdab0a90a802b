"""The raw session against a real Cassandra: untouched bytes, pages, one clock for TTLs."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cassandra import ConsistencyLevel

from casscade.devstack.cassandra import CassandraNode
from casscade.schema.connect import CassandraSettings, connect
from casscade.schema.reader import read_schema
from casscade.snapshot.ranges import split_ring
from casscade.snapshot.rows import TableScan
from casscade.snapshot.wire import RawSession

pytestmark = pytest.mark.servers

RING = split_ring(1)[0]


@pytest.fixture(scope="module")
def cluster(cassandra_node: CassandraNode) -> Iterator[Any]:
    settings = CassandraSettings((cassandra_node.address,), "datacenter1", cassandra_node.port, request_timeout_s=30.0)
    opened, session = connect(settings)
    session.shutdown()
    yield opened
    opened.shutdown()


def make_scan(session: Any, keyspace: str) -> TableScan:
    session.execute(f"CREATE TABLE {keyspace}.e (p int PRIMARY KEY, v int) WITH cdc = true")
    table = read_schema(session).find(keyspace, "e")
    assert table is not None
    return TableScan(table)


def skewed_clock(skew: int) -> float:
    return time.time() + skew


@pytest.mark.requirement("FR-008")
def test_expiry_is_exact_whatever_our_clock_says_since_protocol_5(
    cassandra_node: CassandraNode, cassandra_session: Any, cluster: Any, keyspace: str
) -> None:
    scan = make_scan(cassandra_session, keyspace)
    cassandra_session.execute(f"INSERT INTO {keyspace}.e (p, v) VALUES (1, 1) USING TTL 5000")
    expiries = {}
    for skew in (-1000, 0, 1000):
        session = RawSession(cluster, functools.partial(skewed_clock, skew))
        statement = session.prepare(scan.query, ConsistencyLevel.QUORUM)
        page = session.fetch(statement, RING, 100, None)
        session.close()
        (part,) = scan.read_page(page.rows, page.now)
        row = part.update.rows[0]
        expiries[skew] = row.cells[0][1]
    if cassandra_node.release.line >= (4, 0):
        assert len(set(expiries.values())) == 1
    else:
        # The node tells what is left by its own clock, and we add that to ours.
        expiries = {skew: expiry - skew for skew, expiry in expiries.items()}
    assert all(abs(expiry - time.time() - 5000) < 30 for expiry in expiries.values())


def test_pages_follow_each_other_until_the_end(cassandra_session: Any, cluster: Any, keyspace: str) -> None:
    scan = make_scan(cassandra_session, keyspace)
    for p in range(7):
        cassandra_session.execute(f"INSERT INTO {keyspace}.e (p, v) VALUES ({p}, {p})")
    session = RawSession(cluster)
    statement = session.prepare(scan.query, ConsistencyLevel.QUORUM)
    pages = [session.fetch(statement, RING, 3, None)]
    while pages[-1].paging_state is not None:
        pages.append(session.fetch(statement, RING, 3, pages[-1].paging_state))
    session.close()
    assert [len(page.rows) for page in pages] == [3, 3, 1]
    rows = [row for page in pages for row in page.rows]
    tokens = [int.from_bytes(row[0] or b"", "big", signed=True) for row in rows]
    assert tokens == sorted(tokens)
    assert {row[1] for row in rows} == {p.to_bytes(4, "big") for p in range(7)}
    assert all(row[1] == row[2] for row in rows)
