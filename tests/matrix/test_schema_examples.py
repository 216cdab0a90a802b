"""docs/schema-examples.md, run as it stands: real servers, one pipeline that is only restarted where the page says so.

Invariant: nothing of the page is left out; what a block says must be seen within `SHOWN_S_MAX` seconds.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
import yaml
from click.testing import CliRunner

from casscade.cli.main import main
from casscade.devstack.cassandra import CassandraNode
from tests.support.pipeline_process import PipelineProcess, configuration

pytestmark = [pytest.mark.servers]

PAGE: Final = Path(__file__).parents[2] / "docs" / "schema-examples.md"
BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN_S_MAX: Final = 40.0
LOOK_S: Final = 0.1
# What is asked for once; everything else only looks.
ACTS: Final = ("replay", "--apply", "rollback", "snapshot")


class Site:
    """The two servers and the pipeline between them."""

    def __init__(self, session: Any, document: dict[str, Any], dsn: str, directory: Path) -> None:
        self._session = session
        self._document = document
        self._process = PipelineProcess(directory, dict(document))
        self._stops = False
        self._postgres = psycopg.connect(dsn, autocommit=True)

    def close(self) -> None:
        self._process.kill()
        self._postgres.close()

    def yaml(self, text: str) -> None:
        """Another configuration, and a start with it."""
        if self._stops:
            assert self._process.wait_end(SHOWN_S_MAX).code == 2
        elif self._process.running:
            assert self._process.stop().code == 0
        self._stops = "stop" in text
        changes = yaml.safe_load(text)
        self._process.document = self._document | {
            key: self._document[key] | value if key == "postgres" else value for key, value in changes.items()
        }
        self._process.start()
        self._process.wait_ready()

    def cql(self, text: str) -> None:
        for statement in filter(str.strip, text.split(";\n")):
            self._session.execute(statement.strip().rstrip(";"), timeout=30)

    def sql(self, text: str) -> None:
        """Queries, each followed by the rows that it shows."""
        for query, rows in re.findall(r"((?:^(?!-- ).*\n)+)((?:^-- .*\n)*)", text, re.MULTILINE):
            expected = [line.removeprefix("-- ") for line in rows.splitlines()]
            if expected:
                self._wait(lambda query=query: self._rows(query), lambda found, e=expected: found == e, query)
            else:
                self._postgres.execute(query.encode())

    def _rows(self, query: str) -> list[str]:
        try:
            found = self._postgres.execute(query.encode()).fetchall()
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            return [str(error)]
        return [" | ".join(map(_shown, row)) for row in found]

    def console(self, text: str) -> None:
        """Commands, each followed by lines of its output."""
        for command, lines in re.findall(r"^\$ (.*)\n((?:^(?!\$ ).*\n)*)", text, re.MULTILINE):
            expected = [line.strip() for line in lines.splitlines()]

            def run(command: str = command) -> str:
                arguments = shlex.split(command.replace("casscade.yaml", str(self._process.config_file)))
                result = CliRunner().invoke(main, arguments[1:])
                return f"{result.output}\nexit status {result.exit_code}"

            def all_there(output: str, expected: list[str] = expected) -> bool:
                return all(line in output for line in expected)

            if any(act in command for act in ACTS):
                output = run()
                assert all_there(output), f"{command}\n{output}"
                assert output.endswith(" 0"), f"{command}\n{output}"
            else:
                self._wait(run, all_there, command)

    def _wait(self, look: Any, good: Any, what: str) -> None:
        deadline = time.monotonic() + SHOWN_S_MAX
        while not good(found := look()):
            assert time.monotonic() < deadline, f"{what}\nshows\n{found}\n{self._process.tail()}"
            time.sleep(LOOK_S)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "NULL", True: "true", False: "false"}[value]
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


@pytest.fixture
def site(cassandra_session: Any, cassandra_node: CassandraNode, database: str, tmp_path: Path) -> Iterator[Site]:
    cassandra_session.execute(
        "CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
    )
    document = configuration(cassandra_node, database, tmp_path / "state", [])
    made = Site(cassandra_session, document, database, tmp_path / "process")
    yield made
    made.close()
    cassandra_session.execute("DROP KEYSPACE shop", timeout=60)


@pytest.mark.requirement("US-3")
@pytest.mark.requirement("FR-014")
@pytest.mark.requirement("FR-015")
@pytest.mark.requirement("FR-016")
@pytest.mark.requirement("FR-017")
@pytest.mark.requirement("FR-018")
@pytest.mark.timeout(300)
def test_the_page_of_examples(site: Site) -> None:
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert len(blocks) > 50
    for kind, text in blocks:
        getattr(site, kind)(text)
