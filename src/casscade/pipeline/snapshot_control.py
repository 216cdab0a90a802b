"""What the commands of `casscade snapshot` do: start, pause and resume tables, and tell how far they are.

Invariant: a table is named as in Cassandra (keyspace.table), and one that the pipeline does not replicate is refused
before anything is changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from psycopg import Connection, sql

from casscade.config import PipelineConfig
from casscade.config.tables import matches_table
from casscade.core.errors import ConfigurationError
from casscade.load.control import ControlStore, migrations
from casscade.pipeline.database import Database
from casscade.pipeline.snapshot_status import progress_document
from casscade.schema.mapping import Target
from casscade.snapshot.control import SnapshotControl, Worker
from casscade.snapshot.pace import Pace
from casscade.snapshot.ranges import split_ring
from casscade.snapshot.store import SnapshotStore, TableProgress

MEASURED_S: Final = 2.0
"""Between the two looks from which a speed follows: some batches of each loader fall into it."""


class SnapshotCommands:
    """The commands on one pipeline; each method is a transaction of its own. Raise ConfigurationError."""

    def __init__(self, config: PipelineConfig, database: Database) -> None:
        self._config = config
        self._database = database
        schema = config.postgres.control_schema
        self._schema = ControlStore(config.name, schema)
        self._tasks = SnapshotStore(config.name, schema)
        self._control = SnapshotControl(config.name, schema)

    def start(self, targets: Sequence[Target], *, again: bool) -> dict[str, int]:
        """Make the tasks of tables that have none; with `again` begin anew with ranges that are done.

        Returns the number of ranges that were added or begin anew, by table.
        """
        require_wanted(self._config)
        started: dict[str, int] = {}
        with self._database.transaction() as connection:
            self.require_control(connection)
            for target in targets:
                table = target.table
                ranges = split_ring(self._config.snapshot.ranges_per_table)
                made = self._tasks.create_tasks(connection, table.id, table.full_name, ranges)
                if not made and again:
                    made = self._tasks.restart(connection, table.id, done_only=True)
                started[table.full_name] = made
        return started

    def pause(self, tables: Collection[str]) -> None:
        """Pause `tables`, or all for none."""
        self._change(tables, self._control.pause)

    def resume(self, tables: Collection[str]) -> None:
        """End the pause of `tables`, or of all for none."""
        self._change(tables, self._control.resume)

    def _change(self, tables: Collection[str], change: Callable[[Connection[Any], Collection[str]], None]) -> None:
        with self._database.transaction() as connection:
            self.require_control(connection)
            known = {table.source_name for table in self._tasks.progress(connection)}
            for name in tables:
                require_replicated(self._config, name)
                if name not in known:
                    raise _unknown(name, "it has no snapshot", "casscade snapshot start makes one")
            change(connection, tables)

    def status(self, sleep: Callable[[float], None] = time.sleep) -> list[dict[str, Any]]:
        """One document for each table, with the speed between two looks; while nobody works, one look is enough."""
        pace = Pace()
        progress = self._look(pace)
        if self._workers() and any(table.fraction < 1 for table in progress):
            sleep(MEASURED_S)
            progress = self._look(pace)
        workers = self._workers()
        documents = []
        for table in progress:
            document = progress_document(table, pace.speed(table.table_id))
            document["workers"] = {w.owner: w.ranges for w in workers if w.source_name == table.source_name}
            documents.append(document)
        return documents

    def _look(self, pace: Pace) -> list[TableProgress]:
        with self._database.transaction() as connection:
            self.require_control(connection)
            progress = self._tasks.progress(connection)
        pace.add(time.monotonic(), progress)
        return progress

    def _workers(self) -> list[Worker]:
        with self._database.transaction() as connection:
            return self._control.workers(connection)

    def require_control(self, connection: Connection[Any]) -> None:
        """Raise ConfigurationError (`pipeline_never_ran`, `control_schema_older`) unless the schema is up to date."""
        name = self._schema.name("migrations")
        (found,) = connection.execute("SELECT to_regclass(%s)", (name.as_string(),)).fetchone() or (None,)
        schema = self._config.postgres.control_schema
        if found is None:
            raise ConfigurationError(
                "pipeline_never_ran",
                f"PostgreSQL has no control schema {schema}: no pipeline has run with this configuration yet",
                where=self._config.location("postgres", "control_schema"),
                now="nothing was changed",
                hint="start the pipeline once (casscade run, or casscade capture and casscade load); "
                "or look at postgres.dsn and postgres.control_schema",
            )
        rows = connection.execute(sql.SQL("SELECT version FROM {}").format(name)).fetchall()
        missing = migrations().keys() - {version for (version,) in rows}
        if missing:
            raise ConfigurationError(
                "control_schema_older",
                f"The control schema {schema} is that of an older Casscade (migration {min(missing)} is missing)",
                where=self._config.location("postgres", "control_schema"),
                now="nothing was changed",
                hint="restart the pipeline with this version, which brings the schema up to date",
            )


def require_wanted(config: PipelineConfig) -> None:
    """Raise ConfigurationError (`snapshot_never`) where the configuration wants no existing rows."""
    if config.snapshot.mode == "never":
        raise ConfigurationError(
            "snapshot_never",
            "The configuration says that existing rows are never read",
            where=config.location("snapshot", "mode"),
            now="nothing was changed",
            hint="set snapshot: {mode: initial} and restart the pipeline",
        )


def require_replicated(config: PipelineConfig, name: str) -> None:
    """Raise ConfigurationError (`snapshot_table`) when the configuration does not select the table `name`."""
    keyspace, _, table = name.partition(".")
    if not table:
        raise _unknown(name, "a table is named as keyspace.table", "write --table shop.orders")
    if not any(matches_table(entry.source, keyspace, table) for entry in config.tables):
        raise _unknown(name, "the configuration does not replicate it", "see the sources below tables")


def choose(config: PipelineConfig, targets: Sequence[Target], names: Collection[str]) -> list[Target]:
    """The targets of the tables `names`, or all for none; raises ConfigurationError (`snapshot_table`)."""
    if not names:
        return list(targets)
    by_name = {target.table.full_name: target for target in targets}
    for name in names:
        require_replicated(config, name)
        if name not in by_name:
            raise _unknown(name, "Cassandra has no such table", "casscade plan lists the tables")
    return [by_name[name] for name in dict.fromkeys(names)]


def _unknown(name: str, reason: str, hint: str) -> ConfigurationError:
    return ConfigurationError(
        "snapshot_table",
        f"The table {name} can't be taken: {reason}",
        where="--table",
        now="nothing was changed",
        hint=hint,
    )
