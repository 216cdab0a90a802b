"""`casscade plan` shows the types that a configuration chooses, and refuses those that do not fit, by file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from casscade.cli.main import main
from casscade.devstack.cassandra import CassandraNode

pytestmark = pytest.mark.servers


@pytest.fixture
def config(tmp_path: Path, cassandra_session: Any, cassandra_node: CassandraNode, keyspace: str, database: str) -> Path:
    cassandra_session.execute(f"CREATE TYPE {keyspace}.place (lat double, tags frozen<set<text>>)")
    cassandra_session.execute(
        f"CREATE TABLE {keyspace}.t (p int PRIMARY KEY, home place, tags set<text>, m map<int, int>, at time, "
        "price decimal) WITH cdc = true"
    )
    file = tmp_path / "casscade.yaml"
    file.write_text(
        f"""name: plans
cassandra: {{contact_points: ["{cassandra_node.address}"], port: {cassandra_node.port}, local_datacenter: datacenter1}}
capture: {{cdc_directory: /cdc, state_directory: {tmp_path}}}
postgres: {{dsn: "{database}"}}
tables:
  - source: {keyspace}.t
    columns:
      types: {{home: composite, at: bigint}}
      inexact: {{price: dead_letter}}
    where: "price > 1 and p <> 0"
    transforms: [{{null: {{columns: [m]}}}}, {{rename: {{column: tags, to: labels}}}}]
""",
        encoding="utf-8",
    )
    return file


@pytest.mark.requirement("FR-009")
@pytest.mark.requirement("FR-011")
def test_the_plan_shows_types_and_policies_and_refuses_what_does_not_fit(config: Path, keyspace: str) -> None:
    result = CliRunner().invoke(main, ["plan", "-c", str(config)])
    assert result.exit_code == 0, result.output
    shown = {" ".join(line.split()) for line in result.output.splitlines()}
    assert {
        f'home place home "{keyspace}"."place"',
        "tags set<text> labels text[]",
        "rule: rows where price > 1 and p <> 0",
        "rule: m: null; its values are kept nowhere",
        "m map<int, int> m jsonb",
        "at time at bigint",
        "price decimal price numeric inexact: dead_letter",
        f'CREATE TYPE "{keyspace}"."place" AS ("lat" double precision, "tags" text[]);',
    } <= shown
    applied = CliRunner().invoke(main, ["plan", "--apply", "-c", str(config)])
    assert applied.exit_code == 0, applied.output
    assert "statements were run" in applied.output
    assert "-- 0 statements to run" in CliRunner().invoke(main, ["plan", "-c", str(config)]).output
    config.write_text(config.read_text(encoding="utf-8").replace("at: bigint", "m: array"), encoding="utf-8")
    result = CliRunner().invoke(main, ["plan", "-c", str(config)])
    assert result.exit_code == 2
    assert "the column 'm'" in result.output
    assert f"{config}:8" in result.output
    assert "it can be jsonb, text, bytea" in result.output
    config.write_text(
        config.read_text(encoding="utf-8").replace("m: array", "at: bigint").replace("price >", "prize >")
    )
    result = CliRunner().invoke(main, ["plan", "-c", str(config)])
    assert result.exit_code == 2
    assert 'there is no column "prize"' in result.output
    assert f"{config}:10" in result.output
    assert 'did you mean "price"' in result.output
