"""Reading ahead of the sync on a real node, and what `casscade check` says about the node's syncs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from casscade.capture.visibility import visibility
from casscade.cli.main import main
from casscade.commitlog.peek import partition_key_of
from casscade.commitlog.reader import SegmentFile
from casscade.commitlog.segment import index_name, parse_cdc_index, parse_segment_name
from casscade.devstack.cassandra import CassandraNode
from tests.support.pipeline_process import configuration

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("cdc")]

ATTEMPTS = 50


@pytest.fixture
def table_id(cassandra_session: Any, keyspace: str) -> bytes:
    """The id of a table with CDC in `keyspace`."""
    cassandra_session.execute(f"CREATE TABLE {keyspace}.t (id int PRIMARY KEY, v text) WITH cdc = true")
    (row,) = cassandra_session.execute(f"SELECT id FROM system_schema.tables WHERE keyspace_name = '{keyspace}'")
    found: bytes = row.id.bytes
    return found


def ends_of(directory: Path, table: bytes, *, eager: bool) -> dict[int, tuple[int, int]]:
    """Keys in the live segments, with the segment and the offset each mutation ends at."""
    found = {}
    for path in directory.glob("CommitLog-*.log"):
        try:
            segment = SegmentFile(path)
        except FileNotFoundError:
            continue
        name = parse_segment_name(path.name)
        assert name is not None
        with segment:
            sections = segment.poll(None, durable=False, eager=eager)
            while segment.more:
                sections += segment.poll(None, durable=False, eager=eager)
            assert segment.anomalies == []
        for section in sections:
            for mutation, end in zip(section.mutations, section.ends, strict=True):
                if mutation[1:17] == table:
                    found[int.from_bytes(partition_key_of(mutation), "big")] = (name[1], end)
    return found


def index_of(directory: Path, segment: int) -> int:
    """The offset up to which the segment is synced."""
    try:
        index = parse_cdc_index((directory / index_name(8, segment)).read_bytes())
    except FileNotFoundError:
        return 0
    return 0 if index is None else index.offset


@pytest.mark.requirement("FR-042")
def test_an_acknowledged_write_is_read_before_it_is_synced(
    cassandra_node: CassandraNode, cassandra_session: Any, keyspace: str, table_id: bytes
) -> None:
    directory = cassandra_node.cdc_directory
    ahead = 0
    for key in range(ATTEMPTS):
        cassandra_session.execute(f"INSERT INTO {keyspace}.t (id, v) VALUES ({key}, 'x')")
        found = ends_of(directory, table_id, eager=True)
        assert set(found) == set(range(key + 1)), "what was acknowledged is whole in the log"
        segment, end = found[key]
        ahead += index_of(directory, segment) < end
    assert ahead > 0, "a sync comes every 100 ms"


def test_check_tells_what_bounds_the_latency(
    cassandra_node: CassandraNode, keyspace: str, table_id: bytes, database: str, tmp_path: Path
) -> None:
    document = configuration(cassandra_node, database, tmp_path / "state", [{"source": f"{keyspace}.t"}])
    document["capture"]["commitlog_directory"] = str(cassandra_node.commitlog_directory)
    file = tmp_path / "casscade.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    result = CliRunner().invoke(main, ["check", "-c", str(file)])
    assert result.exit_code == 0, result.output
    lines = [line for line in result.output.splitlines() if "latency" in line]
    assert lines[0].startswith("ok ")
    assert "after up to 100 ms: commitlog_sync: periodic, 100 ms" in lines[0]
    assert lines[1].startswith("warn ")
    assert "capture.commitlog_directory has no effect" in lines[1]
    assert len(lines) == 2
    assert visibility("5.0.6", {}, eager=False, commitlog=False).warnings == ()
