"""The merge against Cassandra itself: what SELECT shows must stand in PostgreSQL, however the mutations arrive."""

from __future__ import annotations

import random
from contextlib import closing
from typing import Any

import pytest

from casscade.devstack.cassandra import CassandraNode
from casscade.testing.samples import ALL, COLLECTIONS, EVENTS, EXPIRING, MAP_ENTRIES, ORDERED, STATICS, WIDE_PARTITION
from tests.support.cdc_reader import CdcReader
from tests.support.differential import Differential, connection_to

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("cdc")]

OPERATIONS = 400
SCANNED = (ORDERED, EVENTS, STATICS, EXPIRING, WIDE_PARTITION, MAP_ENTRIES)


# Half a hundred tables to create, on a machine that may be busy.
@pytest.mark.timeout(180)
@pytest.mark.requirement("FR-003")
@pytest.mark.requirement("FR-025")
def test_postgres_shows_what_cassandra_shows(
    cassandra_node: CassandraNode, cassandra_session: Any, keyspace: str, database: str
) -> None:
    with (
        closing(CdcReader(cassandra_node.cdc_directory)) as reader,
        connection_to(database) as connection,
        closing(Differential(cassandra_session, reader, connection, keyspace, ALL)) as differential,
    ):
        for seed in (1, random.randrange(1 << 32)):
            print(f"seed {seed}")
            outcome = differential.run(seed, OPERATIONS)
            print(outcome.report())
            assert outcome.statements > OPERATIONS // 2
            assert outcome.mutations > OPERATIONS // 2
            assert outcome.rows > 0
            assert outcome.differences == 0, outcome.report()


@pytest.mark.requirement("FR-001")
def test_a_snapshot_that_runs_beside_the_stream(
    cassandra_node: CassandraNode, cassandra_session: Any, keyspace: str, database: str
) -> None:
    with (
        closing(CdcReader(cassandra_node.cdc_directory)) as reader,
        connection_to(database) as connection,
        closing(Differential(cassandra_session, reader, connection, keyspace, SCANNED)) as differential,
    ):
        seed = random.randrange(1 << 32)
        print(f"seed {seed}")
        outcome = differential.run(seed, OPERATIONS, snapshot=True)
        print(outcome.report())
        assert outcome.scanned > 0
        assert outcome.mutations > 0
        assert outcome.differences == 0, outcome.report()


def test_mutations_that_are_lost_are_noticed(
    cassandra_node: CassandraNode, cassandra_session: Any, keyspace: str, database: str
) -> None:
    tables = (COLLECTIONS, STATICS)
    with (
        closing(CdcReader(cassandra_node.cdc_directory)) as reader,
        connection_to(database) as connection,
        closing(Differential(cassandra_session, reader, connection, keyspace, tables, keep=0.5)) as differential,
    ):
        outcome = differential.run(3, 200)
    assert outcome.differences > 0
    assert outcome.dead_letters.total() == 0
