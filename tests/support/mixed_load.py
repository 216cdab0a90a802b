"""A mixed load on a Cassandra keyspace: every kind of write on rows and partitions that collide often.

Invariant: the statements and their order follow from the seed alone; how fast they come does not.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import Any, Final

from cassandra.concurrent import execute_concurrent_with_args

PARTITIONS: Final = 40
CLUSTERINGS: Final = 12
CUSTOMERS: Final = 300
# Statements under way at once: enough for some thousand a second, few enough to keep the driver's queue short.
IN_FLIGHT: Final = 32

TABLES: Final = (
    "CREATE TABLE {ks}.orders (shop int, number int, region text static, rank int static, "
    "note text, amount bigint, tags set<text>, attributes map<text, int>, PRIMARY KEY (shop, number)) "
    "WITH cdc = true AND CLUSTERING ORDER BY (number DESC)",
    "CREATE TABLE {ks}.customers (id int PRIMARY KEY, name text, balance decimal, seen timestamp) WITH cdc = true",
)


def create_tables(session: Any, keyspace: str) -> None:
    """The two tables of the load."""
    for statement in TABLES:
        session.execute(statement.format(ks=keyspace))


def fill(session: Any, keyspace: str, rows: int) -> None:
    """Existing rows, outside the keys that the load touches: they come only by the snapshot."""
    orders = session.prepare(f"INSERT INTO {keyspace}.orders (shop, number, note, amount) VALUES (?, ?, ?, ?)")
    customers = session.prepare(f"INSERT INTO {keyspace}.customers (id, name) VALUES (?, ?)")
    half = rows // 2
    execute_concurrent_with_args(
        session, orders, ((1000 + i // 50, i % 50, f"order {i}", i) for i in range(half)), concurrency=IN_FLIGHT
    )
    execute_concurrent_with_args(
        session, customers, ((10_000 + i, f"customer {i}") for i in range(rows - half)), concurrency=64
    )


def statement(rng: random.Random, keyspace: str) -> tuple[str, str]:
    """The kind of a random statement and its text.

    Some rows are made by UPDATE alone and lose their last value later: Cassandra drops them then, and CQL does not
    show a snapshot which rows these are.
    """
    orders, customers = f"{keyspace}.orders", f"{keyspace}.customers"
    shop, number, value = rng.randrange(PARTITIONS), rng.randrange(CLUSTERINGS), rng.randrange(1000)
    customer = rng.randrange(CUSTOMERS)
    row = f"shop = {shop} AND number = {number}"
    update = f"UPDATE {orders} SET"
    kinds = {
        "insert": f"INSERT INTO {orders} (shop, number, note, amount, tags) "
        f"VALUES ({shop}, {number}, 'n{value}', {value}, {{'a', 't{value % 5}'}})",
        "insert_customer": f"INSERT INTO {customers} (id, name, balance, seen) "
        f"VALUES ({customer}, 'c{value}', {value}.50, {1_700_000_000_000 + value})",
        "update": f"{update} amount = {value} WHERE {row}",
        "update_customer": f"UPDATE {customers} SET name = 'u{value}' WHERE id = {customer}",
        "update_seen": f"UPDATE {customers} SET seen = {value} WHERE id = {customer}",
        "null": f"{update} note = null WHERE {row}",
        "add_element": f"{update} tags = tags + {{'t{value % 9}'}} WHERE {row}",
        "remove_element": f"{update} tags = tags - {{'t{value % 9}'}} WHERE {row}",
        "put_key": f"{update} attributes['k{value % 4}'] = {value} WHERE {row}",
        "static": f"UPDATE {orders} SET region = 'r{value}', rank = {value} WHERE shop = {shop}",
        "ttl": f"INSERT INTO {orders} (shop, number, note) VALUES ({shop}, {number}, 'ttl') USING TTL {1 + value % 4}",
        "ttl_cell": f"UPDATE {customers} USING TTL {1 + value % 4} SET name = 'brief' WHERE id = {customer}",
        "delete_row": f"DELETE FROM {orders} WHERE {row}",
        "delete_customer": f"DELETE FROM {customers} WHERE id = {customer}",
        "delete_seen": f"DELETE seen FROM {customers} WHERE id = {customer}",
        "delete_cell": f"DELETE amount FROM {orders} WHERE {row}",
        "delete_range": f"DELETE FROM {orders} WHERE shop = {shop} AND number > {number} AND number <= {number + 3}",
        "delete_partition": f"DELETE FROM {orders} WHERE shop = {shop}",
        "batch": f"BEGIN BATCH INSERT INTO {orders} (shop, number, note) VALUES ({shop}, {number}, 'b{value}'); "
        f"UPDATE {orders} SET region = 'batch' WHERE shop = {shop}; "
        f"DELETE FROM {orders} WHERE shop = {shop} AND number = {(number + 1) % CLUSTERINGS}; APPLY BATCH",
    }
    weights = [20, 15, 10, 10, 3, 3, 5, 5, 5, 3, 3, 3, 4, 3, 3, 2, 3, 1, 2]
    kind = rng.choices(list(kinds), weights)[0]
    return kind, kinds[kind]


class MixedLoad:
    """A thread that writes to `keyspace` at `rate` statements a second until it is stopped."""

    def __init__(self, session: Any, keyspace: str, seed: int, rate: int) -> None:
        self.counts: Counter[str] = Counter()
        self._session = session
        self._keyspace = keyspace
        self._rng = random.Random(seed)
        self._rate = rate
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> MixedLoad:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the thread; raises what a statement failed with."""
        self._stop.set()
        self._thread.join(30)
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        pending: list[Any] = []
        begin, sent = time.monotonic(), 0
        try:
            while not self._stop.is_set():
                kind, text = statement(self._rng, self._keyspace)
                pending.append(self._session.execute_async(text))
                self.counts[kind] += 1
                sent += 1
                if len(pending) >= IN_FLIGHT:
                    for future in pending:
                        future.result()
                    pending.clear()
                    self._stop.wait(max(0.0, begin + sent / self._rate - time.monotonic()))
            for future in pending:
                future.result()
        except BaseException as error:
            self._failure = error
