"""Conflicts and stale rows against what PostgreSQL holds: rows, tombstones, deletions over several rows."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from casscade.commitlog.observations import decode_any
from casscade.core.cell import NO_TIMESTAMP, live_cell, tombstone_cell
from casscade.core.mutation import ComplexColumn, PartitionUpdate, Row
from casscade.core.position import Position
from casscade.cql.types import CqlType
from casscade.load.arrival import Arrivals, newest_arrival
from casscade.load.batch import BatchWriter
from casscade.load.contents import Batch
from casscade.load.control import ControlStore
from casscade.load.counters import BatchCounts
from casscade.load.raw import register
from casscade.load.sources import Sources
from casscade.merge.fold import Fold
from casscade.schema.choices import ColumnChoices
from casscade.schema.conflict_rules import ConflictRule
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import build_target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes

NOW = 2_000_000_000
HOUR = 3_600_000_000
KEY = b"\0\0\0\1"


class Site:
    """A table `ks.t (p, c, v, note, m)` and its writer; `note` keeps only what PostgreSQL shows."""

    def __init__(self, connection: psycopg.Connection[Any], rule: ConflictRule) -> None:
        register(connection)
        number = CqlType("int")
        columns = (
            Column("p", ColumnKind.PARTITION_KEY, 0, number),
            Column("c", ColumnKind.CLUSTERING, 0, number),
            Column("m", ColumnKind.REGULAR, -1, CqlType("map", (number, number))),
            Column("note", ColumnKind.REGULAR, -1, CqlType("text")),
            Column("v", ColumnKind.REGULAR, -1, number),
        )
        self.table = assign_indexes(Table(uuid.uuid4(), "ks", "t", columns), {})
        self.index = {column.name: column.index for column in self.table.columns}
        self.shape = self.table.shape(replicated=True)
        target = replace(build_target(self.table, choices=ColumnChoices(inexact="convert")), conflicts=rule)
        self.connection = connection
        self.control = ControlStore("test", "casscade")
        self.control.migrate(connection)
        for statement in plan_target(target, ExistingSchema()):
            connection.execute(statement.sql.encode())
        self._epoch, _ = self.control.acquire(connection, "node")
        self.writer = BatchWriter(self.control, Sources.single("node", self._epoch), clock=lambda: float(NOW))
        self.writer.add_target(connection, target, 3600)
        self.writer.prepare(connection)

    def update(self, ts: int, key: int = 1, **values: bytes | None) -> PartitionUpdate:
        """An UPDATE of simple columns of one row; None deletes a column."""
        update = PartitionUpdate(self.shape, KEY)
        clustering = key.to_bytes(4, "big")
        row = Row(clustering, [clustering])
        for name, value in values.items():
            row.cells[self.index[name]] = tombstone_cell(ts) if value is None else live_cell(ts, value)
        update.rows = [row]
        return update

    def batch(self, *updates: PartitionUpdate) -> Batch:
        """Updates as one batch."""
        batch = Batch(Fold(), {"node": Position(1, 1)})
        batch.fold.add(updates)
        return batch

    def apply(self, *updates: PartitionUpdate) -> BatchCounts:
        """Write updates as one batch."""
        return self.writer.apply(self.connection, self.batch(*updates))

    def letters(self) -> list[tuple[str, Any]]:
        """The dead letters so far: the code and the cells of their row."""
        found = self.connection.execute("SELECT code, encoding, mutation FROM casscade.dead_letters ORDER BY id")
        decoded = [
            (code, decode_any(content, encoding, {self.shape.id: self.shape})) for code, encoding, content in found
        ]
        return [(code, updates[0].rows[0].cells) for code, updates in decoded]

    def shown(self) -> list[tuple[Any, ...]]:
        """The rows that PostgreSQL shows."""
        return self.connection.execute("SELECT c, note, v FROM ks.t ORDER BY c").fetchall()


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connected:
        yield connected


def _int(value: int) -> bytes:
    return value.to_bytes(4, "big")


@pytest.mark.requirement("FR-025", "SC-010")
def test_conflicts_with_what_is_stored_count_once_and_copies_never(connection: psycopg.Connection[Any]) -> None:
    site = Site(connection, ConflictRule())
    assert site.apply(site.update(5, v=_int(1), note=b"a\0b")).conflicts == {}
    # `note` is stored as it is shown: its copy is no conflict although other bytes are there.
    assert site.apply(site.update(5, v=_int(1), note=b"a\0b")).conflicts == {}
    assert site.apply(site.update(5, v=_int(2))).conflicts == {"ks.t": 1}
    assert site.apply(site.update(5, v=_int(1)), site.update(5, v=_int(2))).conflicts == {}
    counts = site.apply(site.update(4, v=_int(9)))
    assert (counts.conflicts, counts.stale) == ({}, {"ks.t": 1})
    assert [row[2] for row in site.shown()] == [2]
    assert site.letters() == []


@pytest.mark.requirement("FR-025")
def test_a_batch_that_is_tried_again_still_counts_what_it_found(connection: psycopg.Connection[Any]) -> None:
    site = Site(connection, ConflictRule("dead_letter", 0))
    site.apply(site.update(9, v=_int(2)), site.update(5, 2, v=_int(2)))
    batch = site.batch(site.update(8, v=_int(1)), site.update(5, 2, v=_int(1)))
    connection.execute("ALTER TABLE casscade.dead_letters RENAME TO hidden")
    with pytest.raises(psycopg.errors.UndefinedTable):
        site.writer.apply(connection, batch)
    connection.execute("ALTER TABLE casscade.hidden RENAME TO dead_letters")
    counts = site.writer.apply(connection, batch)
    assert (counts.stale, counts.conflicts) == ({"ks.t": 1}, {"ks.t": 1})
    v = site.index["v"]
    assert site.letters() == [
        ("stale_write", {v: live_cell(8, _int(1))}),
        ("conflicting_write", {v: live_cell(5, _int(1))}),
    ]
    assert counts.dead_letters == {"stale_write": 1, "conflicting_write": 1}


@pytest.mark.requirement("FR-025")
def test_stale_writes_meet_rows_tombstones_and_deletions_of_partitions(connection: psycopg.Connection[Any]) -> None:
    site = Site(connection, ConflictRule("dead_letter", 3600))
    deleted = site.update(3 * HOUR, 2)
    deleted.rows[0].deletion = 3 * HOUR
    site.apply(site.update(3 * HOUR, v=_int(1)), deleted)
    partition = PartitionUpdate(site.shape, b"\0\0\0\2")
    partition.deletion = 3 * HOUR
    site.apply(partition)
    below = site.update(HOUR, v=_int(5))
    below.key = b"\0\0\0\2"
    late = [site.update(HOUR, v=_int(3)), site.update(HOUR, 2, v=_int(4)), below]
    counts = site.apply(*late)
    assert counts.stale == {"ks.t": 3}
    v = site.index["v"]
    assert sorted(cells[v][3] for _, cells in site.letters()) == [_int(3), _int(4), _int(5)]
    # An hour and less may be the copy of another replica.
    assert site.apply(site.update(2 * HOUR, v=_int(6))).stale == {"ks.t": 1}
    assert len(site.letters()) == 3
    assert site.shown() == [(1, None, 1)]


@pytest.mark.requirement("FR-025")
def test_elements_of_collections_are_in_conflict_too(connection: psycopg.Connection[Any]) -> None:
    site = Site(connection, ConflictRule("dead_letter", 0))
    updates = []
    for value in (1, 2):
        update = site.update(5)
        update.rows[0].complex = {
            site.index["m"]: ComplexColumn(
                NO_TIMESTAMP, {_int(7): live_cell(5, _int(value)), _int(8): live_cell(5, _int(8))}
            )
        }
        updates.append(update)
    site.apply(updates[0])
    assert site.apply(updates[1]).conflicts == {"ks.t": 1}
    ((encoding, content),) = connection.execute("SELECT encoding, mutation FROM casscade.dead_letters").fetchall()
    (update,) = decode_any(content, encoding, {site.shape.id: site.shape})
    columns = update.rows[0].complex
    assert columns is not None
    assert columns[site.index["m"]].cells == {_int(7): live_cell(5, _int(1))}


@pytest.mark.requirement("FR-025")
def test_in_order_of_arrival_a_restart_goes_on_above_what_is_durable(connection: psycopg.Connection[Any]) -> None:
    site = Site(connection, ConflictRule("arrival_order"))
    for ts, value in ((9 * HOUR, 1), (HOUR, 2), (4 * HOUR, 3)):
        # Each time another process, whose clock went back.
        arrivals = Arrivals({site.shape.id})
        arrivals.resume(newest_arrival(site.control, connection))
        update = site.update(ts, v=_int(value))
        arrivals.stamp([update], 5.0 - value, scanned=False)
        batch = site.batch(update)
        batch.arrived = arrivals.newest
        counts = site.writer.apply(connection, batch)
        assert (counts.conflicts, counts.stale) == ({}, {})
        assert site.shown() == [(1, None, value)]
    assert newest_arrival(site.control, connection) == 4_000_002
