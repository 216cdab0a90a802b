"""The whole demo in a short form, on the servers of the test run; and its checker, checked."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from casscade.demo.demo import DemoOptions, run_demo
from casscade.demo.site import Site
from casscade.demo.tables import Existing
from casscade.demo.workload import Workload
from casscade.devstack.cassandra import CassandraNode

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("cdc")]

# Long enough for TTLs to end under a pipeline that a busy machine brings back late.
OPTIONS = DemoOptions(seconds=8, rate=200, rows=300, seed=1)


@pytest.fixture
def site(cassandra_node: CassandraNode, cassandra_session: Any, database: str) -> Iterator[Site]:
    name = f"shop_{uuid.uuid4().hex[:8]}"
    yield Site(cassandra_node.address, cassandra_node.port, cassandra_node.cdc_directory, database, keyspace=name)
    cassandra_session.execute(f"DROP KEYSPACE IF EXISTS {name}", timeout=60)


@pytest.mark.requirement("FR-023")
@pytest.mark.requirement("SC-003")
@pytest.mark.requirement("SC-007")
def test_the_demo_proves_its_point_and_notices_a_corrupted_row(site: Site) -> None:
    text = io.StringIO()
    proof = run_demo(replace(OPTIONS, corrupt=True), Console(file=text, width=120), site)
    output = text.getvalue()
    print(output)
    assert proof.kills == 1
    assert proof.recovered_s is not None
    assert proof.recovered_s < 30
    assert proof.dead_letters == 0
    assert proof.rows_expired > 0
    assert set(proof.writes) == set(Workload(1, Existing.of(10)).kinds)
    assert len(proof.lives) == 2
    assert proof.lives[-1][1].count > 0  # a busy machine may kill the first life before its first commit
    assert 20e6 < proof.peaks_bytes["pipeline"] < 200e6
    by_table = {table.table.partition(".")[2]: table for table in proof.tables}
    assert {name: table.differences for name, table in by_table.items()} == {"customers": 1, "events": 0, "orders": 0}
    assert all(table.rows_cassandra == table.rows_postgres > 0 for table in proof.tables)
    assert by_table["customers"].examples[0].columns == ("country",)
    assert not proof.passed
    assert "FAILED: 1 row differs" in output
