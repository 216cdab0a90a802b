"""Bursts of writes of every kind, with write times of now, long ago and still to come; new columns; TRUNCATE.

Invariant: the statements of a burst follow from the generator it is given; each was acknowledged when it returns.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from cassandra.query import SimpleStatement

from tests.chaos.world import Servers

TABLES: Final = (
    "CREATE TABLE {ks}.orders (shop int, number int, region text static, rank int static, note text, amount bigint, "
    "tags set<text>, attributes map<text, int>, steps list<int>, PRIMARY KEY (shop, number)) "
    "WITH cdc = true AND CLUSTERING ORDER BY (number DESC)",
    "CREATE TABLE {ks}.customers (id int PRIMARY KEY, name text, balance decimal, seen timestamp) WITH cdc = true",
    "CREATE TABLE {ks}.visits (page int PRIMARY KEY, seen counter, left counter) WITH cdc = true",
)
SHOPS: Final = 20
NUMBERS: Final = 10
CUSTOMERS: Final = 120
PAGES: Final = 12
EXISTING: Final = 600
BURST_MAX: Final = 1500
COLUMNS_MAX: Final = 6
UNDER_WAY: Final = 16
# Write times that no clock of today gives: those to come win over what is written now, on both sides.
PAST: Final = 1_000_000_000_000_000
FUTURE: Final = 4_000_000_000_000_000

Statement = Callable[[random.Random, str], str]


def _row(rng: random.Random) -> str:
    return f"shop = {rng.randrange(SHOPS)} AND number = {rng.randrange(NUMBERS)}"


def _at(rng: random.Random) -> str:
    """Most often the node's clock decides; else few different write times, so that ties are common."""
    kind = rng.random()
    if kind < 0.8:
        return ""
    return f" USING TIMESTAMP {(PAST if kind < 0.93 else FUTURE) + rng.randrange(6)}"


def _value(rng: random.Random) -> int:
    return rng.randrange(1000)


STATEMENTS: Final[tuple[tuple[int, Statement], ...]] = (
    (
        18,
        lambda r, ks: (
            f"INSERT INTO {ks}.orders (shop, number, note, amount, tags) VALUES ({r.randrange(SHOPS)}, "
            f"{r.randrange(NUMBERS)}, 'n{_value(r)}', {_value(r)}, {{'a', 't{r.randrange(5)}'}}){_at(r)}"
        ),
    ),
    (12, lambda r, ks: f"UPDATE {ks}.orders{_at(r)} SET amount = {_value(r)} WHERE {_row(r)}"),
    (4, lambda r, ks: f"UPDATE {ks}.orders{_at(r)} SET note = null WHERE {_row(r)}"),
    (4, lambda r, ks: f"UPDATE {ks}.orders SET tags = tags + {{'t{r.randrange(9)}'}} WHERE {_row(r)}"),
    (3, lambda r, ks: f"UPDATE {ks}.orders SET tags = tags - {{'t{r.randrange(9)}'}} WHERE {_row(r)}"),
    (4, lambda r, ks: f"UPDATE {ks}.orders SET attributes['k{r.randrange(4)}'] = {_value(r)} WHERE {_row(r)}"),
    (2, lambda r, ks: f"UPDATE {ks}.orders{_at(r)} SET attributes = {{'k0': {_value(r)}}} WHERE {_row(r)}"),
    (3, lambda r, ks: f"UPDATE {ks}.orders SET steps = steps + [{_value(r)}] WHERE {_row(r)}"),
    (
        4,
        lambda r, ks: (
            f"UPDATE {ks}.orders{_at(r)} SET region = 'r{_value(r)}', rank = 1 WHERE shop = {r.randrange(SHOPS)}"
        ),
    ),
    (
        4,
        lambda r, ks: (
            f"INSERT INTO {ks}.orders (shop, number, note) VALUES ({r.randrange(SHOPS)}, {r.randrange(NUMBERS)}, "
            f"'brief') USING TTL {r.randint(1, 4)}"
        ),
    ),
    (4, lambda r, ks: f"DELETE FROM {ks}.orders{_at(r)} WHERE {_row(r)}"),
    (3, lambda r, ks: f"DELETE amount FROM {ks}.orders{_at(r)} WHERE {_row(r)}"),
    (
        3,
        lambda r, ks: (
            f"DELETE FROM {ks}.orders{_at(r)} WHERE shop = {r.randrange(SHOPS)} AND number > {r.randrange(NUMBERS)}"
        ),
    ),
    (1, lambda r, ks: f"DELETE FROM {ks}.orders{_at(r)} WHERE shop = {r.randrange(SHOPS)}"),
    (
        12,
        lambda r, ks: (
            f"INSERT INTO {ks}.customers (id, name, balance) VALUES ({r.randrange(CUSTOMERS)}, 'c{_value(r)}', "
            f"{_value(r)}){_at(r)}"
        ),
    ),
    (8, lambda r, ks: f"UPDATE {ks}.customers{_at(r)} SET name = 'u{_value(r)}' WHERE id = {r.randrange(CUSTOMERS)}"),
    (3, lambda r, ks: f"UPDATE {ks}.customers SET seen = {_value(r)} WHERE id = {r.randrange(CUSTOMERS)}"),
    (
        3,
        lambda r, ks: (
            f"UPDATE {ks}.customers USING TTL {r.randint(1, 4)} SET name = 'b' WHERE id = {r.randrange(CUSTOMERS)}"
        ),
    ),
    (4, lambda r, ks: f"DELETE FROM {ks}.customers{_at(r)} WHERE id = {r.randrange(CUSTOMERS)}"),
    (3, lambda r, ks: f"DELETE seen FROM {ks}.customers WHERE id = {r.randrange(CUSTOMERS)}"),
    (6, lambda r, ks: f"UPDATE {ks}.visits SET seen = seen + {r.randint(-2, 5)} WHERE page = {r.randrange(PAGES)}"),
    (2, lambda r, ks: f"UPDATE {ks}.visits SET left = left + 1 WHERE page = {r.randrange(PAGES)}"),
    (
        3,
        lambda r, ks: (
            f"BEGIN BATCH{_at(r)} UPDATE {ks}.customers SET name = 'one{_value(r)}' "
            f"WHERE id = {r.randrange(CUSTOMERS)}; "
            f"UPDATE {ks}.orders SET note = 'two{_value(r)}' WHERE {_row(r)}; APPLY BATCH"
        ),
    ),
    (
        2,
        lambda r, ks: f"INSERT INTO {ks}.customers (id, name) VALUES ({r.randrange(CUSTOMERS)}, 'first') IF NOT EXISTS",
    ),
)


