"""Locks of other sessions are in the way of batches and of the reaper: nobody waits for long, and nothing is lost."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from casscade.config.load import parse_config
from casscade.core.cell import expiring_cell, live_cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.retry import RetryPolicy
from casscade.cql.types import CqlType
from casscade.load import reaper
from casscade.load.batch import BatchWriter
from casscade.load.contents import Batch
from casscade.load.control import ControlStore
from casscade.load.session import Listener, Outcome, PostgresSession, SessionOptions
from casscade.load.sources import Sources
from casscade.merge.fold import Fold
from casscade.pipeline.database import Database
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import build_target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from tests.support.random_rows import NOW

pytestmark = [pytest.mark.servers, pytest.mark.requirement("FR-019")]

WAIT_S = 20.0
CONFIG = """
name: locks
cassandra: {{contact_points: ["127.0.0.1"], local_datacenter: datacenter1}}
capture: {{cdc_directory: cdc, state_directory: state}}
postgres: {{dsn: "{dsn}"}}
load: {{pool: {{min: 1, max: 2}}, lock_timeout_ms: {lock_timeout_ms}}}
tables: [{{source: "ks.*"}}]
"""


def _table(name: str) -> Table:
    columns = (
        Column("p", ColumnKind.PARTITION_KEY, 0, CqlType("int")),
        Column("c", ColumnKind.CLUSTERING, 0, CqlType("int")),
        Column("s", ColumnKind.STATIC, -1, CqlType("int")),
        Column("a", ColumnKind.REGULAR, -1, CqlType("int")),
    )
    return assign_indexes(Table(uuid.uuid4(), "ks", name, columns), {})


ONE, TWO = _table("one"), _table("two")


class Told(Listener):
    """The codes of failures; `then` is done after the first."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.codes: list[str] = []
        self._then = then

    def retrying(self, code: str, wait_s: float, failures: int) -> None:
        self.codes.append(code)
        if failures == 1:
            self._then()


class Side:
    """A loader's connections and its writer, which writes both tables for a source of its own."""

    def __init__(self, dsn: str, source: str, *, lock_timeout_ms: int = 20_000, alone: bool = True) -> None:
        text = CONFIG.format(dsn=dsn, lock_timeout_ms=lock_timeout_ms)
        self.database = Database(parse_config(text.encode(), "test.yaml", {}, Path("/nowhere")))
        self.now = NOW
        control = ControlStore("test", "casscade")
        with self.database.connect() as connection:
            if control.migrate(connection):
                for number, table in enumerate((ONE, TWO)):
                    for statement in plan_target(build_target(table), ExistingSchema(exists=number > 0)):
                        connection.execute(statement.sql.encode())
            epoch, _ = control.acquire(connection, source)
            self.writer = BatchWriter(
                control, Sources.single(source, epoch), alone=alone, clock=lambda: float(self.now)
            )
            for table in (ONE, TWO):
                self.writer.add_target(connection, build_target(table), 3600)

    def run(self, batch: Batch, told: Told) -> Outcome:
        """Apply a batch as the loader does, until it is done."""
        options = SessionOptions(RetryPolicy(first_s=0.02, longest_s=0.02), failures_max=1000)
        session = PostgresSession(
            self.database.connect, self.writer.prepare, lambda: True, threading.Event(), told, options
        )
        with closing(session):
            return session.run(lambda connection: self.apply(connection, batch), give_up=False)

    def apply(self, connection: psycopg.Connection[Any], batch: Batch) -> None:
        self.writer.apply(connection, batch)

    @contextmanager
    def prepared(self) -> Iterator[psycopg.Connection[Any]]:
        with self.database.connect() as connection:
            self.writer.prepare(connection)
            yield connection


def _batch(*tables: Table, time_: int = 5, key: bytes = b"\0\0\0\x01", expires: bool = False) -> Batch:
    """A row with a static one in each table."""
    batch = Batch(Fold())
    for table in tables:
        row = Row(b"\0\0\0\x02", [b"\0\0\0\x02"])
        row.cells = {
            1: expiring_cell(time_, NOW + 60, 60, b"\0\0\0\x07") if expires else live_cell(time_, b"\0\0\0\x07")
        }
        static = Row(b"", [])
        static.cells = {0: live_cell(time_, b"\0\0\0\x08")}
        update = PartitionUpdate(table.shape(replicated=True), key)
        update.rows, update.static_row = [row], static
        batch.fold.add([update])
    return batch


def _wait(dsn: str, condition: str) -> None:
    deadline = time.monotonic() + WAIT_S
    with psycopg.connect(dsn, autocommit=True) as connection:
        while connection.execute(condition.encode()).fetchone() != (True,):
            assert time.monotonic() < deadline, condition
            time.sleep(0.005)


