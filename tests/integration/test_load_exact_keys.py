"""Exact keys in PostgreSQL: long ones, ones that PostgreSQL can't tell apart, and deletions over them."""

from __future__ import annotations

import random
import struct
import uuid
from typing import Any

import psycopg
import pytest

from casscade.commitlog.encoder import clustering_key
from casscade.core.cell import live_cell
from casscade.core.mutation import INCL_END_BOUND, INCL_START_BOUND, Bound, PartitionUpdate, RangeTombstone, Row
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

RNG = random.Random(4)
LONG, LONGER = (bytes(8000) + RNG.randbytes(20_000) for _ in range(2))
ONE, OTHER_ONE = b"\x00\x00\x00\x01\x0a", b"\x00\x00\x00\x02\x64"  # 1.0 and 1.00
MINUS_ZERO, ZERO, NAN, OTHER_NAN = (struct.pack(">Q", bits) for bits in (1 << 63, 0, 0x7FF8 << 48, 0xFFF8 << 48))


class Loaded:
    """A table (p, c, s static, v) whose clustering and partition key have the given types, with its writer."""

    def __init__(self, connection: psycopg.Connection[Any], partition: str, clustering: str) -> None:
        register(connection)
        columns = (
            Column("p", ColumnKind.PARTITION_KEY, 0, CqlType(partition)),
            Column("c", ColumnKind.CLUSTERING, 0, CqlType(clustering)),
            Column("s", ColumnKind.STATIC, -1, CqlType("int")),
            Column("v", ColumnKind.REGULAR, -1, CqlType("int")),
        )
        self.connection = connection
        self.table = assign_indexes(Table(uuid.uuid4(), "ks", "t", columns), {})
        self._length = self.table.clustering[0].type.fixed_length
        target = build_target(self.table, key="exact")
        control = ControlStore("test", "casscade")
        control.migrate(connection)
        for statement in plan_target(target, ExistingSchema()):
            connection.execute(statement.sql.encode())
        self.writer = BatchWriter(control, Sources.single("node", control.acquire(connection, "node")[0]))
        self.writer.add_target(connection, target, 3600)
        self.writer.prepare(connection)

    def put(self, partition: bytes, clustering: bytes, timestamp: int, value: int, *, static: bool = False) -> None:
        """One row, or the static row, at a write time."""
        row = Row(b"", []) if static else Row(clustering_key([clustering], [self._length]), [clustering])
        row.liveness_ts = row.deletion if static else timestamp
        index = self.table.statics[0].index if static else self.table.regulars[0].index
        row.cells = {index: live_cell(timestamp, value.to_bytes(4, "big"))}
        update = PartitionUpdate(self.table.shape(replicated=True), partition)
        if static:
            update.static_row = row
        else:
            update.rows = [row]
        self._apply(update)

    def delete(self, partition: bytes, start: bytes, end: bytes, timestamp: int) -> None:
        """The rows from `start` to `end`, both included; the whole partition when both are empty."""
        update = PartitionUpdate(self.table.shape(replicated=True), partition)
        if start or end:
            bounds = Bound(INCL_START_BOUND, [start]), Bound(INCL_END_BOUND, [end])
            update.range_tombstones = [RangeTombstone(*bounds, timestamp)]
        else:
            update.deletion = timestamp
        self._apply(update)

    def values(self) -> list[int]:
        """What the rows show."""
        return [row[0] for row in self.connection.execute("SELECT v FROM ks.t ORDER BY v").fetchall()]

    def _apply(self, update: PartitionUpdate) -> None:
        batch = Batch(Fold())
        batch.fold.add([update])
        assert not self.writer.apply(self.connection, batch).dead_letters


@pytest.mark.requirement("FR-009")
def test_long_keys_are_rows_like_any_other(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        loaded = Loaded(connection, "text", "blob")
        loaded.put(LONG, LONG, 5, 1)
        loaded.put(LONG, LONGER, 5, 2)
        loaded.put(LONGER, LONG, 5, 3)
        loaded.put(LONG, b"", 5, 4)
        loaded.put(LONG, LONG, 6, 10)  # merged with what is stored
        loaded.put(LONG, LONG, 5, 99)
        assert loaded.values() == [2, 3, 4, 10]
        loaded.put(LONG, b"", 5, 7, static=True)
        assert connection.execute("SELECT count(*), count(s) FROM ks.t_with_static").fetchone() == (4, 3)
        loaded.delete(LONG, min(LONG, LONGER), max(LONG, LONGER), 5)
        assert loaded.values() == [3, 4, 10]
        loaded.put(LONG, LONGER, 4, 99)  # meets the stored range tombstone
        loaded.delete(LONG, b"", b"", 6)
        loaded.put(LONG, LONG, 6, 99)  # meets the stored partition deletion
        loaded.put(LONG, LONG, 7, 11)
        assert loaded.values() == [3, 11]
        lengths = "SELECT max(length(_cdc_partition)), count(_cdc_long_key) FROM ks.t"
        assert connection.execute(lengths).fetchone() == (1056, 2)


@pytest.mark.requirement("FR-009")
def test_keys_that_postgres_holds_to_be_equal(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        loaded = Loaded(connection, "decimal", "double")
        for value, (partition, clustering) in enumerate(
            [(ONE, ZERO), (ONE, MINUS_ZERO), (OTHER_ONE, ZERO), (OTHER_ONE, NAN), (OTHER_ONE, OTHER_NAN)]
        ):
            loaded.put(partition, clustering, 5, value)
        assert loaded.values() == [0, 1, 2, 4]  # every NaN is one clustering, -0 and 0 are two
        shown = connection.execute("SELECT p::text, c::text FROM ks.t ORDER BY v").fetchall()
        assert shown == [("1.0", "0"), ("1.0", "-0"), ("1.00", "0"), ("1.00", "NaN")]
        loaded.delete(ONE, MINUS_ZERO, MINUS_ZERO, 6)
        loaded.delete(OTHER_ONE, OTHER_NAN, OTHER_NAN, 6)
        assert loaded.values() == [0, 2]
