"""Counters that were deleted, in PostgreSQL: which rows are read again, and what stands there before and after."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from casscade.commitlog.encoder import clustering_key
from casscade.core.cell import NO_EXPIRY, counter_cell, tombstone_cell
from casscade.core.keys import pack_values
from casscade.core.mutation import Bound, PartitionUpdate, RangeTombstone, Row
from casscade.core.observed import NOTHING, UNBOUNDED
from casscade.core.position import Position
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

pytestmark = pytest.mark.servers

INT, COUNTER = CqlType("int"), CqlType("counter")
ONE = (1).to_bytes(4, "big")


class Side:
    """A table of counters and its copy; a batch of updates is applied at a time."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        columns = (
            Column("p", ColumnKind.PARTITION_KEY, 0, INT),
            Column("c", ColumnKind.CLUSTERING, 0, INT),
            Column("s", ColumnKind.STATIC, -1, COUNTER),
            Column("v", ColumnKind.REGULAR, -1, COUNTER),
        )
        table = assign_indexes(Table(uuid.uuid4(), "ks", "t", columns, flags=frozenset({"compound", "counter"})), {})
        self.indexes = {column.name: column.index for column in table.columns}
        self.shape = table.shape(replicated=True)
        self.connection = connection
        control = ControlStore("test", "casscade")
        control.migrate(connection)
        target = build_target(table)
        for statement in plan_target(target, ExistingSchema()):
            connection.execute(statement.sql)
        epoch, _ = control.acquire(connection, "node")
        self.writer = BatchWriter(control, Sources.single("node", epoch))
        self.writer.add_target(connection, target, 3600)
        self.writer.prepare(connection)
        self.applied = 0

    def apply(self, *updates: PartitionUpdate) -> None:
        self.applied += 1
        batch = Batch(Fold(), positions={"node": Position(1, self.applied)})
        batch.fold.add(updates)
        self.writer.apply(self.connection, batch)

    def update(self, name: str) -> tuple[PartitionUpdate, Row, int]:
        """An update of partition 1 with a row that is still empty: the static one or row 1."""
        update = PartitionUpdate(self.shape, ONE)
        row = Row(b"", []) if name == "s" else Row(clustering_key([ONE], [4]), [ONE])
        if name == "s":
            update.static_row = row
        else:
            update.rows = [row]
        return update, row, self.indexes[name]

    def increment(self, name: str, timestamp: int, count: int) -> PartitionUpdate:
        update, row, index = self.update(name)
        clock = timestamp.to_bytes(8, "big")
        row.cells[index] = counter_cell(timestamp, b"\x00\x01\x80\x00" + bytes(16) + clock + count.to_bytes(8, "big"))
        return update

    def delete(self, name: str, timestamp: int) -> PartitionUpdate:
        update, row, index = self.update(name)
        row.cells[index] = tombstone_cell(timestamp)
        return update

    def around(self, name: str, timestamp: int) -> PartitionUpdate:
        """A deletion of the partition, or of a range with row 1."""
        update = PartitionUpdate(self.shape, ONE)
        if name == "s":
            update.deletion = timestamp
        else:
            update.range_tombstones = [RangeTombstone(Bound(1, [ONE]), Bound(6, []), timestamp)]
        return update

    def asked(self) -> list[tuple[bytes, bytes, bool, list[int]]]:
        return self.connection.execute(
            "SELECT partition_key, clustering, static, columns FROM casscade.rechecks"
        ).fetchall()

    def answer(self, name: str, value: bytes) -> None:
        """Remove the request, and show what a read for it showed."""
        (turn,) = self.connection.execute("DELETE FROM casscade.rechecks RETURNING recheck_id").fetchall()
        update, row, index = self.update(name)
        row.observed = {index: (turn[0], 1, UNBOUNDED, NO_EXPIRY, value)}
        self.apply(update)

    def shown(self, name: str) -> list[tuple[Any, ...]]:
        relation = b"ks.t_static" if name == "s" else b"ks.t"
        return self.connection.execute(b"SELECT " + name.encode() + b" FROM " + relation).fetchall()


@pytest.mark.requirement("FR-003")
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("name", ["s", "v"])
def test_an_increment_above_a_deletion_is_read(database: str, name: str, together: bool) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        register(connection)
        side = Side(connection)
        clustering = pack_values([] if name == "s" else [ONE])
        asked = [(ONE, clustering, name == "s", [side.indexes[name]])]
        side.apply(side.increment(name, 5, 5))
        assert side.asked() == []
        if together:
            side.apply(side.increment(name, 9, 8), side.around(name, 7))
        else:
            side.apply(side.around(name, 7))
            assert (side.asked(), side.shown(name)) == ([], [])
            side.apply(side.increment(name, 9, 8))
        assert side.asked() == asked
        assert side.shown(name) == [(8,)]
        while side.asked():
            side.answer(name, (3).to_bytes(8, "big"))
        assert side.shown(name) == [(3,)]
        side.apply(side.increment(name, 11, 10))
        assert side.asked() == asked
        side.answer(name, NOTHING)
        assert (side.asked(), side.shown(name)) == ([], [])


@pytest.mark.requirement("FR-003")
@pytest.mark.parametrize("name", ["s", "v"])
def test_a_late_deletion_of_what_hides_a_counter_asks_for_a_read(database: str, name: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        register(connection)
        side = Side(connection)
        side.apply(side.increment(name, 9, 8), side.delete(name, 7))
        assert len(side.asked()) == 1
        assert side.shown(name) == []
        while side.asked():
            side.answer(name, NOTHING)
        side.apply(side.around(name, 6))
        while side.asked():
            side.answer(name, NOTHING)
        side.apply(side.around(name, 8))
        assert len(side.asked()) == 1
        side.answer(name, (8).to_bytes(8, "big"))
        assert side.shown(name) == [(8,)]


@pytest.mark.requirement("FR-003")
def test_a_row_that_is_not_there_any_more_is_asked_for_once(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        register(connection)
        side = Side(connection)
        scanned, row, index = side.update("v")
        row.observed = {index: (0, 1, UNBOUNDED, NO_EXPIRY, (3).to_bytes(8, "big"))}
        row.liveness_unknown = True
        side.apply(scanned)
        assert side.shown("v") == [(3,)]
        side.apply(side.delete("v", 9))
        assert len(side.asked()) == 1
        side.answer("v", NOTHING)
        assert (side.asked(), side.shown("v")) == ([], [])
