"""Constraints that others made on the target: rows that break them are found at once, named, and alone set aside."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any

import psycopg
import pytest

from casscade.commitlog.encoder import clustering_key
from casscade.core.cell import expiring_cell, live_cell, tombstone_cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.cql.types import CqlType
from casscade.load.batch import BatchWriter
from casscade.load.contents import Batch
from casscade.load.control import ControlStore
from casscade.load.raw import register
from casscade.load.sources import Sources
from casscade.merge.fold import Fold
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import build_target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes

pytestmark = [pytest.mark.servers, pytest.mark.requirement("FR-012")]

INT = CqlType("int")
NOW = 2_000_000_000


def _table(name: str, *values: str) -> Table:
    columns = [Column("p", ColumnKind.PARTITION_KEY, 0, INT)]
    columns += [Column(each, ColumnKind.REGULAR, -1, INT) for each in values]
    return assign_indexes(Table(uuid.uuid4(), "ks", name, tuple(columns)), {})


def _int(number: int) -> bytes:
    return number.to_bytes(4, "big", signed=True)


class Shop:
    """Two tables; constraints are added before the writer is made."""

    def __init__(self, connection: psycopg.Connection[Any], *constraints: str, wait_ms: int = 0) -> None:
        register(connection)
        self.connection = connection
        self.now = NOW
        self.tables = {"child": _table("child", "a", "b", "parent"), "parent": _table("parent", "a")}
        control = ControlStore("test", "casscade")
        control.migrate(connection)
        targets = [build_target(table) for table in self.tables.values()]
        for number, target in enumerate(targets):
            for statement in plan_target(target, ExistingSchema(exists=number > 0)):
                connection.execute(statement.sql.encode())
        for constraint in constraints:
            connection.execute(constraint.encode())
        epoch, _ = control.acquire(connection, "node")
        self.writer = BatchWriter(control, Sources.single("node", epoch), clock=lambda: float(self.now))
        for target in targets:
            self.writer.add_target(connection, target, 3600, schema_version=2, parent_wait_ms=wait_ms)
        self.writer.prepare(connection)

    def update(self, table: str, key: int, ts: int, *, insert: bool = True, **values: int | None) -> PartitionUpdate:
        made = self.tables[table]
        row = Row(clustering_key([], []), [])
        if insert:
            row.liveness_ts = ts
        for name, value in values.items():
            column = made.column(name)
            assert column is not None
            row.cells[column.index] = tombstone_cell(ts) if value is None else live_cell(ts, _int(value))
        update = PartitionUpdate(made.shape(replicated=True), _int(key))
        update.rows = [row]
        return update

    def apply(self, *updates: PartitionUpdate) -> Counter[str]:
        batch = Batch(Fold())
        for update in updates:
            batch.fold.add([update])
        self.counts = self.writer.apply(self.connection, batch)
        return self.counts.dead_letters

    def child(self) -> list[tuple[Any, ...]]:
        return self.connection.execute("SELECT p, a, b, parent FROM ks.child ORDER BY p").fetchall()

    def messages(self) -> list[str]:
        found = self.connection.execute("SELECT message FROM casscade.dead_letters ORDER BY id").fetchall()
        return [row[0] for row in found]


def test_not_null_and_check(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        shop = Shop(
            connection,
            "ALTER TABLE ks.child ALTER a SET NOT NULL",
            "ALTER TABLE ks.child ADD CONSTRAINT small CHECK (b < 10 AND abs(b) + a < 100)",
        )
        rows = [shop.update("child", key, 1, a=key, b=key * 3) for key in range(6)]
        assert shop.apply(*rows, shop.update("child", 7, 1, b=1)) == {"constraint_violated": 3}
        assert [row[0] for row in shop.child()] == [0, 1, 2, 3]
        assert [message for message in shop.messages() if "small" in message] != []
        assert any("NOT NULL of a" in message for message in shop.messages())
        # Partial updates are judged by the whole row, in either direction.
        assert shop.apply(shop.update("child", 1, 2, insert=False, b=5)) == {}
        assert shop.apply(shop.update("child", 1, 3, insert=False, b=11)) == {"constraint_violated": 1}
        assert shop.apply(shop.update("child", 2, 3, insert=False, a=None)) == {"constraint_violated": 1}
        assert shop.child()[1:3] == [(1, 1, 5, None), (2, 2, 6, None)]


@pytest.mark.requirement("FR-021")
def test_a_constraint_that_was_dropped_or_changed_refuses_nothing_any_more(database: str) -> None:
    """Whoever mends the cause of dead letters and replays them need not start the pipeline again."""
    with psycopg.connect(database, autocommit=True) as connection:
        shop = Shop(
            connection,
            "ALTER TABLE ks.child ADD CONSTRAINT small CHECK (b < 10)",
            "ALTER TABLE ks.child ADD CONSTRAINT least CHECK (a > 0)",
        )
        assert shop.apply(shop.update("child", 1, 1, a=1, b=50)) == {"constraint_violated": 1}
        connection.execute("ALTER TABLE ks.child DROP CONSTRAINT small, ADD CONSTRAINT small CHECK (b < 100)")
        assert shop.apply(shop.update("child", 1, 1, a=1, b=50), shop.update("child", 2, 1, a=1, b=101)) == {
            "constraint_violated": 1
        }
        assert shop.apply(shop.update("child", 3, 1, a=0, b=1)) == {"constraint_violated": 1}
        connection.execute("ALTER TABLE ks.child DROP CONSTRAINT small, DROP CONSTRAINT least")
        assert shop.apply(shop.update("child", 2, 1, a=1, b=101), shop.update("child", 3, 1, a=0, b=1)) == {}
        assert [row[:3] for row in shop.child()] == [(1, 1, 50), (2, 1, 101), (3, 0, 1)]


def test_an_end_of_a_ttl_that_may_not_be_is_told_once(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        shop = Shop(connection, "ALTER TABLE ks.child ALTER a SET NOT NULL")
        update = shop.update("child", 1, 1, b=1)
        update.rows[0].cells[0] = expiring_cell(1, NOW + 5, 5, _int(7))
        shop.apply(update)
        assert shop.child() == [(1, 7, 1, None)]
        shop.now = NOW + 6
        assert shop.writer.reap(connection).dead_letters == {"constraint_violated": 1}
        assert shop.writer.reap(connection).dead_letters == {}
        assert shop.child() == [(1, 7, 1, None)], "it stays as it was"
        # The next write brings the row to what it is.
        assert shop.apply(shop.update("child", 1, 2, insert=False, a=8)) == {}
        assert shop.child() == [(1, 8, 1, None)]


def test_unique_within_a_batch_and_against_the_table(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        shop = Shop(connection, "ALTER TABLE ks.child ADD CONSTRAINT one_a UNIQUE (a)")
        first = shop.apply(*(shop.update("child", key, 10 - key, a=5) for key in range(3)))
        assert first == {"constraint_violated": 2}
        assert shop.child() == [(2, 5, None, None)], "the oldest write stays"
        assert shop.apply(shop.update("child", 3, 20, a=5), shop.update("child", 4, 20, a=6)) == {
            "constraint_violated": 1
        }
        assert "one_a" in shop.messages()[-1]
        # The value is free as soon as its row has another, also in the same batch; nulls are not equal.
        moved = [shop.update("child", 2, 30, a=7), shop.update("child", 3, 30, a=5)]
        assert shop.apply(*moved, shop.update("child", 5, 30), shop.update("child", 6, 30)) == {}
        assert [row[:2] for row in shop.child()] == [(2, 7), (3, 5), (4, 6), (5, None), (6, None)]
        gone = shop.update("child", 4, 40, insert=False)
        gone.rows[0].deletion = 40
        assert shop.apply(gone, shop.update("child", 8, 40, a=6)) == {}


FOREIGN = "ALTER TABLE ks.child ADD CONSTRAINT has_parent FOREIGN KEY (parent) REFERENCES ks.parent (p)"


def test_a_child_comes_with_its_parent_or_after_it(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        shop = Shop(connection, FOREIGN)
        # The child is first in the batch, its parent's table is written first.
        assert shop.apply(shop.update("child", 1, 1, parent=9), shop.update("parent", 9, 1, a=1)) == {}
        assert shop.apply(shop.update("child", 2, 1, parent=8), shop.update("child", 3, 1)) == {
            "constraint_violated": 1
        }
        assert "has_parent" in shop.messages()[0]
        assert [row[0] for row in shop.child()] == [1, 3]


def test_a_child_waits_for_its_parent(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        shop = Shop(connection, FOREIGN, wait_ms=600_000)
        assert shop.apply(shop.update("child", 1, 1, a=1, parent=9), shop.update("child", 2, 1, parent=8)) == {}
        assert shop.counts.waiting == {"ks.child": 2}
        assert shop.apply(shop.update("child", 1, 2, insert=False, b=2)) == {}, "merges with what waits, later"
        shop.writer.reap(connection)
        assert [row[0] for row in shop.child()] == [1]
        assert shop.child() == [(1, None, 2, None)]
        shop.apply(shop.update("parent", 9, 3, a=1))
        assert shop.writer.reap(connection).waiting == {"ks.child": 1}
        assert shop.child() == [(1, 1, 2, 9)]
        assert connection.execute("SELECT count(*) FROM casscade.waiting_rows").fetchone() == (1,)
        connection.execute("UPDATE casscade.waiting_rows SET since = now() - interval '1 hour'")
        ended = shop.writer.reap(connection)
        assert ended.dead_letters == {"constraint_violated": 1}
        assert (ended.broken, ended.waiting) == ({("ks.child", "has_parent"): 1}, {"ks.child": 0})
        assert "has_parent" in shop.messages()[0]
        version = connection.execute("SELECT schema_version FROM casscade.dead_letters").fetchone()
        assert version is not None
        assert version[0].endswith(":2")
        assert connection.execute("SELECT count(*) FROM casscade.waiting_rows").fetchone() == (0,)


def test_a_waiting_row_that_postgres_refuses_does_not_stop_the_others(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        shop = Shop(connection, FOREIGN, "CREATE UNIQUE INDEX doubled ON ks.child ((a * 2))", wait_ms=600_000)
        shop.apply(*(shop.update("child", key, 1, a=min(key, 2), parent=9) for key in (1, 2, 3)))
        shop.apply(shop.update("parent", 9, 1, a=1))
        assert shop.writer.reap(connection).dead_letters == {"postgres_23505": 1}
        assert len(shop.child()) == 2
        assert shop.writer.reap(connection).dead_letters == {}


def test_a_table_that_names_itself(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        shop = Shop(connection, "ALTER TABLE ks.child ADD CONSTRAINT up FOREIGN KEY (parent) REFERENCES ks.child (p)")
        rows = [shop.update("child", key, 1, parent=key - 1 if key else None) for key in range(4)]
        orphans = [shop.update("child", 8, 1, parent=7), shop.update("child", 9, 1, parent=8)]
        # 9 has a parent in the batch, which itself has none.
        assert shop.apply(*rows, *orphans) == {"constraint_violated": 2}
        assert [row[0] for row in shop.child()] == [0, 1, 2, 3]


def test_what_can_not_be_asked_of_staged_rows_is_found_by_postgres(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        shop = Shop(connection, "CREATE UNIQUE INDEX doubled ON ks.child ((a * 2))")
        batch = Batch(Fold())
        for key in range(2):
            batch.fold.add([shop.update("child", key, 1, a=3)])
        counts = shop.writer.apply_isolated(connection, batch)
        assert counts.dead_letters == {"postgres_23505": 1}
        assert len(shop.child()) == 1
