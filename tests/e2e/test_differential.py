"""The merge against Cassandra itself: what SELECT shows must stand in PostgreSQL, however the mutations arrive."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from casscade.devstack.cassandra import CassandraNode
from casscade.testing.samples import ALL, COLLECTIONS, EVENTS, EXPIRING, MAP_ENTRIES, ORDERED, STATICS, WIDE_PARTITION
from tests.support.cdc_reader import CdcReader
from tests.support.differential import Differential, connection_to
from tests.support.evidence import keep

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


def test_mutations_that_are_lost_are_noticed_and_all_is_kept_that_tells_of_them(
    cassandra_node: CassandraNode, cassandra_session: Any, keyspace: str, database: str, tmp_path: Path
) -> None:
    tables = (COLLECTIONS, STATICS)
    with (
        closing(CdcReader(cassandra_node.cdc_directory)) as reader,
        connection_to(database) as connection,
        closing(Differential(cassandra_session, reader, connection, keyspace, tables, keep=0.5)) as differential,
    ):
        outcome = differential.run(3, 200)
        keep(tmp_path, differential, cassandra_session, connection, [outcome.report()])
    assert outcome.differences > 0
    assert outcome.dead_letters.total() == 0
    lines = {str(path.relative_to(tmp_path)): path.read_text().splitlines() for path in tmp_path.rglob("*.*")}
    assert lines["report.txt"][0].startswith("seed 3: ")
    assert len(lines["mutations.txt"]) == outcome.mutations
    assert [line.split()[1] for line in lines["tables.txt"]] == [f"{keyspace}.{table.name}" for table in tables]
    for table in tables:
        assert (tmp_path / "cassandra" / table.name).read_text().count("\n") > 0
        assert len(lines[f"postgres/{keyspace}.{table.name}"]) > 1
