"""Random statements on a real Cassandra, its commit log scrambled into PostgreSQL, both sides compared.

Invariant: nothing is taken out of the node's `cdc_raw` but what a run was told to delete, and a run ends with its
comparison, whatever it finds.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg

from casscade.capture.directory import MOVED_SEGMENT_VERSION, SegmentEntry, list_directory
from casscade.commitlog.decoder import decode_mutation
from casscade.commitlog.peek import mentions_any
from casscade.commitlog.reader import FINISHED, SegmentFile
from casscade.commitlog.segment import parse_cdc_index
from casscade.core.position import Position
from casscade.core.table import TableShape
from casscade.load.batch import Batch, BatchWriter
from casscade.load.control import ControlStore
from casscade.load.raw import register
from casscade.merge.fold import Fold
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import Target, build_target
from casscade.schema.reader import read_schema
from casscade.testing.runner import Runner
from casscade.testing.samples import tables_for
from casscade.testing.tables import SampleTable, create_all, sample_table
from casscade.testing.workload import Options, Workload
from casscade.verify.compare import TableComparison, compare_table

WAIT_S: Final = 30.0
SHORT_TTL_WAIT_S: Final = 6.0
SENTINEL: Final = "sentinel"
Mutation = tuple[int, bytes]
# Shares mutations with the other tables, and is not replicated.
ASIDE: Final = sample_table("aside", {"p": "int"}, {"c": "text"}, {"s": "int"}, {"v": "int", "m": "map<int, text>"})


class CdcReader:
    """Reads what the node writes from now on; a segment that was complete before is left out."""

    def __init__(self, directory: Path, *, delete: bool = False) -> None:
        self._directory = directory
        self._delete = delete
        self._files: dict[int, SegmentFile] = {}
        self._done = {entry.id for entry in list_directory(directory).segments if _completed(entry)}

    def close(self) -> None:
        """Close the segments."""
        for file in self._files.values():
            file.close()

    def read_until(self, sentinel: bytes, tables: Collection[bytes]) -> list[Mutation]:
        """Every mutation that mentions one of the tables, until one that holds `sentinel`."""
        found: list[Mutation] = []
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            met = False
            for version, mutation in self._poll():
                met = met or sentinel in mutation
                if mentions_any(mutation, tables):
                    found.append((version, mutation))
            if met:
                return found
            time.sleep(0.02)
        raise AssertionError(f"the commit log did not show the last write within {WAIT_S:.0f} s")

    def _poll(self) -> Iterator[Mutation]:
        for entry in list_directory(self._directory).segments:
            moved = entry.version <= MOVED_SEGMENT_VERSION
            if entry.id in self._done or not (entry.indexed or moved):
                continue
            if entry.id not in self._files:
                self._files[entry.id] = SegmentFile(entry.path)
            file = self._files[entry.id]
            while True:
                index = FINISHED if moved else parse_cdc_index(entry.index_path.read_bytes())
                for section in file.poll(index):
                    yield from ((entry.version, mutation) for mutation in section.mutations)
                if not file.more:
                    break
            assert not file.anomalies, file.anomalies
            if file.finished:
                self._done.add(entry.id)
                self._files.pop(entry.id).close()
                if self._delete:
                    entry.path.unlink()
                    entry.index_path.unlink(missing_ok=moved)


def _completed(entry: SegmentEntry) -> bool:
    if entry.version <= MOVED_SEGMENT_VERSION:
        return True
    index = parse_cdc_index(entry.index_path.read_bytes()) if entry.indexed else None
    return index is not None and index.completed


@dataclass(slots=True)
class Outcome:
    """What one run did and found."""

    seed: int
    kinds: Counter[str]
    statements: int = 0
    mutations: int = 0
    batches: int = 0
    comparisons: list[TableComparison] = field(default_factory=list)
    dead_letters: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """Rows that Cassandra showed at the end."""
        return sum(comparison.rows_cassandra for comparison in self.comparisons)

    @property
    def differences(self) -> int:
        """Rows that differ, and mutations that could not be applied."""
        return sum(comparison.differences for comparison in self.comparisons) + self.dead_letters.total()

    def report(self) -> str:
        """The outcome in a few lines."""
        lines = [
            f"seed {self.seed}: {self.statements} statements, {self.mutations} mutations in {self.batches} batches, "
            f"{self.rows} rows, {self.differences} differences"
        ]
        for comparison in self.comparisons:
            lines += [f"  {example!s}" for example in comparison.examples]
        return "\n".join([*lines, *(f"  dead letters: {code}" for code in self.dead_letters)])


class Differential:
    """One copy of the sample tables in `keyspace`, which exists and is empty, and in a schema of the same name.

    Each `run` goes on where the one before ended. `keep` is the part of the mutations that is applied: less than 1
    must end in differences.
    """

    def __init__(
        self,
        session: Any,
        reader: CdcReader,
        connection: psycopg.Connection[Any],
        keyspace: str,
        tables: tuple[SampleTable, ...],
        *,
        keep: float = 1.0,
    ) -> None:
        self._session = session
        self._reader = reader
        self._connection = connection
        self._keyspace = keyspace
        self._release = str(session.execute("SELECT release_version FROM system.local").one()[0])
        self._tables = tables_for(self._release, tables)
        self._keep = keep
        self.mutations: list[Mutation] = []
        self.shapes: dict[bytes, TableShape] = {}
        self.targets: list[Target] = []
        for statement in create_all(keyspace, self._tables):
            session.execute(statement)
        session.execute(ASIDE.create(keyspace, cdc=False))
        session.execute(f"CREATE TABLE {keyspace}.{SENTINEL} (id uuid PRIMARY KEY, v int) WITH cdc = true")
        self._writer = self._prepare()

    def run(self, seed: int, operations: int, *, short_ttl: bool = False, options: Options | None = None) -> Outcome:
        """Write, read the commit log, apply it scrambled, wait for what expires, compare."""
        options = options or options_for(seed, short_ttl=short_ttl)
        workload = Workload(seed, self._keyspace, (*self._tables, ASIDE), options)
        with closing(Runner(self._session)) as runner:
            for _ in range(operations):
                runner.execute(next(workload))
            runner.flush()
        return self.compare(Outcome(seed, runner.counts, runner.statements), short_ttl=short_ttl)

    def compare(self, outcome: Outcome, *, short_ttl: bool = False) -> Outcome:
        """Read the commit log since the last time, apply it scrambled, wait for what expires, compare."""
        mutations = self._collect()
        self.mutations += mutations
        outcome.mutations = len(mutations)
        self._apply(mutations, random.Random(f"scramble {outcome.seed}"), outcome)
        if short_ttl:
            time.sleep(SHORT_TTL_WAIT_S)
        self._writer.reap(self._connection)
        for target in self.targets:
            outcome.comparisons.append(
                compare_table(
                    self._session,
                    self._connection,
                    target,
                    consistency=1,
                    token_ranges=1,
                    settle_s=0.05,
                    show_values=True,
                )
            )
        return outcome

    def _prepare(self) -> BatchWriter:
        schema = read_schema(self._session)
        names = {table.name for table in self._tables}
        replicated = [t for t in schema.tables.values() if t.keyspace == self._keyspace and t.name in names]
        self.shapes = {t.id.bytes: t.shape(replicated=t in replicated) for t in schema.tables.values()}
        self.targets = [build_target(table) for table in replicated]
        control = ControlStore("differential", "casscade")
        control.migrate(self._connection)
        epoch, _ = control.acquire(self._connection, self._keyspace)
        writer = BatchWriter(control, self._keyspace, epoch)
        for number, target in enumerate(self.targets):
            for statement in plan_target(target, ExistingSchema(exists=number > 0)):
                self._connection.execute(statement.sql.encode())
            writer.add_target(self._connection, target, 3600)
        writer.prepare(self._connection)
        return writer

    def _collect(self) -> list[Mutation]:
        sentinel = uuid.uuid4()
        self._session.execute(f"INSERT INTO {self._keyspace}.{SENTINEL} (id, v) VALUES (%s, 1)", (sentinel,))
        if self._release.startswith("3."):
            move_segments(self._session, self._keyspace)
        tables = {target.table.id.bytes for target in self.targets}
        return self._reader.read_until(sentinel.bytes, tables)

    def _apply(self, mutations: list[Mutation], rng: random.Random, outcome: Outcome) -> None:
        """The mutations in any order, a quarter of them twice, in batches of any size."""
        kept = rng.sample(mutations, int(len(mutations) * self._keep))
        order = [*kept, *rng.sample(kept, len(kept) // 4)]
        rng.shuffle(order)
        largest = rng.choice((1, 5, 40, 400, 4000)) if len(order) < 1000 else rng.choice((40, 400, 4000))
        applied = 0
        while applied < len(order):
            size = rng.randint(1, largest)
            batch = Batch(Fold(), position=Position(1, applied))
            for version, mutation in order[applied : applied + size]:
                batch.fold.add(decode_mutation(mutation, version, self.shapes))
            counts = self._writer.apply(self._connection, batch)
            outcome.dead_letters.update(counts.dead_letters)
            outcome.batches += 1
            applied += size


def move_segments(session: Any, keyspace: str) -> None:
    """Make 3.11 move what it has written to `cdc_raw`: to drop a table it flushes every segment (`forceRecycleAll`)."""
    session.execute(f"CREATE TABLE {keyspace}.scratch (p int PRIMARY KEY)")
    session.execute(f"DROP TABLE {keyspace}.scratch")


def options_for(seed: int, *, short_ttl: bool = False) -> Options:
    """The options of a seed: mostly explicit timestamps with ties, sometimes the client's clock and conditions."""
    rng = random.Random(f"options {seed}")
    timestamps = rng.choice([(1, 2), (1, 5), (1, 5), (1, 30), None])
    return Options(
        timestamps=timestamps,
        odd_times=rng.choice((0.0, 0.0, 0.0, 0.02)),
        partitions=rng.choice((1, 3, 10)),
        clusterings=rng.choice((2, 3, 6)),
        ttl=rng.choice((0.0, 0.1, 0.4)),
        short_ttl=0.2 if short_ttl else 0.0,
        batch=rng.choice((0.0, 0.1, 0.3)),
        conditional=0.05 if timestamps is None else 0.0,
        deletions=rng.choice((0.2, 1.0, 2.0)),
    )


@contextmanager
def connection_to(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection as the loader uses it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        register(connection)
        yield connection
