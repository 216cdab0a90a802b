"""The benchmark over Kafka runs against real servers, reports every figure and leaves nothing behind."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rich.console import Console

from casscade.bench.kafka_path import Servers
from casscade.bench.kafka_report import PARTS, show, to_json
from casscade.bench.kafka_run import CAPTURE, run_kafka
from casscade.bench.run import LIMIT, WHOLE
from casscade.bench.workload import WORKLOADS
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.postgres import PostgresServer
from casscade.load.raw import register


@pytest.mark.servers
@pytest.mark.requirement("SC-006")
@pytest.mark.requirement("FR-043")
def test_a_short_run_reports_every_figure(
    database: str, postgres_server: PostgresServer, own_broker: KafkaBroker, tmp_path: Path
) -> None:
    def connect() -> psycopg.Connection[Any]:
        connection = psycopg.connect(database, autocommit=True)
        register(connection)
        return connection

    servers = Servers(database, own_broker.bootstrap, postgres_server.pid, own_broker.pid, own_broker.data_directory)
    told: list[str] = []
    report = run_kafka(connect, servers, tmp_path / "segments", 2560, told.append, (500,), loaders=(1, 2))
    document = json.loads(to_json(report))
    figures = {(figure["workload"], figure["what"]): figure for figure in document["figures"]}
    assert set(figures) == {(work.name, what) for work in WORKLOADS for what in (LIMIT, CAPTURE, WHOLE)}
    assert all(figure["rows_per_second"] > 0 for figure in figures.values())
    assert {figures[(work.name, LIMIT)]["ratio"] for work in WORKLOADS} == {1.0}
    # What comes over Kafka is in the order of its key: nothing has to be read back to be merged.
    assert set(document["merged_share"].values()) == {0.0}
    assert all(set(spent) == set(PARTS) for spent in document["cpu_us"].values())
    assert [scale["loaders"] for scale in document["loaders"]] == [1, 2]
    assert all(scale["wal_bytes"] > 50 and scale["topic_bytes"] > 50 for scale in document["loaders"])
    assert document["need"]["cores"].keys() == set(PARTS)
    assert 20e6 < document["agent_private_bytes"] < document["agent_resident_bytes"] < 200e6
    assert len(told) == len(WORKLOADS) + 2
    out = io.StringIO()
    show(report, Console(file=out, width=160))
    assert "100,000 events/s with 10 loaders" in out.getvalue()
    with connect() as connection:
        left = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'casscade%'").fetchall()
    assert left == []
