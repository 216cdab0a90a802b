"""TRUNCATE on a ring that is written to meanwhile.

Invariant: what was acknowledged by all replicas before a TRUNCATE was sent is expected to be gone, what was sent after
it returned to be there; in between each replica decides, and both sides must show what any replica still has.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from cassandra import ConsistencyLevel
from cassandra.query import SimpleStatement

from casscade.schema.truncations import read_truncations
from tests.support.ring import KEYSPACE, Ring
from tests.support.ring_writes import Coordinators

CUT: Final = (
    f"CREATE TABLE {KEYSPACE}.cut (p int, c int, s int static, v text, l list<int>, m map<int, text>, "
    "PRIMARY KEY (p, c)) WITH cdc = true"
)
Key = tuple[int, int]


@dataclass(slots=True)
class Trickle:
    """Rows of the table `cut`, written at ALL by a thread for each node, one after the other, with ever older times.

    `sent` has by key (thread, number) the moments at which it was sent and acknowledged.
    """

    ring: Ring
    sent: dict[Key, tuple[float, float]] = field(default_factory=dict)
    failures: list[BaseException] = field(default_factory=list)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Write from the beginning to the end of the block."""
        stop = threading.Event()
        threads = [threading.Thread(target=self._write, args=(number, stop)) for number in range(len(self.ring.nodes))]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert self.failures == []

    def flow(self, seconds: float) -> None:
        """Write for a while."""
        with self.flowing():
            time.sleep(seconds)

    def _write(self, number: int, stop: threading.Event) -> None:
        texts = (
            f"INSERT INTO {KEYSPACE}.cut (v, l, p, c) VALUES (?, [1], ?, ?) USING TIMESTAMP ?",
            f"UPDATE {KEYSPACE}.cut USING TIMESTAMP ? SET v = ?, l = [7] + l, m[3] = 'x' WHERE p = ? AND c = ?",
        )
        try:
            coordinators = Coordinators(self.ring, [self.ring.nodes[number]])
            (host,) = coordinators.hosts
            row = max((c for p, c in self.sent if p == number), default=0)
            while not stop.is_set():
                row += 1
                written_at = 1_000_000 - row
                begin = time.monotonic()
                if row % 2:
                    coordinators.send(texts[0], ("past", number, row, written_at), host, ConsistencyLevel.ALL)
                else:
                    coordinators.send(texts[1], (written_at, "past", number, row), host, ConsistencyLevel.ALL)
                coordinators.flush()
                self.sent[number, row] = (begin, time.monotonic())
        except BaseException as error:
            self.failures.append(error)

    def written(self, *, before: float = float("inf"), after: float = 0.0) -> set[Key]:
        """Keys that were acknowledged before a moment and sent after another."""
        return {key for key, (begin, end) in self.sent.items() if end < before and begin > after}

    def check(self, began: float, ended: float) -> str:
        """A TRUNCATE was sent and returned at these moments, and was the last one: both sides hold what they must."""
        gone, there = self.written(before=began), self.written(after=ended)
        assert gone
        assert there
        query = f"SELECT p, c FROM {KEYSPACE}.cut"
        rows = self.ring.session.execute(SimpleStatement(query, consistency_level=ConsistencyLevel.ALL))
        cassandra: set[Key] = {(row.p, row.c) for row in rows}
        postgres: set[Key] = set(self.ring.rows(query))
        assert postgres == cassandra
        assert postgres & gone == set()
        assert there - postgres == set()
        between = len(self.sent) - len(gone) - len(there)
        left = len(postgres - there)
        return f"{len(gone)} rows before it gone, {len(there)} behind it there, {left} left of {between} in between"


def truncate(ring: Ring, table: str) -> tuple[float, float]:
    """Send one; returns the moments at which it was sent and at which it returned."""
    began = time.monotonic()
    ring.session.execute(f"TRUNCATE {KEYSPACE}.{table}", timeout=60)
    return began, time.monotonic()


def wait_truncated(ring: Ring) -> float:
    """Seconds until every source is where its own node recorded the newest truncation of each table."""
    ids: dict[uuid.UUID, str] = {
        row.id: row.table_name
        for row in ring.session.execute(
            f"SELECT table_name, id FROM system_schema.tables WHERE keyspace_name = '{KEYSPACE}'"
        )
    }
    recorded: set[tuple[Any, ...]] = set()
    for source in ring.host_ids:
        found = read_truncations(ring.session, uuid.UUID(source))
        recorded |= {(source, table, *t.position, t.at_ms) for table, t in found.items() if table in ids}
    query = "SELECT source, table_id, segment, segment_offset, truncated_at_ms FROM casscade.truncations"
    return ring.wait(lambda: recorded <= set(ring.rows(f"{query} WHERE NOT rewind_due")), "all sources went back")


def applied(ring: Ring) -> list[int]:
    """How many truncations each process has applied in its life, as the one that emptied the copy."""
    return [int(process.status()["truncations"]["applied"]) for process in ring.processes]
