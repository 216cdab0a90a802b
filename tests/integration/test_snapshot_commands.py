"""`casscade snapshot` from the command line, on PostgreSQL alone."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from casscade.cli.main import main
from casscade.config import load_config
from casscade.core.errors import ConfigurationError
from casscade.load.control import ControlStore
from casscade.pipeline.snapshot_control import choose
from casscade.snapshot.ranges import split_ring
from casscade.snapshot.store import SnapshotStore
from casscade.transport.chunk import SnapshotProgress

pytestmark = pytest.mark.servers

ORDERS, CUSTOMERS = uuid.uuid4(), uuid.uuid4()
# Nobody answers there: these commands must not ask.
CONFIG = """name: shop
cassandra: {{contact_points: ["127.0.0.1"], port: 1, local_datacenter: dc}}
capture: {{cdc_directory: /cdc, state_directory: /state}}
postgres: {{dsn: "{dsn}"}}
load: {{pool: {{min: 1, max: 1}}}}
tables: [{{source: shop.*}}]
{more}
"""


def write(directory: Path, dsn: str, more: str = "") -> Path:
    file = directory / "casscade.yaml"
    file.write_text(CONFIG.format(dsn=dsn, more=more), encoding="utf-8")
    return file


@pytest.fixture
def config(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two tables, one of them half read by a worker that lives."""
    monkeypatch.setattr("casscade.pipeline.snapshot_control.MEASURED_S", 0.01)
    with psycopg.connect(database, autocommit=True) as connection:
        ControlStore("shop", "casscade").migrate(connection)
        store = SnapshotStore("shop", "casscade")
        with connection.transaction():
            store.create_tasks(connection, ORDERS, "shop.orders", split_ring(2))
            store.create_tasks(connection, CUSTOMERS, "shop.customers", split_ring(2))
        task = store.claim(connection, "node#7", [ORDERS])
        assert task is not None
        store.commit_progress(connection, SnapshotProgress(task.task_id, task.range_end, 500, done=True))
        assert store.claim(connection, "node#7", [ORDERS]) is not None
    return write(tmp_path, database)


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["snapshot", *map(str, arguments)])


def test_status_pause_and_resume_need_no_cassandra(config: Path) -> None:
    result = call("status", "-c", config, "--json")
    assert result.exit_code == 0, result.output
    customers, orders = json.loads(result.output)
    assert (orders["table"], orders["rows"], orders["ranges_done"], orders["ranges_total"]) == (
        "shop.orders",
        500,
        1,
        2,
    )
    assert (orders["percent"], orders["rows_per_second"], orders["paused"]) == (50.0, 0.0, False)
    assert orders["workers"] == {"node#7": 1}
    assert customers["workers"] == {}
    assert call("pause", "-c", config, "--table", "shop.orders").exit_code == 0
    lines = call("status", "-c", config).output.splitlines()
    assert lines[0].startswith("shop.customers: 0.0%, 0 rows, 0 of 2 ranges")
    assert lines[1].startswith("shop.orders: 50.0%, 500 rows, 1 of 2 ranges")
    assert lines[1].endswith("paused")
    assert "node#7 reads 1 ranges" in lines[2]
    assert call("resume", "-c", config).exit_code == 0
    assert "paused" not in call("status", "-c", config).output


def test_a_table_that_is_none_of_the_pipeline_is_refused(config: Path) -> None:
    for command in ("pause", "resume"):
        for table, reason in (
            ("shop.nothing", "it has no snapshot"),
            ("other.orders", "the configuration does not replicate it"),
            ("orders", "keyspace.table"),
        ):
            result = call(command, "-c", config, "--table", "shop.orders", "--table", table)
            assert result.exit_code == 2
            assert f"The table {table} " in result.output
            assert reason in result.output
    assert "paused" not in call("status", "-c", config).output


def test_a_pipeline_that_never_ran_is_told(tmp_path: Path, database: str) -> None:
    for command in ("status", "pause", "resume"):
        result = call(command, "-c", write(tmp_path, database))
        assert result.exit_code == 2
        assert "no pipeline has run with this configuration yet" in result.output


def test_a_table_that_cassandra_does_not_have_is_told(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "postgresql://nobody@127.0.0.1:1/none"))
    with pytest.raises(ConfigurationError, match=r"shop\.nothing .* Cassandra has no such table"):
        choose(config, [], ["shop.nothing"])
    assert choose(config, [], []) == []


def test_an_older_control_schema_is_told(config: Path, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DELETE FROM casscade.migrations WHERE version = 10")
    result = call("pause", "-c", config)
    assert result.exit_code == 2
    assert "migration 10 is missing" in result.output


def test_a_job_needs_kafka_and_says_who_reads_instead(tmp_path: Path) -> None:
    file = write(tmp_path, "postgresql://nobody@127.0.0.1:1/none")
    result = call("run", "-c", file)
    assert result.exit_code == 2
    assert "casscade run" in result.output
    assert "raise snapshot.workers" in result.output


def test_a_job_is_refused_where_nothing_is_to_be_read(tmp_path: Path) -> None:
    file = write(tmp_path, "postgresql://nobody@127.0.0.1:1/none", "snapshot: {mode: never}")
    result = call("run", "-c", file)
    assert result.exit_code == 2
    assert f"{file}:7" in result.output
    assert "mode: initial" in result.output
