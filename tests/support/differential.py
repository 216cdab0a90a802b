"""Random statements on a real Cassandra, its commit log scrambled into PostgreSQL, both sides compared.

Invariant: a run ends with its comparison, whatever it finds.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import psycopg

from casscade.load.raw import register
from casscade.schema.mapping import Target
from casscade.testing.runner import Runner
from casscade.testing.samples import tables_for
from casscade.testing.tables import SampleTable, create_all, sample_table
from casscade.testing.workload import Options, Workload
from casscade.transport.chunk import Chunk
from casscade.verify.compare import TableComparison, compare_table
from tests.support.cdc_reader import CdcReader, Mutation
from tests.support.loading_side import LoadingSide

SHORT_TTL_WAIT_S: Final = 6.0
SENTINEL: Final = "sentinel"
# Shares mutations with the other tables, and is not replicated.
ASIDE: Final = sample_table("aside", {"p": "int"}, {"c": "text"}, {"s": "int"}, {"v": "int", "m": "map<int, text>"})


@dataclass(slots=True)
class Outcome:
    """What one run did and found."""

    seed: int
    kinds: Counter[str]
    statements: int = 0
    mutations: int = 0
    batches: int = 0
    restarts: int = 0
    scanned: int = 0
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
            f"seed {self.seed}: {self.statements} statements, {self.mutations} mutations and "
            f"{self.scanned} of the snapshot in {self.batches} batches with {self.restarts} restarts, "
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
        self.scanned: list[Chunk] = []
        for statement in create_all(keyspace, self._tables):
            session.execute(statement)
        session.execute(ASIDE.create(keyspace, cdc=False))
        session.execute(f"CREATE TABLE {keyspace}.{SENTINEL} (id uuid PRIMARY KEY, v int) WITH cdc = true")
        self._side = LoadingSide(session, connection.info.dsn, keyspace, {table.name for table in self._tables})

    @property
    def targets(self) -> list[Target]:
        """The copies."""
        return self._side.targets

    def close(self) -> None:
        """Close what was opened; keyspace and schema stay."""
        self._side.close()

    def run(
        self,
        seed: int,
        operations: int,
        *,
        short_ttl: bool = False,
        snapshot: bool = False,
        options: Options | None = None,
    ) -> Outcome:
        """Write, read the commit log, apply it scrambled, wait for what expires, compare.

        With `snapshot`, which is for the first run, only the snapshot sees the first half of what is written, and
        the second half is written while it reads.
        """
        options = options or options_for(seed, short_ttl=short_ttl, snapshot=snapshot)
        workload = Workload(seed, self._keyspace, (*self._tables, ASIDE), options)
        scanned: list[Chunk] = []
        with closing(Runner(self._session)) as runner:
            if snapshot:
                self._write(runner, workload, operations // 2)
                self._collect()
                workload.options = later(options)
                with self._side.snapshot() as scanned:
                    self._write(runner, workload, operations - operations // 2)
            else:
                self._write(runner, workload, operations)
        return self.compare(Outcome(seed, runner.counts, runner.statements), scanned, short_ttl=short_ttl)

    def compare(self, outcome: Outcome, scanned: Sequence[Chunk] = (), *, short_ttl: bool = False) -> Outcome:
        """Read the commit log since the last time, apply it scrambled, wait for what expires, compare."""
        side = self._side
        batches, restarts = side.batches, side.restarts
        side.dead_letters.clear()
        mutations = self._collect()
        self.mutations += mutations
        outcome.mutations = len(mutations)
        self.scanned += scanned
        outcome.scanned = sum(len(chunk.mutations) for chunk in scanned)
        self._apply(mutations, scanned, random.Random(f"scramble {outcome.seed}"))
        if short_ttl:
            time.sleep(SHORT_TTL_WAIT_S)
        side.settle()
        outcome.batches, outcome.restarts = side.batches - batches, side.restarts - restarts
        outcome.dead_letters.update(side.dead_letters)
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

    def _write(self, runner: Runner, workload: Workload, operations: int) -> None:
        for _ in range(operations):
            runner.execute(next(workload))
        runner.flush()

    def _collect(self) -> list[Mutation]:
        sentinel = uuid.uuid4()
        self._session.execute(f"INSERT INTO {self._keyspace}.{SENTINEL} (id, v) VALUES (%s, 1)", (sentinel,))
        if self._release.startswith("3."):
            move_segments(self._session, self._keyspace)
        tables = {target.table.id.bytes for target in self._side.targets}
        return self._reader.read_until(sentinel.bytes, tables)

    def _apply(self, mutations: list[Mutation], scanned: Sequence[Chunk], rng: random.Random) -> None:
        """The mutations in any order, a quarter of them twice, in batches of any size, with restarts in between."""
        kept = rng.sample(mutations, int(len(mutations) * self._keep))
        order = [*kept, *rng.sample(kept, len(kept) // 4)]
        rng.shuffle(order)
        chunk_size = rng.choice((1, 1, 5, 50))
        chunks = [self._side.streamed(order[i : i + chunk_size]) for i in range(0, len(order), chunk_size)]
        chunks += scanned
        rng.shuffle(chunks)
        batch_rows = rng.choice((1, 5, 40, 400, 4000)) if len(order) < 1000 else rng.choice((40, 400, 4000))
        self._side.apply(chunks, batch_rows, rng, restarts=rng.choice((0.0, 0.05)))


def move_segments(session: Any, keyspace: str) -> None:
    """Make 3.11 move what it has written to `cdc_raw`: to drop a table it flushes every segment (`forceRecycleAll`)."""
    session.execute(f"CREATE TABLE {keyspace}.scratch (p int PRIMARY KEY)")
    session.execute(f"DROP TABLE {keyspace}.scratch")


def options_for(seed: int, *, short_ttl: bool = False, snapshot: bool = False) -> Options:
    """The options of a seed: mostly explicit timestamps with ties, sometimes the client's clock and conditions.

    Before a snapshot nothing is in the future and no counter is deleted: what a deletion hid, and what one will hide of
    later increments, CQL does not show.
    """
    rng = random.Random(f"options {seed}")
    timestamps = rng.choice([(1, 2), (1, 5), (1, 5), (1, 30), None])
    return Options(
        timestamps=timestamps,
        odd_times=0.0 if snapshot else rng.choice((0.0, 0.0, 0.0, 0.02)),
        partitions=rng.choice((1, 3, 10)),
        clusterings=rng.choice((2, 3, 6)),
        ttl=rng.choice((0.0, 0.1, 0.4)),
        short_ttl=0.2 if short_ttl else 0.0,
        batch=rng.choice((0.0, 0.1, 0.3)),
        conditional=0.05 if timestamps is None else 0.0,
        deletions=rng.choice((0.2, 1.0, 2.0)),
        counter_deletions=not snapshot,
    )


def later(options: Options) -> Options:
    """The same with timestamps that are all newer than before, and with deletions of counters."""
    options = replace(options, counter_deletions=True)
    if options.timestamps is None:
        return options
    first, last = options.timestamps
    return replace(options, timestamps=(last + 1, 2 * last - first + 1))


def behind(snapshot: Options, options: Options) -> Options:
    """What may follow a run that began with a snapshot: nothing older than a deletion that the snapshot did not see."""
    options = replace(options, odd_times=0.0)
    if snapshot.timestamps is None:
        return replace(options, timestamps=None)
    if options.timestamps is None:
        return options
    newest = later(snapshot).timestamps
    assert newest is not None
    first, last = options.timestamps
    return replace(options, timestamps=(newest[1] + first, newest[1] + last))


@contextmanager
def connection_to(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection as the loader uses it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        register(connection)
        yield connection
