"""A load on Cassandra that makes a given number of mutations as fast as one node takes them.

Invariant: the statements follow from the seed alone; each statement is one mutation, because those of a batch are on
partitions of their own.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from cassandra.concurrent import execute_concurrent_with_args
from cassandra.query import BatchStatement, BatchType

SHOPS: Final = 500
NUMBERS: Final = 12
CUSTOMERS: Final = 4000
FIRST_CUSTOMER: Final = 10_000
# Rows that are there before; some of them lie where the load writes.
EXISTING: Final = 1500
# Partitions of one batch: from eleven on Cassandra warns of each.
BATCH_MAX: Final = 10
REQUESTS_UNDER_WAY: Final = 24

TABLES: Final = (
    "CREATE TABLE {ks}.orders (shop int, number int, region text static, rank int static, note text, amount bigint, "
    "tags set<text>, attributes map<text, int>, steps list<int>, PRIMARY KEY (shop, number)) "
    "WITH cdc = true AND CLUSTERING ORDER BY (number DESC)",
    "CREATE TABLE {ks}.customers (id int PRIMARY KEY, name text, balance decimal, seen timestamp) WITH cdc = true",
)


class Kind(NamedTuple):
    """A statement: CQL, and the values behind its partition key (which is the first mark, or `key_last` the last)."""

    weight: int
    cql: str
    values: Callable[[random.Random], tuple[Any, ...]]
    key_last: bool = False


def _number(rng: random.Random) -> int:
    return rng.randrange(NUMBERS)


def _value(rng: random.Random) -> int:
    return rng.randrange(1000)


_ROW: Final = "WHERE number = ? AND shop = ?"
ORDERS: Final = (
    Kind(
        20,
        "INSERT INTO {ks}.orders (shop, number, note, amount, tags) VALUES (?, ?, ?, ?, ?)",
        lambda rng: (_number(rng), f"n{_value(rng)}", _value(rng), {"a", f"t{rng.randrange(5)}"}),
    ),
    Kind(15, f"UPDATE {{ks}}.orders SET amount = ? {_ROW}", lambda rng: (_value(rng), _number(rng)), True),
    Kind(3, f"UPDATE {{ks}}.orders SET note = ? {_ROW}", lambda rng: (None, _number(rng)), True),
    Kind(
        5, f"UPDATE {{ks}}.orders SET tags = tags + ? {_ROW}", lambda rng: ({f"t{_value(rng) % 9}"}, _number(rng)), True
    ),
    Kind(
        4, f"UPDATE {{ks}}.orders SET tags = tags - ? {_ROW}", lambda rng: ({f"t{_value(rng) % 9}"}, _number(rng)), True
    ),
    Kind(
        5,
        f"UPDATE {{ks}}.orders SET attributes[?] = ? {_ROW}",
        lambda rng: (f"k{rng.randrange(4)}", _value(rng), _number(rng)),
        True,
    ),
    Kind(2, f"UPDATE {{ks}}.orders SET attributes = ? {_ROW}", lambda rng: ({"k0": _value(rng)}, _number(rng)), True),
    Kind(2, f"UPDATE {{ks}}.orders SET steps = steps + ? {_ROW}", lambda rng: ([_value(rng)], _number(rng)), True),
    Kind(3, "UPDATE {ks}.orders SET region = ?, rank = ? WHERE shop = ?", lambda rng: (f"r{_value(rng)}", 1), True),
    Kind(
        3,
        "INSERT INTO {ks}.orders (shop, number, note) VALUES (?, ?, ?) USING TTL ?",
        lambda rng: (_number(rng), "brief", rng.randint(1, 4)),
    ),
    Kind(4, "DELETE FROM {ks}.orders WHERE shop = ? AND number = ?", lambda rng: (_number(rng),)),
    Kind(2, "DELETE amount FROM {ks}.orders WHERE shop = ? AND number = ?", lambda rng: (_number(rng),)),
    Kind(
        3,
        "DELETE FROM {ks}.orders WHERE shop = ? AND number > ? AND number <= ?",
        lambda rng: (number := _number(rng), number + 3),
    ),
    Kind(1, "DELETE FROM {ks}.orders WHERE shop = ?", lambda _: ()),
)
CUSTOMER: Final = (
    Kind(
        15,
        "INSERT INTO {ks}.customers (id, name, balance, seen) VALUES (?, ?, ?, ?)",
        lambda rng: (f"c{_value(rng)}", _value(rng), 1_700_000_000_000 + _value(rng)),
    ),
    Kind(10, "UPDATE {ks}.customers SET name = ? WHERE id = ?", lambda rng: (f"u{_value(rng)}",), True),
    Kind(4, "UPDATE {ks}.customers SET seen = ? WHERE id = ?", lambda rng: (_value(rng),), True),
    Kind(
        3,
        "UPDATE {ks}.customers USING TTL ? SET name = ? WHERE id = ?",
        lambda rng: (rng.randint(1, 4), "brief"),
        True,
    ),
    Kind(3, "DELETE FROM {ks}.customers WHERE id = ?", lambda _: ()),
    Kind(3, "DELETE seen FROM {ks}.customers WHERE id = ?", lambda _: ()),
)


def create_tables(session: Any, keyspace: str, *, touched: bool) -> None:
    """The two tables of the load, with rows that only a snapshot finds; `touched`: the load changes some of them, which
    makes loaders read rows again.
    """
    for statement in TABLES:
        session.execute(statement.format(ks=keyspace))
    shop, customer = (0, FIRST_CUSTOMER) if touched else (SHOPS, FIRST_CUSTOMER + CUSTOMERS)
    orders = session.prepare(f"INSERT INTO {keyspace}.orders (shop, number, note, amount) VALUES (?, ?, ?, ?)")
    customers = session.prepare(f"UPDATE {keyspace}.customers SET name = ? WHERE id = ?")
    execute_concurrent_with_args(
        session, orders, [(shop + 2 * i, i % NUMBERS, f"old {i}", i) for i in range(EXISTING)], concurrency=64
    )
    execute_concurrent_with_args(
        session, customers, [(f"old {i}", customer + 3 * i) for i in range(EXISTING)], concurrency=64
    )


class Load:
    """A thread that writes `mutations` to `keyspace`, at most `rate` a second."""

    def __init__(self, session: Any, keyspace: str, seed: int | str, mutations: int, rate: float) -> None:
        self.sent = 0
        self.seconds = 0.0
        self.failure: BaseException | None = None
        self._session = session
        self._rng = random.Random(seed)
        self._mutations = mutations
        self._rate = rate
        self._stop = threading.Event()
        self._orders = [(kind, session.prepare(kind.cql.format(ks=keyspace))) for kind in ORDERS]
        self._customers = [(kind, session.prepare(kind.cql.format(ks=keyspace))) for kind in CUSTOMER]
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    @property
    def progress(self) -> float:
        """How much of it was sent, 0 to 1."""
        return self.sent / self._mutations

    @property
    def running(self) -> bool:
        """Whether there is more to send."""
        return self._thread.is_alive()

    def wait(self, progress: float, timeout_s: float) -> None:
        """Return when so much of it was sent."""
        deadline = time.monotonic() + timeout_s
        while self.progress < progress and self.running:
            assert time.monotonic() < deadline, f"the load is at {self.sent} of {self._mutations}"
            time.sleep(0.01)

    def finish(self, timeout_s: float) -> None:
        """Wait for all of it; raises what a statement failed with."""
        self._thread.join(timeout_s)
        if self.failure is not None:
            raise self.failure
        assert not self.running, f"the load is at {self.sent} of {self._mutations}"

    def stop(self) -> None:
        """Send nothing more."""
        self._stop.set()
        self._thread.join(30.0)

    def _run(self) -> None:
        under_way: deque[Any] = deque()
        begin = time.monotonic()
        try:
            while self.sent < self._mutations and not self._stop.is_set():
                count = 1 if self._rng.random() < 0.2 else self._rng.randint(2, BATCH_MAX)
                count = min(count, self._mutations - self.sent)
                under_way.append(self._session.execute_async(self._request(count)))
                self.sent += count
                while len(under_way) >= REQUESTS_UNDER_WAY:
                    under_way.popleft().result()
                self._stop.wait(max(0.0, begin + self.sent / self._rate - time.monotonic()))
            for future in under_way:
                future.result()
        except BaseException as error:
            self.failure = error
        self.seconds = time.monotonic() - begin

    def _request(self, count: int) -> Any:
        """`count` statements on as many partitions of one table."""
        rng = self._rng
        orders = rng.random() < 0.65
        first, partitions = (0, SHOPS) if orders else (FIRST_CUSTOMER, CUSTOMERS)
        statements = self._orders if orders else self._customers
        weights = [kind.weight for kind, _ in statements]
        bound = []
        keys = rng.sample(range(first, first + partitions), count)
        for key, (kind, prepared) in zip(keys, rng.choices(statements, weights, k=count), strict=True):
            values = kind.values(rng)
            bound.append(prepared.bind((*values, key) if kind.key_last else (key, *values)))
        if count == 1:
            return bound[0]
        batch = BatchStatement(BatchType.LOGGED if rng.random() < 0.02 else BatchType.UNLOGGED)
        for statement in bound:
            batch.add(statement)
        return batch
