"""The demo's mixed workload: everything that an application does to tables, in random order.

Invariant: the same seed and the same existing rows give the same writes in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from random import Random
from typing import Any, Final

from casscade.demo.tables import (
    COUNTRIES,
    DEVICES,
    ITEMS,
    ORDERS_EACH,
    STATES,
    TAGS,
    Existing,
    Write,
    customer_id,
    event_time,
)

# Short enough to expire while somebody watches, long enough to be seen before.
TTL_S_MIN: Final = 2
TTL_S_MAX: Final = 4
_PREFERENCES: Final = ("language", "currency", "theme")

Statement = tuple[str, tuple[Any, ...]]


class Workload:
    """An endless stream of writes over the existing rows and those it adds."""

    def __init__(self, seed: int, existing: Existing) -> None:
        self._random = Random(seed)
        self._customers = max(existing.customers, 1)
        self._events = existing.events // DEVICES + 1
        # Out of a hundred writes; what an application does most comes first.
        self._choices: dict[str, tuple[int, Callable[[], tuple[Statement, ...]]]] = {
            "insert": (38, self._insert),
            "partial update": (16, self._partial_update),
            "full update": (11, self._full_update),
            "collection write": (9, self._collection_write),
            "write with TTL": (8, self._expiring_write),
            "static update": (4, self._static_update),
            "row delete": (5, self._row_delete),
            "range delete": (3, self._range_delete),
            "partition delete": (2, self._partition_delete),
            "batch": (4, self._batch),
        }

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds of writes."""
        return tuple(self._choices)

    def __iter__(self) -> Iterator[Write]:
        weights = [weight for weight, _ in self._choices.values()]
        while True:
            kind = self._random.choices(self.kinds, weights)[0]
            yield Write(kind, self._choices[kind][1]())

    def _insert(self) -> tuple[Statement, ...]:
        table = self._random.randrange(3)
        if table == 0:
            self._customers += 1
            return (self._customer_row(self._customers - 1),)
        if table == 1:
            return (self._order_row(self._customer()),)
        self._events += 1
        return (("insert_event", (*self._event(), self._random.random() * 100, self._maybe("checked"))),)

    def _full_update(self) -> tuple[Statement, ...]:
        if self._random.random() < 0.5:
            return (("update_order", (*self._order_values(), self._customer(), self._order())),)
        _, (key, *values) = self._customer_row(self._random.randrange(self._customers))
        return (("update_customer", (*values, key)),)

    def _partial_update(self) -> tuple[Statement, ...]:
        return self._random.choice(
            (
                (("set_email", (f"new{self._random.randrange(10**6)}@example.org", self._customer())),),
                (self._points(self._customer()),),
                (("set_status", (self._random.choice(STATES), self._customer(), self._order())),),
            )
        )

    def _static_update(self) -> tuple[Statement, ...]:
        return (("set_credit_limit", (self._random.randrange(1, 50) * 100, self._customer())),)

    def _collection_write(self) -> tuple[Statement, ...]:
        customer, tag, preference = self._customer(), self._random.choice(TAGS), self._random.choice(_PREFERENCES)
        return self._random.choice(
            (
                (("add_tags", ({tag}, customer)),),
                (("remove_tags", ({tag}, customer)),),
                (("replace_tags", (self._tags(), customer)),),
                (("put_preference", (preference, f"choice {self._random.randrange(9)}", customer)),),
                (("drop_preference", (preference, customer)),),
            )
        )

    def _expiring_write(self) -> tuple[Statement, ...]:
        ttl = self._random.randint(TTL_S_MIN, TTL_S_MAX)
        if self._random.random() < 0.5:
            return (("set_coupon", (ttl, f"{self._random.randrange(1, 9) * 10} % off", self._customer())),)
        self._events += 1
        return (("insert_event_ttl", (*self._event(), self._random.random() * 100, "soon gone", ttl)),)

    def _row_delete(self) -> tuple[Statement, ...]:
        if self._random.random() < 0.3:
            return (("delete_customer", (self._customer(),)),)
        return (("delete_order", (self._customer(), self._order())),)

    def _range_delete(self) -> tuple[Statement, ...]:
        if self._random.random() < 0.5:
            first = self._order()
            return (("delete_order_range", (self._customer(), first, first + 2)),)
        device, _ = self._event()
        first = self._random.randrange(self._events)
        return (("delete_event_range", (device, event_time(first), event_time(first + 5))),)

    def _partition_delete(self) -> tuple[Statement, ...]:
        # A device has far more rows than a customer: deleted as often, hardly any event would be left to compare.
        if self._random.random() < 0.97:
            return (("delete_orders", (self._customer(),)),)
        return (("delete_events", (self._event()[0],)),)

    def _batch(self) -> tuple[Statement, ...]:
        """An order and the points for it: two tables in one mutation. Or two customers: two mutations."""
        customer = self._customer()
        if self._random.random() < 0.5:
            return (self._order_row(customer), self._points(customer))
        return (self._points(customer), self._points(self._customer()))

    def _customer_row(self, number: int) -> Statement:
        country, points = self._random.choice(COUNTRIES), self._random.randrange(1000)
        values = (customer_id(number), f"Customer {number}", f"c{number}@example.org", country, points, self._tags())
        return ("insert_customer", values)

    def _order_row(self, customer: Any) -> Statement:
        return ("insert_order", (customer, self._order(), *self._order_values()))

    def _order_values(self) -> tuple[str, Decimal, list[str]]:
        items = self._random.choices(ITEMS, k=self._random.randint(1, 3))
        return (self._random.choice(STATES), Decimal(self._random.randrange(100, 100_000)) / 100, items)

    def _points(self, customer: Any) -> Statement:
        return ("set_points", (self._random.randrange(1000), customer))

    def _customer(self) -> Any:
        return customer_id(self._random.randrange(self._customers))

    def _order(self) -> int:
        return self._random.randrange(2 * ORDERS_EACH)

    def _event(self) -> tuple[str, Any]:
        return (f"device-{self._random.randrange(DEVICES):02}", event_time(self._events))

    def _tags(self) -> set[str]:
        return set(self._random.sample(TAGS, self._random.randint(1, 3)))

    def _maybe(self, text: str) -> str | None:
        return text if self._random.random() < 0.5 else None
