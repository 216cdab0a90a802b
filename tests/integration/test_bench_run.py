"""The benchmark runs against a real server, reports every figure and leaves nothing behind."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rich.console import Console

from casscade.bench.path import STAGES
from casscade.bench.report import show, to_json
from casscade.bench.run import LIMIT, WHOLE, batch_size, run
from casscade.bench.workload import WORKLOADS
from casscade.load.raw import register


@pytest.mark.servers
def test_a_short_run_reports_every_figure(database: str, tmp_path: Path) -> None:
    def connect() -> psycopg.Connection[Any]:
        connection = psycopg.connect(database, autocommit=True)
        register(connection)
        return connection

    told: list[str] = []
    report = run(connect, tmp_path / "segments", 2560, told.append, batches=(500,))
    document = json.loads(to_json(report))
    figures = {(figure["workload"], figure["what"]): figure for figure in document["figures"]}
    assert set(figures) == {(work.name, what) for work in WORKLOADS for what in (LIMIT, *STAGES, WHOLE)}
    assert all(figure["rows_per_second"] > 0 and figure["ratio"] > 0 for figure in figures.values())
    assert {figures[(work.name, LIMIT)]["ratio"] for work in WORKLOADS} == {1.0}
    # None of the four workloads has to read stored rows back.
    assert set(document["merged_share"].values()) == {0.0}
    assert len(told) == len(WORKLOADS)
    out = io.StringIO()
    show(report, Console(file=out, width=160))
    assert "partial update" in out.getvalue()
    assert "PostgreSQL 1" in out.getvalue()
    with connect() as connection:
        left = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'casscade%'").fetchall()
    assert left == []


def test_a_batch_is_made_of_whole_chunks() -> None:
    assert [batch_size(rows) for rows in (1, 512, 1000, 5000)] == [512, 512, 1024, 5120]
