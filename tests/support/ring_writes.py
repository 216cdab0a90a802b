"""Writes to a ring: random ones through all coordinators, and counters of which is known what must come of them.

Invariant: a statement is over before its outcome is expected.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from cassandra import ConsistencyLevel
from cassandra.query import SimpleStatement

from casscade.devstack.cassandra import CassandraNode
from casscade.testing.runner import Runner
from casscade.testing.tables import SampleTable
from casscade.testing.workload import Workload
from tests.support.differential import options_for
from tests.support.ring import KEYSPACE, Ring

UNDER_WAY: Final = 32
PARTITIONS, ROWS = 12, 8
COUNTERS: Final = (
    f"CREATE TABLE {KEYSPACE}.counters (p int, c int, s counter static, n counter, m counter, PRIMARY KEY (p, c))"
)
STATICS: Final = f"SELECT DISTINCT p, s FROM {KEYSPACE}.counters"
# Before the snapshot the write times lie in the first range: what was deleted then, nobody can know later.
OLDEST, NEWEST_OLD = 1, 30


@contextmanager
def runners(ring: Ring, under_way: int = 64) -> Iterator[list[Runner]]:
    """One for each consistency level; the driver asks all coordinators in turn."""
    opened: list[Runner] = []
    drivers: list[Any] = []
    try:
        for level in (ConsistencyLevel.ONE, ConsistencyLevel.QUORUM):
            driver = ring.cluster.connect(level)
            drivers.append(driver)
            opened.append(Runner(driver.connect(), under_way=under_way))
        yield opened
    finally:
        for runner in opened:
            runner.close()
        for driver in drivers:
            driver.shutdown()


def write_at_random(
    ring: Ring, tables: Sequence[SampleTable], seed: int, operations: int, first: int = NEWEST_OLD + 1
) -> int:
    """Random operations at ONE or QUORUM with write times (if explicit ones) behind `first`, in microseconds.

    Returns how many statements Cassandra accepted.
    """
    rng = random.Random(f"levels {seed}")
    options = replace(options_for(seed, snapshot=True), conditional=0.0)
    oldest, newest = options.timestamps or (1, NEWEST_OLD)
    if options.timestamps is not None or first == OLDEST:
        options = replace(options, timestamps=(oldest - 1 + first, newest - 1 + first))
    workload = Workload(seed, KEYSPACE, tables, options)
    with runners(ring) as both:
        for _ in range(operations):
            rng.choice(both).execute(next(workload))
        for runner in both:
            runner.flush()
        return sum(runner.statements for runner in both)


class Coordinators:
    """Prepared statements, each sent to a node by name; at most `UNDER_WAY` are not answered yet."""

    def __init__(self, ring: Ring, nodes: Sequence[CassandraNode]) -> None:
        self._session = ring.session
        hosts = {host.address: host for host in ring.session.cluster.metadata.all_hosts()}
        self.hosts = [hosts[node.address] for node in nodes]
        self._prepared: dict[str, Any] = {}
        self._sent: deque[Any] = deque()

    def send(self, text: str, values: tuple[Any, ...], host: Any, level: int) -> None:
        """Send one statement; errors are raised by a later call."""
        statement = self._prepared.get(text)
        if statement is None:
            statement = self._prepared[text] = self._session.prepare(text)
        bound = statement.bind(values)
        bound.consistency_level = level
        self._sent.append(self._session.execute_async(bound, host=host))
        while len(self._sent) >= UNDER_WAY:
            self._sent.popleft().result()

    def flush(self) -> None:
        """Wait for all answers."""
        while self._sent:
            self._sent.popleft().result()


@dataclass(slots=True)
class CounterBook:
    """What the table `counters` must hold: `rows` by (p, c) and `statics` by p.

    What was deleted is not used again, unless `revived`: what there is then, Cassandra alone knows.
    """

    seed: int
    rows: dict[tuple[int, int], Counter[str]] = field(default_factory=dict)
    statics: Counter[int] = field(default_factory=Counter)
    gone: set[tuple[int, int]] = field(default_factory=set)
    revived: set[tuple[int, int]] = field(default_factory=set)
    sent: int = 0

    def add(self, ring: Ring, nodes: Sequence[CassandraNode], count: int) -> None:
        """Add and subtract through each of `nodes` in turn, at ONE and at QUORUM; a quarter are two in one mutation."""
        rng = random.Random(f"counters {self.seed} {self.sent}")
        table = f"{KEYSPACE}.counters"
        coordinators = Coordinators(ring, nodes)
        for number in range(count):
            host = coordinators.hosts[number % len(coordinators.hosts)]
            level = rng.choice((ConsistencyLevel.ONE, ConsistencyLevel.QUORUM))
            p, c = rng.randrange(PARTITIONS), rng.randrange(ROWS)
            step = rng.choice((1, 1, 2, 1000, -3, 1 << 40))
            kind = rng.randrange(8)
            if kind == 0:
                # One at a time: Cassandra takes no lock for static counters (`CounterMutation.getCounterLockKeys`
                # goes through the rows alone), so that additions of one moment at one leader are lost.
                coordinators.flush()
                coordinators.send(f"UPDATE {table} SET s = s + ? WHERE p = ?", (step, p), host, level)
                coordinators.flush()
                self.statics[p] += step
                continue
            if (p, c) in self.gone:
                continue
            row = self.rows.setdefault((p, c), Counter())
            if kind == 1:
                coordinators.send(f"UPDATE {table} SET n = n - ? WHERE p = ? AND c = ?", (step, p, c), host, level)
                row["n"] -= step
            elif kind < 4:
                text = f"UPDATE {table} SET n = n + ?, m = m - ? WHERE p = ? AND c = ?"
                coordinators.send(text, (step, 2 * step, p, c), host, level)
                row["n"] += step
                row["m"] -= 2 * step
            else:
                column = rng.choice("nm")
                text = f"UPDATE {table} SET {column} = {column} + ? WHERE p = ? AND c = ?"
                coordinators.send(text, (step, p, c), host, level)
                row[column] += step
        coordinators.flush()
        self.sent += count

    def delete(self, ring: Ring, nodes: Sequence[CassandraNode], count: int, level: int) -> None:
        """Delete some rows for good."""
        rng = random.Random(f"delete counters {self.seed} {self.sent} {len(self.gone)}")
        coordinators = Coordinators(ring, nodes)
        for number, (p, c) in enumerate(rng.sample(sorted(self.rows), count)):
            host = coordinators.hosts[number % len(coordinators.hosts)]
            coordinators.send(f"DELETE FROM {KEYSPACE}.counters WHERE p = ? AND c = ?", (p, c), host, level)
            del self.rows[p, c]
            self.gone.add((p, c))
        coordinators.flush()

    def revive(self, ring: Ring, nodes: Sequence[CassandraNode]) -> None:
        """Add to what was deleted everywhere; how much is there then is up to Cassandra's caches."""
        coordinators = Coordinators(ring, nodes)
        for number, (p, c) in enumerate(sorted(self.gone)):
            host = coordinators.hosts[number % len(coordinators.hosts)]
            text = f"UPDATE {KEYSPACE}.counters SET n = n + 5 WHERE p = ? AND c = ?"
            coordinators.send(text, (p, c), host, ConsistencyLevel.QUORUM)
        coordinators.flush()
        self.revived |= self.gone

    def check(self, ring: Ring) -> None:
        """Both sides hold what was added."""
        expected = sorted((p, c, row.get("n"), row.get("m")) for (p, c), row in self.rows.items())
        query = f"SELECT p, c, n, m FROM {KEYSPACE}.counters"
        shown = ring.session.execute(SimpleStatement(query, consistency_level=ConsistencyLevel.ALL))
        assert self._known(shown) == expected, "Cassandra"
        assert self._known(ring.rows(query)) == expected, "PostgreSQL"
        statics = f"SELECT p, s FROM {KEYSPACE}.counters_static"
        shown = ring.session.execute(SimpleStatement(STATICS, consistency_level=ConsistencyLevel.ALL))
        assert {row.p: row.s for row in shown} == self.statics, "statics in Cassandra"
        assert dict(ring.rows(statics)) == self.statics, "statics in PostgreSQL"

    def _known(self, rows: Any) -> list[tuple[Any, ...]]:
        return sorted(tuple(row) for row in rows if row[1] is not None and (row[0], row[1]) not in self.revived)
