"""The sample tables of the demo and every statement that is ever sent to them.

Invariant: all data enters through the prepared statements of `STATEMENTS`; the existing rows depend on nothing but
their number.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

KEYSPACE: Final = "shop"
KEYSPACE_CQL: Final = "CREATE KEYSPACE {} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"

TABLES: Final = {
    # A set and a map that grow element by element, and a coupon that expires by itself.
    "customers": """
        CREATE TABLE customers (
            id uuid PRIMARY KEY,
            name text,
            email text,
            country text,
            points int,
            tags set<text>,
            preferences map<text, text>,
            coupon text
        ) WITH cdc = true""",
    # Many orders for each customer, and one credit limit that all of them share.
    "orders": """
        CREATE TABLE orders (
            customer uuid,
            number int,
            status text,
            total decimal,
            items frozen<list<text>>,
            credit_limit int STATIC,
            PRIMARY KEY (customer, number)
        ) WITH cdc = true""",
    # Readings, newest first, each of which expires: after a day, or after seconds.
    "events": """
        CREATE TABLE events (
            device text,
            at timestamp,
            reading double,
            note text,
            PRIMARY KEY (device, at)
        ) WITH cdc = true AND CLUSTERING ORDER BY (at DESC) AND default_time_to_live = 86400""",
}

STATEMENTS: Final = {
    "existing_customer": "INSERT INTO customers (id, name, email, country, points, tags) VALUES (?, ?, ?, ?, ?, ?) "
    "USING TIMESTAMP ?",
    "existing_order": "INSERT INTO orders (customer, number, status, total, items) VALUES (?, ?, ?, ?, ?) "
    "USING TIMESTAMP ?",
    "existing_event": "INSERT INTO events (device, at, reading) VALUES (?, ?, ?) USING TIMESTAMP ?",
    "existing_limit": "UPDATE orders USING TIMESTAMP ? SET credit_limit = ? WHERE customer = ?",
    "insert_customer": "INSERT INTO customers (id, name, email, country, points, tags) VALUES (?, ?, ?, ?, ?, ?)",
    "update_customer": "UPDATE customers SET name = ?, email = ?, country = ?, points = ?, tags = ? WHERE id = ?",
    "set_email": "UPDATE customers SET email = ? WHERE id = ?",
    "set_points": "UPDATE customers SET points = ? WHERE id = ?",
    "set_coupon": "UPDATE customers USING TTL ? SET coupon = ? WHERE id = ?",
    "add_tags": "UPDATE customers SET tags = tags + ? WHERE id = ?",
    "remove_tags": "UPDATE customers SET tags = tags - ? WHERE id = ?",
    "replace_tags": "UPDATE customers SET tags = ? WHERE id = ?",
    "put_preference": "UPDATE customers SET preferences[?] = ? WHERE id = ?",
    "drop_preference": "DELETE preferences[?] FROM customers WHERE id = ?",
    "delete_customer": "DELETE FROM customers WHERE id = ?",
    "insert_order": "INSERT INTO orders (customer, number, status, total, items) VALUES (?, ?, ?, ?, ?)",
    "update_order": "UPDATE orders SET status = ?, total = ?, items = ? WHERE customer = ? AND number = ?",
    "set_status": "UPDATE orders SET status = ? WHERE customer = ? AND number = ?",
    "set_credit_limit": "UPDATE orders SET credit_limit = ? WHERE customer = ?",
    "delete_order": "DELETE FROM orders WHERE customer = ? AND number = ?",
    "delete_order_range": "DELETE FROM orders WHERE customer = ? AND number >= ? AND number < ?",
    "delete_orders": "DELETE FROM orders WHERE customer = ?",
    "insert_event": "INSERT INTO events (device, at, reading, note) VALUES (?, ?, ?, ?)",
    "insert_event_ttl": "INSERT INTO events (device, at, reading, note) VALUES (?, ?, ?, ?) USING TTL ?",
    "delete_event_range": "DELETE FROM events WHERE device = ? AND at >= ? AND at < ?",
    "delete_events": "DELETE FROM events WHERE device = ?",
}

COUNTRIES: Final = ("DE", "FR", "JP", "BR", "NG", "CA")
TAGS: Final = ("new", "vip", "newsletter", "b2b", "returns", "gift")
ITEMS: Final = ("lamp", "desk", "chair", "book", "teapot", "bicycle")
STATES: Final = ("placed", "paid", "packed", "shipped", "delivered")
ORDERS_EACH: Final = 5
DEVICES: Final = 40
FIRST_EVENT: Final = datetime(2026, 1, 1, tzinfo=UTC)

# The demo's last write: when it is in PostgreSQL, so is everything that was written before it.
SENTINEL: Final = uuid.UUID(int=0)


@dataclass(frozen=True, slots=True)
class Write:
    """One request to Cassandra: a statement, or a logged batch of several.

    `kind` is what the proof counts it as; `statements` are names of `STATEMENTS` with their parameters.
    """

    kind: str
    statements: tuple[tuple[str, tuple[Any, ...]], ...]


def customer_id(number: int) -> uuid.UUID:
    """The id of the customer with this number; ids are spread over the whole token ring."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"customer {number}")


def event_time(number: int) -> datetime:
    """The time of a device's event with this number."""
    return FIRST_EVENT + timedelta(seconds=number)


@dataclass(frozen=True, slots=True)
class Existing:
    """How many rows of each table are there before the pipeline starts."""

    customers: int
    orders: int
    events: int

    @classmethod
    def of(cls, rows: int) -> Existing:
        """`rows` (at least 10) split over the tables: two fifths customers, two fifths orders, the rest events."""
        return cls(rows * 2 // 5, rows * 2 // 5, rows - 2 * (rows * 2 // 5))

    def writes(self, timestamp: int) -> Iterator[Write]:
        """The writes that make these rows, and a credit limit for every customer with orders.

        `timestamp` is their write time in microseconds.
        """
        for number in range(self.customers):
            country = COUNTRIES[number % len(COUNTRIES)]
            tags = {TAGS[number % len(TAGS)], TAGS[number // 7 % len(TAGS)]}
            values = (customer_id(number), f"Customer {number}", f"c{number}@example.org", country, number % 1000, tags)
            yield _existing("existing_customer", *values, timestamp)
        for number in range(self.orders):
            customer, order = divmod(number, ORDERS_EACH)
            owner = customer_id(customer)
            if order == 0:
                yield _existing("existing_limit", timestamp, 500 + customer % 10 * 100, owner)
            items = [ITEMS[number % len(ITEMS)], ITEMS[number // 3 % len(ITEMS)]]
            total = Decimal(number % 9973) / 100
            yield _existing("existing_order", owner, order, STATES[number % len(STATES)], total, items, timestamp)
        for number in range(self.events):
            device, event = f"device-{number % DEVICES:02}", number // DEVICES
            yield _existing("existing_event", device, event_time(event), number / 8, timestamp)


def _existing(name: str, *parameters: Any) -> Write:
    return Write("existing row", ((name, parameters),))
