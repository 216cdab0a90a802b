"""`casscade verify` while a schema changes: what both sides have is compared, and the rest is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from casscade.cli.main import main
from casscade.config import PipelineConfig
from casscade.pipeline.database import Database
from casscade.pipeline.present import present_part
from casscade.verify import compare

pytestmark = [pytest.mark.servers, pytest.mark.requirement("FR-016")]


class Site:
    """Table `t` of a keyspace and its copy, made by `plan --apply`; commands share the session of the tests."""

    def __init__(self, session: Any, keyspace: str, dsn: str, directory: Path) -> None:
        self.session, self.keyspace, self.dsn = session, keyspace, dsn
        self.file = directory / "casscade.yaml"
        self.file.write_text(
            f"name: v\ncassandra: {{contact_points: [localhost], local_datacenter: datacenter1, consistency: ONE}}\n"
            f"capture: {{cdc_directory: /cdc, state_directory: /state}}\npostgres: {{dsn: '{dsn}'}}\n"
            f"tables: [{{source: {keyspace}.*}}]\nload: {{pool: {{min: 1, max: 2}}}}\n",
            encoding="utf-8",
        )
        self.cql("CREATE TABLE {}.t (p int, c int, a int, PRIMARY KEY (p, c)) WITH cdc = true")
        self.cql("INSERT INTO {}.t (p, c, a) VALUES (1, 1, 7)")
        assert self.run("plan", "--apply").exit_code == 0
        self.sql("INSERT INTO {}.t (p, c, a, _cdc_ts) VALUES (1, 1, 7, 1)")

    def cql(self, text: str) -> None:
        self.session.execute(text.format(self.keyspace))

    def sql(self, text: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(text.format(self.keyspace).encode())

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "-c", str(self.file)])


@pytest.fixture
def site(cassandra_session: Any, keyspace: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    @contextmanager
    def opened(config: PipelineConfig) -> Iterator[tuple[Database, Any]]:
        connected = Database(config)
        connected.open()
        yield connected, cassandra_session
        connected.close()

    # Nothing is on its way here: what differs is read again without a pause.
    monkeypatch.setattr(compare, "PATIENCE_DIFFERENCES", 0)
    monkeypatch.setattr("casscade.cli.check.opened", opened)
    monkeypatch.setattr("casscade.cli.verify.opened", opened)
    return Site(cassandra_session, keyspace, database, tmp_path)


def test_what_is_on_one_side_only_is_named_and_the_rest_compared(site: Site) -> None:
    equal = site.run("verify")
    assert (equal.exit_code, "both sides are equal" in equal.output) == (0, True)
    site.cql("ALTER TABLE {}.t ADD (b text, s int static)")
    site.cql("ALTER TABLE {}.t RENAME c TO moment")
    site.cql("INSERT INTO {}.t (p, moment, a, b, s) VALUES (1, 1, 7, 'new', 1)")
    behind = site.run("verify")
    assert behind.exit_code == 1, behind.output
    assert "differences: none" in behind.output
    assert "no column for 'b'" in behind.output
    assert "no column for 's'" in behind.output
    assert "2 tables or columns were not compared" in behind.output
    site.sql("UPDATE {}.t SET a = 8")
    site.cql("CREATE TABLE {}.later (p int PRIMARY KEY) WITH cdc = true")
    different = site.run("verify").output
    assert "different in a" in different
    assert f"{site.keyspace}.later is not in PostgreSQL yet" in different
    # What only PostgreSQL has is none of Cassandra's.
    site.sql("ALTER TABLE {}.t ADD COLUMN mine int")
    assert site.run("plan", "--apply").exit_code == 0
    site.sql("UPDATE {0}.t SET a = 7, b = 'new'; INSERT INTO {0}.t_static (p, s, _cdc_ts) VALUES (1, 1, 1)")
    assert site.run("verify").exit_code == 0


def test_a_table_that_is_altered_meanwhile_is_compared_again_or_told_of(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's and PostgreSQL's own complaints reach nobody."""
    between = iter(["ALTER TABLE {}.t DROP a", "", "ALTER TABLE {}.t RENAME a TO b"])

    def altering(*arguments: Any) -> Any:
        found = present_part(*arguments)
        statement = next(between)
        if "DROP" in statement:
            site.cql(statement)
        elif statement:
            site.sql(statement)
        return found

    monkeypatch.setattr("casscade.cli.verify.present_part", altering)
    result = site.run("verify")
    assert (result.exit_code, "both sides are equal" in result.output) == (0, True), result.output
    site.cql("ALTER TABLE {}.t ADD a int")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("casscade.cli.verify.TRIES_MAX", 1)
        told = site.run("verify")
    assert told.exit_code == 1
    assert "was altered in PostgreSQL while it was compared [table_altered]" in told.output
    assert "try:" in told.output
