"""A Cassandra that has nothing but a schema, which tests alter; and loaders on it, with a real PostgreSQL.

Invariant: it answers the SELECTs of `schema.reader` as a node does, with a version and write times that go up.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg
from cassandra.cluster import NoHostAvailable
from click.testing import CliRunner

from casscade.cli.main import main
from casscade.commitlog.encoder import encode_mutation
from casscade.config import load_config
from casscade.core.mutation import PartitionUpdate
from casscade.core.position import Position
from casscade.deadletter.replayer import Replayer
from casscade.deadletter.store import DeadLetterStore
from casscade.load.batch import BatchWriter
from casscade.load.batcher import Batcher
from casscade.load.contents import Batch
from casscade.load.control import ControlStore
from casscade.load.counters import BatchCounts
from casscade.load.progress import CommitProgress, no_snapshot
from casscade.load.rewriting import rewriting_of
from casscade.load.sources import Sources
from casscade.pipeline.catalog import Catalog
from casscade.pipeline.database import Database
from casscade.pipeline.evolution import Evolution
from casscade.transport.chunk import Chunk

VERSION: Final = 8
MARGIN_S: Final = 3600


@dataclass(slots=True)
class FakeTable:
    """`columns`: name -> (kind, position, type); `dropped`: name -> (kind, type, microseconds)."""

    columns: dict[str, tuple[str, int, str]]
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    dropped: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    cdc: bool = True
    altered_at: int = 1


class FakeCassandra:
    """A session and the cluster behind it, of the keyspace `k`."""

    def __init__(self) -> None:
        self.tables: dict[str, FakeTable] = {}
        self.types: dict[str, tuple[list[str], list[str]]] = {}
        self.clock = 1
        self.readings = 0
        self.asked = 0
        self.askers: list[str] = []
        self.away = False

    def table(self, name: str = "t", **columns: str) -> FakeTable:
        """CREATE TABLE with `p text PRIMARY KEY, c int` and regular columns."""
        keys = {"p": ("partition_key", 0, "text"), "c": ("clustering", 0, "int")}
        self.tables[name] = FakeTable(keys | {column: ("regular", -1, t) for column, t in columns.items()})
        self.alter(name)
        return self.tables[name]

    def alter(self, name: str = "t") -> int:
        """Something of the table was changed; returns the time of it."""
        self.clock += 1
        if name in self.tables:
            self.tables[name].altered_at = self.clock * 1_000_000
        return self.clock * 1_000_000

    def add(self, column: str, type_: str, *, kind: str = "regular", name: str = "t") -> None:
        """ALTER TABLE ADD."""
        self.tables[name].columns[column] = (kind, -1, type_)
        self.alter(name)

    def drop(self, column: str, name: str = "t") -> int:
        """ALTER TABLE DROP; returns its time in microseconds."""
        kind, _, type_ = self.tables[name].columns.pop(column)
        at = self.alter(name)
        self.tables[name].dropped[column] = (kind, type_, at)
        return at

    def rename(self, old: str, new: str, name: str = "t") -> None:
        """ALTER TABLE RENAME of a key column."""
        columns = self.tables[name].columns
        columns[new] = columns.pop(old)
        self.alter(name)

    def execute(self, query: str, timeout: float | None = None) -> Any:
        assert timeout is None or "schema_version" in query
        if self.away:
            raise NoHostAvailable("away", {})
        if "schema_version" in query:
            self.asked += 1
            self.askers.append(threading.current_thread().name)
            return _One((uuid.UUID(int=self.clock),))
        if "release_version" in query:
            return [("5.0.6",)]
        if ".keyspaces" in query:
            self.readings += 1
            return [("k", True, {"class": "SimpleStrategy"})]
        if ".types" in query:
            return [("k", name, *udt, self.clock * 1_000_000) for name, udt in self.types.items()]
        if ".tables" in query:
            return [("k", n, t.id, {"compound"}, t.cdc, 100, 0, t.altered_at) for n, t in self.tables.items()]
        if ".dropped_columns" in query:
            return [
                ("k", n, column, kind, type_, (at // 1000).to_bytes(8, "big"))
                for n, t in self.tables.items()
                for column, (kind, type_, at) in t.dropped.items()
            ]
        if ".columns" in query:
            return [
                ("k", n, column, kind, position, "none", type_)
                for n, t in self.tables.items()
                for column, (kind, position, type_) in t.columns.items()
            ]
        return []


class _One(list[Any]):
    def one(self) -> Any:
        return self[0]

    def __init__(self, row: tuple[Any, ...]) -> None:
        super().__init__([row])


class FakeLoader:
    """What loads in one process, without threads: each call does what a thread would.

    `cassandra` may be a session of a real one, whose `keyspace` is replicated then.
    """

    def __init__(
        self,
        cassandra: Any,
        dsn: str,
        directory: Path,
        name: str,
        *,
        tables: str = "",
        more: str = "",
        check_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        keyspace: str = "k",
        progress: CommitProgress = no_snapshot,
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.file = file = directory / f"{name}.yaml"
        file.write_text(
            "name: test\ncassandra: {contact_points: [localhost], local_datacenter: dc}\n"
            f"capture: {{cdc_directory: /cdc, state_directory: /state}}\npostgres: {{dsn: '{dsn}'{more}}}\n"
            f"tables:\n  - source: {keyspace}.*\n{tables}load: {{pool: {{min: 1, max: 2}}}}\n",
            encoding="utf-8",
        )
        config = load_config(file)
        self.name, self.dsn, self.cassandra = name, dsn, cassandra
        self.database = Database(config)
        self.database.open()
        control = ControlStore("test", "casscade")
        self.catalog = Catalog(config, cassandra, control)
        with self.database.transaction() as connection:
            control.migrate(connection)
            self.catalog.resolve(connection)
            self.catalog.apply(connection)
            epoch, _ = control.acquire(connection, name)
        self.stop = threading.Event()
        allowed = config.postgres.ddl == "apply"
        self.evolution = Evolution(
            self.catalog,
            self.database,
            cassandra,
            self.stop,
            margin_s=MARGIN_S,
            allowed=allowed,
            check_s=check_s,
            clock=clock,
        )
        self.batcher = Batcher(
            self.catalog.tables,
            self.evolution.refresh,
            batch_rows=10_000,
            batch_s=1e9,
            check=self.evolution.check,
            rewriting=rewriting_of(self.catalog.rules.values()),
        )
        sources = Sources.single(name, epoch)
        self.writer = BatchWriter(control, sources, catch_up=self.evolution.catch_up, commit_progress=progress)
        with self.database.transaction() as connection:
            for target in self.catalog.written:
                rules = self.catalog.rules.get(target.table.id.bytes)
                self.writer.add_target(connection, target, MARGIN_S, self.catalog.version(target), rules)
        self.evolution.attach(self.writer, self.batcher)
        self.connection = self.database.connect()
        self.writer.prepare(self.connection)
        self.written = 0

    def take(self, *mutations: bytes) -> BatchCounts:
        """Decode and apply mutations as one batch."""
        counts = self.writer.apply(self.connection, self.batch(*mutations))
        counts.dead_letters.update(self.writer.reap(self.connection).dead_letters)
        return counts

    def put(self, chunk: Chunk, _stop: threading.Event) -> bool:
        """Apply a chunk of another part of the process at once."""
        self.batcher.add(chunk)
        self._apply(self.batcher.take())
        return True

    def offer(self, *mutations: bytes) -> BatchCounts:
        """As `take`, where PostgreSQL may refuse rows."""
        return self._apply(self.batch(*mutations))

    def batch(self, *mutations: bytes) -> Batch:
        """Mutations that came from the node, decoded."""
        self.written += 1
        offsets = [self.written * 100 + number for number in range(len(mutations))]
        self.batcher.add(Chunk(self.name, VERSION, Position(1, self.written), 0.0, list(mutations), offsets))
        return self.batcher.take()

    def _apply(self, batch: Batch) -> BatchCounts:
        try:
            return self.writer.apply(self.connection, batch)
        except psycopg.errors.IntegrityError:
            return self.writer.apply_isolated(self.connection, batch)

    def replay(self, *filters: str) -> str:
        """`casscade dlq replay` and what the pipeline does about it; returns what the command says."""
        result = CliRunner().invoke(main, ["dlq", "replay", *filters, "-c", str(self.file)])
        assert result.exit_code == 0, result.output
        store = DeadLetterStore("test", "casscade")
        while Replayer(store, self.database.transaction, self.put, self.stop).step():
            pass
        return result.output

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What PostgreSQL answers."""
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(query.encode()).fetchall()

    def close(self) -> None:
        self.connection.close()
        self.database.close()


def encoded(*updates: PartitionUpdate) -> bytes:
    """A mutation."""
    return encode_mutation(list(updates), VERSION)
