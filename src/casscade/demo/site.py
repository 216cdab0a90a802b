"""The two databases of a demo: where they are, what is made in them, and how they are compared.

Invariant: everything made here lies in one keyspace, one schema of the same name and the control schema.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
import yaml
from cassandra.concurrent import execute_concurrent
from psycopg import sql

from casscade.config import load_config
from casscade.demo.tables import KEYSPACE, KEYSPACE_CQL, SENTINEL, TABLES, Existing
from casscade.demo.writer import prepare
from casscade.load.control import ControlStore
from casscade.pipeline.catalog import Catalog
from casscade.pipeline.database import Database
from casscade.schema.connect import CassandraSettings, connect
from casscade.schema.faults import translated
from casscade.verify.compare import TableComparison, compare_table

DATACENTER = "datacenter1"
# Existing rows are written in slices: one slice in memory, the progress after each.
_SLICE_ROWS = 1000
_WRITES_AT_ONCE = 64
# Two for each of the two loaders, so that either can do without the other.
PARTITIONS: Final = 4

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Site:
    """A Cassandra node with CDC on, a PostgreSQL database, and Kafka's `bootstrap` where mutations go through it."""

    address: str
    port: int
    cdc_directory: Path
    dsn: str
    keyspace: str = KEYSPACE
    bootstrap: str = ""

    @contextmanager
    def session(self) -> Iterator[Any]:
        """A session of the Cassandra driver."""
        cluster, session = connect(CassandraSettings((self.address,), DATACENTER, self.port, request_timeout_s=30.0))
        try:
            yield session
        finally:
            cluster.shutdown()

    def create_tables(self, session: Any) -> None:
        """Make the keyspace with its tables; `session` uses it from then on."""
        with translated("creating the sample tables"):
            session.execute(KEYSPACE_CQL.format(self.keyspace))
            session.set_keyspace(self.keyspace)
            for statement in TABLES.values():
                session.execute(statement)

    def fill(self, session: Any, existing: Existing, progress: Progress) -> None:
        """Write the existing rows; `progress` hears how many writes are done."""
        prepared = prepare(session)
        # Yesterday's write times: what was there before is not part of the latency from write to commit.
        yesterday = int((time.time() - 86_400) * 1e6)
        writes = existing.writes(yesterday)
        statements = [(prepared[name], values) for write in writes for name, values in write.statements]
        with translated("writing the existing rows"):
            for start in range(0, len(statements), _SLICE_ROWS):
                execute_concurrent(session, statements[start : start + _SLICE_ROWS], concurrency=_WRITES_AT_ONCE)
                progress(min(start + _SLICE_ROWS, len(statements)))

    def write_config(self, file: Path, state_directory: Path, http_port: int, instance: str | None = None) -> None:
        """Write the configuration of the demo's pipeline, over Kafka that of one of its processes (`instance`)."""
        document: dict[str, Any] = {
            "name": "demo",
            "cassandra": {"contact_points": [self.address], "port": self.port, "local_datacenter": DATACENTER},
            "capture": {"cdc_directory": str(self.cdc_directory), "state_directory": str(state_directory)},
            "postgres": {"dsn": self.dsn},
            "tables": [{"source": f"{self.keyspace}.*"}],
            "load": {"pool": {"min": 1, "max": 5}},
            "http": {"listen": f"127.0.0.1:{http_port}"},
            "log": {"format": "console"},
        }
        if self.bootstrap:
            document["transport"] = {
                "kind": "kafka",
                "bootstrap_servers": [self.bootstrap],
                "partitions": PARTITIONS,
                "replication_factor": 1,
                "instance": instance,
            }
        file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")

    def sentinel_arrived(self) -> bool:
        """Whether the demo's last write is in PostgreSQL."""
        query = sql.SQL("SELECT 1 FROM {} WHERE id = %s").format(sql.Identifier(self.keyspace, "customers"))
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(query, (SENTINEL,)).fetchone() is not None

    def corrupt_row(self) -> None:
        """Change one value of one row in PostgreSQL, behind the pipeline's back: the comparison has to find it."""
        query = sql.SQL("UPDATE {} SET country = 'XX' WHERE id = %s").format(sql.Identifier(self.keyspace, "customers"))
        with psycopg.connect(self.dsn) as connection:
            connection.execute(query, (SENTINEL,))

    def compare(self, session: Any, config_file: Path, progress: Callable[[str, int], None]) -> list[TableComparison]:
        """Compare every row of every table; `progress` hears of (table, rows read so far)."""
        config = load_config(config_file)
        database = Database(config)
        database.open()
        with closing(database), translated("comparing both sides"):
            catalog = Catalog(config, session, ControlStore(config.name, config.postgres.control_schema))
            with database.transaction() as connection:
                targets = catalog.resolve(connection)
            results = []
            for target in targets:

                def report(rows: int, _part: float, table: str = target.table.name) -> None:
                    progress(table, rows)

                with closing(database.connect()) as connection:
                    results.append(compare_table(session, connection, target, progress=report))
        return results