_SOMEBODY_WAITS = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation IS NOT NULL"


def _rows(dsn: str, name: str) -> int:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(f"SELECT count(*) FROM ks.{name}".encode()).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("mode", ["EXCLUSIVE", "ACCESS EXCLUSIVE"])
def test_a_batch_gives_a_lock_of_another_session_up_and_is_tried_again(database: str, mode: str) -> None:
    side = Side(database, "node", lock_timeout_ms=100)
    with psycopg.connect(database) as other:
        other.execute(f"LOCK TABLE ks.one IN {mode} MODE".encode())
        told = Told(other.rollback)
        assert side.run(_batch(ONE), told) is Outcome.DONE
    assert set(told.codes) == {"55P03"}
    assert (_rows(database, "one"), _rows(database, "one_static")) == (1, 1)


@pytest.mark.requirement("FR-025")
def test_who_waits_for_one_table_does_not_keep_others_from_another(database: str) -> None:
    first, second = Side(database, "node1", lock_timeout_ms=200), Side(database, "node2")
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE ks.one IN ACCESS EXCLUSIVE MODE")
        told = Told(lambda: None)
        outcomes: list[Outcome] = []
        waits = threading.Thread(target=lambda: outcomes.append(first.run(_batch(ONE, TWO, time_=4), told)))
        waits.start()
        _wait(database, _SOMEBODY_WAITS)
        # It has the locks of both tables by now, and lets go of them while the other session keeps its own.
        assert second.run(_batch(TWO), Told(lambda: None)) is Outcome.DONE
        assert _rows(database, "two") == 1
        other.rollback()
        waits.join(WAIT_S)
    assert outcomes == [Outcome.DONE]
    assert set(told.codes) == {"55P03"}
    assert (_rows(database, "one"), _rows(database, "two")) == (1, 1)


def test_a_batch_that_loses_a_deadlock_is_tried_again(database: str) -> None:
    side = Side(database, "node")
    with psycopg.connect(database) as other:
        # The loader's session is the one that looks for deadlocks, so that it is the victim.
        other.execute("SET deadlock_timeout = '60s'")
        other.execute("LOCK TABLE ks.one_static IN EXCLUSIVE MODE")
        told = Told(lambda: None)
        outcomes: list[Outcome] = []
        loses = threading.Thread(target=lambda: outcomes.append(side.run(_batch(ONE), told)))
        loses.start()
        _wait(database, _SOMEBODY_WAITS)
        other.execute("LOCK TABLE ks.one IN EXCLUSIVE MODE")
        other.rollback()
        loses.join(WAIT_S)
    assert outcomes == [Outcome.DONE]
    assert told.codes == ["40P01"]
    assert (_rows(database, "one"), _rows(database, "one_static")) == (1, 1)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper, "PATIENCE_MS", 20)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("held_by", ["batch", "user"])
def test_the_reaper_leaves_a_table_that_is_held_and_goes_on_with_the_others(database: str, held_by: str) -> None:
    side, stopped = Side(database, "node", alone=False), Side(database, "stopped", alone=False)
    with side.prepared() as connection, stopped.prepared() as holding:
        side.apply(connection, _batch(ONE, TWO, expires=True))
        side.now += 100
        with holding.transaction(force_rollback=True):
            if held_by == "batch":
                with stopped.writer._transaction(holding, [ONE.id.bytes], alone=False):
                    counts = side.writer.reap(connection)
                    # Batches of others, which want the table side by side, are not kept out by it.
                    side.apply(connection, _batch(ONE, key=b"\0\0\0\x09"))
            else:
                holding.execute("LOCK TABLE ks.one IN ACCESS EXCLUSIVE MODE")
                counts = side.writer.reap(connection)
        assert (counts.postponed, counts.expired) == (1, 1)
        assert connection.execute("SHOW lock_timeout").fetchone() == ("20s",)
        counts = side.writer.reap(connection)
        assert (counts.postponed, counts.expired) == (0, 1)


@pytest.mark.usefixtures("impatient")
def test_the_reaper_waits_longer_each_time_for_a_busy_table(database: str) -> None:
    side, stopped = Side(database, "node", alone=False), Side(database, "stopped", alone=False)
    waited: list[float] = []
    with side.prepared() as connection, stopped.prepared() as holding:
        side.apply(connection, _batch(ONE, expires=True))
        side.now += 100
        with stopped.writer._transaction(holding, [ONE.id.bytes], alone=False):
            for _ in range(4):
                begun = time.monotonic()
                assert side.writer.reap(connection).postponed == 1
                waited.append(time.monotonic() - begun)
    assert waited[3] >= 0.16
