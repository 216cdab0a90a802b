"""What stands in the way of a start before the commit log is looked at ends it in one clear sentence with a remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.places import free_port
from tests.support.pipeline_process import configuration, started
from tests.support.refused import Document, refused

pytestmark = pytest.mark.servers


def postgres_down(document: Document) -> tuple[str, str]:
    document["postgres"]["dsn"] = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    return "postgres_unreachable", "postgres.dsn"


def cassandra_down(document: Document) -> tuple[str, str]:
    document["cassandra"]["port"] = free_port()
    return "cassandra_unreachable", str(document["cassandra"]["port"])


def unknown_key(document: Document) -> tuple[str, str]:
    document["load"]["batch_row"] = 10
    return "config_invalid", "batch_rows"


def state_directory(document: Document) -> tuple[str, str]:
    file = Path(document["capture"]["state_directory"]).parent / "file"
    file.write_text("")
    document["capture"]["state_directory"] = str(file / "state")
    return "capture_state_directory", str(file / "state")


def no_cdc_directory(document: Document) -> tuple[str, str]:
    document["capture"]["cdc_directory"] += "-elsewhere"
    return "capture_directory", document["capture"]["cdc_directory"]


@pytest.mark.requirement("SC-014")
@pytest.mark.parametrize("spoil", [postgres_down, cassandra_down, unknown_key, state_directory, no_cdc_directory])
def test_a_start_that_can_not_work_is_refused(
    cassandra_node: CassandraNode, database: str, tmp_path: Path, spoil: Callable[[Document], tuple[str, str]]
) -> None:
    document = configuration(cassandra_node, database, tmp_path / "state", [{"source": "shop.t"}])
    code, word = spoil(document)
    with started(tmp_path / "pipeline", document, executed=spoil is unknown_key) as process:
        refused(process.wait_end(), 2, code, word)