@dataclass(slots=True)
class Writer:
    """Writes to `keyspace`, past every proxy; `servers` has the session, another one after a restart of the node."""

    servers: Servers
    keyspace: str
    columns: list[tuple[str, str, str]] = field(default_factory=list)
    written: int = 0

    def create(self) -> None:
        """The tables, with rows that only a snapshot finds."""
        for table in TABLES:
            self.servers.session.execute(table.format(ks=self.keyspace))
        rng = random.Random(self.keyspace)
        self._all([self._statement(rng) for _ in range(EXISTING)])

    def burst(self, rng: random.Random) -> str:
        """Some writes; all are acknowledged when it returns."""
        count = rng.choice((1, 5, 40, 300, BURST_MAX))
        self._all([self._statement(rng) for _ in range(count)])
        return str(count)

    def add_column(self, rng: random.Random) -> str:
        """One more column of one table, written to from now on: the copy gets it with the first write."""
        if len(self.columns) >= COLUMNS_MAX:
            return "there are enough"
        table, name = rng.choice(("orders", "customers")), f"extra{len(self.columns)}"
        type_, value = rng.choice((("int", "7"), ("text", "'seven'"), ("set<int>", "{7, 8}")))
        self.servers.session.execute(f"ALTER TABLE {self.keyspace}.{table} ADD {name} {type_}", timeout=60)
        self.columns.append((table, name, value))
        self._all([self._to_column(rng, self.columns[-1])])
        return f"{table}.{name} {type_}"

    def truncate(self, rng: random.Random) -> str:
        """TRUNCATE one table."""
        table = rng.choice(("orders", "customers", "visits"))
        self.servers.session.execute(f"TRUNCATE {self.keyspace}.{table}", timeout=60)
        return table

    def _statement(self, rng: random.Random) -> str:
        if self.columns and rng.random() < 0.1:
            return self._to_column(rng, rng.choice(self.columns))
        (_, make) = rng.choices(STATEMENTS, [weight for weight, _ in STATEMENTS])[0]
        return make(rng, self.keyspace)

    def _to_column(self, rng: random.Random, column: tuple[str, str, str]) -> str:
        table, name, value = column
        where = _row(rng) if table == "orders" else f"id = {rng.randrange(CUSTOMERS)}"
        return f"UPDATE {self.keyspace}.{table}{_at(rng)} SET {name} = {value} WHERE {where}"

    def _all(self, statements: list[str]) -> None:
        under_way: deque[Any] = deque()
        for text in statements:
            under_way.append(self.servers.session.execute_async(SimpleStatement(text)))
            if len(under_way) >= UNDER_WAY:
                under_way.popleft().result()
        for future in under_way:
            future.result()
        self.written += len(statements)
