"""The demo over Kafka in a short form, on the servers of the test run: both sides equal whoever was killed."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from casscade.demo.demo import DemoOptions, run_demo
from casscade.demo.site import PARTITIONS, Site
from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.kafka import KafkaBroker

pytestmark = [pytest.mark.servers]

OPTIONS = DemoOptions(seconds=5, rate=300, rows=300, seed=1, kafka=True)


@pytest.fixture
def site(
    cassandra_node: CassandraNode, cassandra_session: Any, kafka_broker: KafkaBroker, database: str
) -> Iterator[Site]:
    name = f"shop_{uuid.uuid4().hex[:8]}"
    node = cassandra_node
    yield Site(node.address, node.port, node.cdc_directory, database, name, kafka_broker.bootstrap)
    cassandra_session.execute(f"DROP KEYSPACE IF EXISTS {name}", timeout=60)


@pytest.mark.requirement("FR-043")
@pytest.mark.requirement("SC-003")
@pytest.mark.requirement("SC-007")
def test_both_sides_are_equal_after_two_kills(site: Site) -> None:
    text = io.StringIO()
    proof = run_demo(OPTIONS, Console(file=text, width=120), site)
    output = text.getvalue()
    print(output)
    assert proof.passed
    assert proof.kills == 2
    assert [name for name, _ in proof.lives][-1] == "loader 2"
    assert set(proof.peaks_bytes) == {"agent", "loader 1", "loader 2"}
    assert all(20e6 < peak < 200e6 for peak in proof.peaks_bytes.values())
    assert len(proof.lag_peaks) == PARTITIONS
    for part in ("casscade capture, pid", "killed by SIGKILL", "all partitions have caught up", "0 differ"):
        assert part in output
