"""Random changes of schema under a continuous load, an agent and two loaders over Kafka: both sides equal in the end.

    python -m tests.chaos.schema_run --seed 7 --changes 100

Invariant: everything follows from the seed but what the clocks of the servers decide; the exit status is 0 only if no
process ended, nothing became a dead letter, and both sides are equal. It prints the time from each ALTER ... ADD to the
column in PostgreSQL.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from cassandra import InvalidRequest, OperationTimedOut, WriteTimeout

from tests.chaos.site import Pipeline, pipeline, site
from tests.support.both_sides import describe

TYPES: Final[dict[str, Callable[[random.Random], str]]] = {
    "int": lambda rng: str(rng.randrange(1000)),
    "bigint": lambda rng: str(rng.randrange(1 << 40)),
    "text": lambda rng: f"'t{rng.randrange(1000)}'",
    "boolean": lambda rng: rng.choice(("true", "false")),
    "double": lambda rng: f"{rng.randrange(1000)}.5",
    "timestamp": lambda rng: str(1_700_000_000_000 + rng.randrange(1 << 30)),
    "set<text>": lambda rng: f"{{'a', 'b{rng.randrange(9)}'}}",
    "map<text, int>": lambda rng: f"{{'k{rng.randrange(4)}': {rng.randrange(99)}}}",
    "frozen<place>": lambda rng: f"{{lat: {rng.randrange(90)}.25}}",
}
COLUMNS_MAX: Final = 12
SHOWN_S_MAX: Final = 30.0
WRITES_PER_SECOND: Final = 150
KEYS: Final = 40


@dataclass(slots=True)
class Table:
    """A table as it should be now: `dropped` has the types of columns that can be added again."""

    name: str
    key: str = "c"
    regulars: dict[str, str] = field(default_factory=dict)
    statics: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)


class Writer(threading.Thread):
    """Writes to whatever tables there are, until `stop`; a statement that met a change is none."""

    def __init__(self, on: Pipeline, tables: list[Table], seed: int) -> None:
        super().__init__(name="load", daemon=True)
        self._on, self._tables, self._rng = on, tables, random.Random(seed)
        self.stopped = threading.Event()
        self.counts: Counter[str] = Counter()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stopped.wait(1 / WRITES_PER_SECOND):
                try:
                    self._on.site.session.execute(self._statement())
                    self.counts["written"] += 1
                except InvalidRequest:
                    self.counts["refused"] += 1
                except (OperationTimedOut, WriteTimeout):
                    self.counts["unknown"] += 1
        except BaseException as error:
            self.failure = error

    def _statement(self) -> str:
        rng = self._rng
        table = rng.choice(self._tables)
        name = f"{self._on.keyspace}.{table.name}"
        regulars, statics = dict(table.regulars), dict(table.statics)
        where = f"p = 'p{rng.randrange(KEYS)}' AND {table.key} = {rng.randrange(5)}"
        if rng.random() < 0.1 or not regulars:
            return f"DELETE FROM {name} WHERE {where}"
        chosen = rng.sample(sorted(regulars), rng.randint(1, len(regulars)))
        sets = [f"{column} = {TYPES[regulars[column]](rng)}" for column in chosen]
        if rng.random() < 0.3:
            ttl = " USING TTL 3600" if rng.random() < 0.3 else ""
            return f"UPDATE {name}{ttl} SET {', '.join(sets)} WHERE {where}"
        if rng.random() < 0.1:
            return f"DELETE {chosen[0]} FROM {name} WHERE {where}"
        names = ["p", table.key, *chosen]
        values = [f"'p{rng.randrange(KEYS)}'", str(rng.randrange(5))] + [TYPES[regulars[c]](rng) for c in chosen]
        for column, type_ in statics.items():
            if rng.random() < 0.3:
                names.append(column)
                values.append(TYPES[type_](rng))
        return f"INSERT INTO {name} ({', '.join(names)}) VALUES ({', '.join(values)})"


class Changes:
    """Makes random changes; `seconds` has how long each new column took to PostgreSQL."""

    def __init__(self, on: Pipeline, tables: list[Table], seed: int) -> None:
        self._on, self._tables, self._rng = on, tables, random.Random(seed)
        self._number = 0
        self.counts: Counter[str] = Counter()
        self.seconds: list[float] = []
        self._postgres = psycopg.connect(on.dsn, autocommit=True)

    def create(self, name: str) -> Table:
        """CREATE TABLE, with some columns."""
        table = Table(name, regulars={"a": "int", "b": "text", "m": "map<text, int>"})
        columns = ", ".join(f"{column} {type_}" for column, type_ in table.regulars.items())
        self._cql(
            f"CREATE TABLE {self._on.keyspace}.{name} (p text, c int, {columns}, PRIMARY KEY (p, c)) WITH cdc = true"
        )
        return table

    def make(self) -> str:
        """One change; returns what it was."""
        rng = self._rng
        table = rng.choice(self._tables)
        kinds = ["add"] * 8 + ["drop"] * 4 + ["again"] * 4 + ["option"] * 2 + ["static", "rename", "type", "table"]
        kind = rng.choice([*kinds, *(["recreate"] if rng.random() < 0.5 else [])])
        made = getattr(self, f"_{kind}")(table)
        if not made:
            kind, _ = "add", self._add(table)
        self.counts[kind] += 1
        return f"{kind} on {table.name}"

    def _alter(self, table: Table, what: str) -> None:
        self._cql(f"ALTER TABLE {self._on.keyspace}.{table.name} {what}")

    def _cql(self, statement: str) -> None:
        self._on.site.session.execute(statement, timeout=60)

    def _next(self, prefix: str) -> str:
        self._number += 1
        return f"{prefix}{self._number}"

    def _add(self, table: Table, *, static: bool = False) -> bool:
        name, type_ = self._next("s" if static else "n"), self._rng.choice(sorted(TYPES))
        if static:
            type_ = "int"
        self._alter(table, f"ADD {name} {type_}{' static' if static else ''}")
        begin = time.monotonic()
        (table.statics if static else table.regulars)[name] = type_
        relation = f"{table.name}_static" if static else table.name
        self._shown(relation, name, begin)
        if len(table.regulars) > COLUMNS_MAX:
            self._drop(table)
        return True

    def _shown(self, relation: str, column: str, begin: float) -> None:
        query = (
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = %s AND table_name = %s "
            "AND column_name = %s"
        )
        while self._postgres.execute(query, (self._on.keyspace, relation, column)).fetchone() == (0,):
            waited = time.monotonic() - begin
            assert waited < SHOWN_S_MAX, f"{relation}.{column} is not in PostgreSQL after {waited:.0f} s"
            time.sleep(0.01)
        self.seconds.append(time.monotonic() - begin)

    def _drop(self, table: Table) -> bool:
        if len(table.regulars) < 2:
            return False
        name = self._rng.choice(sorted(table.regulars))
        type_ = table.regulars.pop(name)
        if "place" not in type_:  # Cassandra remembers a dropped UDT as a tuple, and refuses to add it again
            table.dropped[name] = type_
        self._alter(table, f"DROP {name}")
        return True

    def _again(self, table: Table) -> bool:
        if not table.dropped:
            return False
        name = self._rng.choice(sorted(table.dropped))
        self._alter(table, f"ADD {name} {table.dropped[name]}")
        table.regulars[name] = table.dropped.pop(name)
        return True

    def _static(self, table: Table) -> bool:
        return self._add(table, static=True)

    def _option(self, table: Table) -> bool:
        self._alter(table, f"WITH gc_grace_seconds = {self._rng.randrange(100_000, 900_000)}")
        return True

    def _rename(self, table: Table) -> bool:
        name = self._next("c")
        self._alter(table, f"RENAME {table.key} TO {name}")
        table.key = name
        return True

    def _type(self, _table: Table) -> bool:
        self._cql(f"ALTER TYPE {self._on.keyspace}.place ADD {self._next('f')} int")
        return True

    def _table(self, _table: Table) -> bool:
        if len(self._tables) >= 6:
            return False
        self._tables.append(self.create(self._next("joined")))
        return True

    def _recreate(self, table: Table) -> bool:
        self._tables.remove(table)
        self._cql(f"DROP TABLE {self._on.keyspace}.{table.name}")
        self._tables.append(self.create(table.name))
        return True


def run(seed: int, changes: int, minutes: float) -> bool:
    """One run; returns whether all is well."""
    with site() as servers, pipeline(servers) as on:
        tables: list[Table] = []
        servers.session.execute(f"CREATE TYPE {on.keyspace}.place (lat double)")
        making = Changes(on, tables, seed)
        tables += [making.create(f"t{number}") for number in range(3)]
        on.start()
        writer = Writer(on, tables, seed + 1)
        writer.start()
        deadline = time.monotonic() + minutes * 60
        done = 0
        while done < changes and time.monotonic() < deadline:
            making.make()
            done += 1
            assert all(member.process.running for member in on.members), on.tails()
        writer.stopped.set()
        writer.join()
        if writer.failure is not None:
            raise writer.failure
        comparisons = on.wait_equal()
        letters = on.rows("SELECT code, count(*) FROM casscade.dead_letters GROUP BY code")
        tell(seed, done, making, writer, comparisons, letters, on)
        equal = not any(one.differences for one in comparisons)
        if equal:
            on.stop()
        return equal and not letters and done == changes


def tell(
    seed: int, done: int, making: Changes, writer: Writer, comparisons: list[Any], letters: list[Any], on: Pipeline
) -> None:
    """Print the figures."""
    seconds = sorted(making.seconds)
    p95 = seconds[max(0, round(len(seconds) * 0.95) - 1)]
    texts = [member.process.text() for member in on.members]
    print(f"seed {seed}: {done} changes {dict(making.counts)}; statements {dict(writer.counts)}")
    figures = f"median {statistics.median(seconds):.2f} s, P95 {p95:.2f} s, longest {seconds[-1]:.2f} s"
    print(f"{len(seconds)} new columns in PostgreSQL: {figures}")
    print(f"parts built anew {sum(text.count('are built anew') for text in texts)} times, no process restarted")
    versions = on.rows("SELECT count(*), count(DISTINCT table_id) FROM casscade.schema_versions")
    print(f"versions in the history: {versions}; dead letters: {letters}")
    print(describe(comparisons), flush=True)


def main() -> int:
    """Run with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=30.0)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    return 0 if run(options.seed, options.changes, options.minutes) else 1


if __name__ == "__main__":
    sys.exit(main())
