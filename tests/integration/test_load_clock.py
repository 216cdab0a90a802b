"""The clock by which values with a TTL end: the one that is behind, whatever the other does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from casscade.commitlog.encoder import clustering_key
from casscade.core.cell import expiring_cell, live_cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.load.batch import BatchWriter
from casscade.load.clock import Clock
from casscade.load.contents import Batch
from casscade.load.control import ControlStore
from casscade.load.raw import register
from casscade.load.sources import Sources
from casscade.merge.fold import Fold
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import build_target
from tests.support.oracle import oracle_table

YEAR_S = 365 * 86400
ONE, TWO = b"\0\0\0\1", b"\0\0\0\2"


def shown(database: str, clock: Callable[[], float]) -> list[tuple[Any, ...]]:
    """What PostgreSQL shows of a row whose value ends in an hour, after a batch and the reaper."""
    table = oracle_table(clustering=True, statics=False)
    target = build_target(table)
    with psycopg.connect(database, autocommit=True) as connection:
        register(connection)
        control = ControlStore("clock", "casscade")
        control.migrate(connection)
        for statement in plan_target(target, ExistingSchema()):
            connection.execute(statement.sql)
        epoch, _ = control.acquire(connection, "node")
        writer = BatchWriter(control, Sources.single("node", epoch), clock=clock)
        writer.add_target(connection, target, 3600)
        writer.prepare(connection)
        update = PartitionUpdate(table.shape(replicated=True), ONE)
        row = Row(clustering_key([ONE], [4]), [ONE])
        row.liveness_ts = 1
        row.cells = {0: expiring_cell(1, int(time.time()) + 3600, 7200, TWO), 1: live_cell(1, TWO)}
        update.rows.append(row)
        batch = Batch(Fold())
        batch.fold.add([update])
        writer.apply(connection, batch)
        writer.purge(connection)
        writer.reap(connection)
        return connection.execute(f"SELECT a, b FROM ks.{target.rows.name}").fetchall()


@pytest.mark.servers
@pytest.mark.requirement("FR-008")
def test_a_host_whose_clock_is_a_year_ahead_ends_nothing_early(database: str) -> None:
    assert shown(database, Clock(lambda: time.time() + YEAR_S)) == [(2, 2)]


@pytest.mark.servers
def test_what_has_ended_by_both_clocks_goes(database: str) -> None:
    assert shown(database, lambda: time.time() + YEAR_S) == [(None, 2)]


@pytest.mark.servers
def test_a_clock_that_is_behind_counts_and_a_jump_changes_nothing_between_two_looks(database: str) -> None:
    wall, steady = [time.time() - YEAR_S], [100.0]
    clock = Clock(lambda: wall[0], lambda: steady[0])
    with psycopg.connect(database, autocommit=True) as connection:
        clock.look(connection)
        behind = wall[0]
        assert clock() == pytest.approx(behind)
        wall[0] += 2 * YEAR_S
        steady[0] += 5.0
        assert clock() == pytest.approx(behind + 5.0)
        clock.look(connection)
        assert clock() == pytest.approx(time.time(), abs=60.0)
