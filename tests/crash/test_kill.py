"""SIGKILL under load, in short; `python -m tests.crash.kill_loop` is the long version."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from casscade.devstack.cassandra import CassandraNode
from tests.crash.kill_loop import kill_repeatedly, settle
from tests.support.both_sides import compare_keyspace, describe
from tests.support.mixed_load import MixedLoad, create_tables, fill
from tests.support.pipeline_process import PipelineProcess, configuration

SEED = 20_240_229


@pytest.mark.servers
@pytest.mark.xdist_group("cdc")
@pytest.mark.requirement("FR-003")
@pytest.mark.requirement("FR-023")
@pytest.mark.requirement("SC-007")
def test_killed_three_times_under_load_both_sides_are_equal(
    cassandra_node: CassandraNode, cassandra_session: Any, keyspace: str, database: str, tmp_path: Path
) -> None:
    create_tables(cassandra_session, keyspace)
    fill(cassandra_session, keyspace, 1000)
    document = configuration(cassandra_node, database, tmp_path / "state", [{"source": f"{keyspace}.*"}])
    document["snapshot"] = {"ranges_per_table": 16, "page_rows": 50, "workers": 1}
    process = PipelineProcess(tmp_path, document)
    try:
        with MixedLoad(cassandra_session, keyspace, SEED, 300) as load:
            report = kill_repeatedly(process, 3, random.Random(SEED), 1.5)
        settle(process, report)
        comparisons = compare_keyspace(cassandra_session, database, keyspace)
        ended = process.stop()
    finally:
        process.kill()
    assert sum(one.differences for one in comparisons) == 0, f"seed {SEED}\n{describe(comparisons)}"
    assert all(one.rows_cassandra > 500 for one in comparisons)
    assert load.counts.total() > 300
    assert (report.dead_letters, ended.code) == (0, 0)
