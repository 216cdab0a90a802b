"""Applying truncations in PostgreSQL: what is emptied, how far sources go back, who is fenced; the nodes are faked."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from casscade.config.load import parse_config
from casscade.core.errors import FencedError, RetryableError
from casscade.core.position import START, Position, Truncation
from casscade.cql.types import CqlType
from casscade.devstack.postgres import PostgresServer
from casscade.load import truncations
from casscade.load.control import ControlStore
from casscade.load.doubts import Doubt, request_rechecks
from casscade.load.letters import DeadLetter
from casscade.load.truncations import TruncationStore
from casscade.pipeline.monitor import Monitor
from casscade.pipeline.truncations import PEERS_S, Resume, Truncations
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import Target, build_target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from casscade.snapshot.ranges import split_ring
from casscade.snapshot.store import SnapshotStore
from tests.support.databases import create_database, drop_database

pytestmark = pytest.mark.servers

CONFIG = """
name: test
cassandra: {{contact_points: ["127.0.0.1"], local_datacenter: datacenter1}}
capture: {{cdc_directory: {directory}, state_directory: state}}
postgres: {{dsn: "{dsn}"}}
tables: [{{source: "shop.*"}}]
"""
A, B, C = (str(uuid.UUID(int=n)) for n in (1, 2, 3))
INT = CqlType("int")


_numbers = itertools.count(1)


def make_target(keyspace: str, name: str) -> Target:
    columns = (
        Column("p", ColumnKind.PARTITION_KEY, 0, INT),
        Column("k", ColumnKind.CLUSTERING, 0, INT),
        Column("s", ColumnKind.STATIC, -1, INT),
        Column("v", ColumnKind.REGULAR, -1, INT),
    )
    return build_target(assign_indexes(Table(uuid.uuid4(), keyspace, name, columns), {}))


class Site:
    """Two tables, `x` and `y`, in PostgreSQL; what nodes say is in `nodes` (None: away), segments in `directory`."""

    def __init__(self, dsn: str, directory: Path) -> None:
        number = next(_numbers)
        self.schema, self.own = f"shop{number}", "casscade"
        self.dsn = dsn
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.directory = directory
        self.nodes: dict[str, dict[uuid.UUID, Truncation] | None] = {A: {}, B: {}, C: {}}
        self.control = ControlStore(f"test{number}", self.own)
        self.tasks = SnapshotStore(f"test{number}", self.own)
        self.monitor = Monitor("test")
        self.now = 0.0
        self.waits: list[float] = []
        self.control.migrate(self.connection)
        self.targets = [make_target(self.schema, name) for name in ("x", "y")]
        self.x, self.y = (target.table.id for target in self.targets)
        for target in self.targets:
            statements = plan_target(target, ExistingSchema(exists=target is not self.targets[0]))
            for statement in statements:
                self.connection.execute(statement.sql.encode())
            for static in (False, True):
                self.control.target_number(
                    self.connection, target.table, (self.schema, target.table.name), static=static
                )
        config = parse_config(CONFIG.format(dsn=dsn, directory=directory).encode(), "test.yaml", {}, Path("/nowhere"))
        self.truncations = Truncations(
            config, self.control, self.tasks, self.monitor, clock=lambda: self.now, sleep=self.sleep
        )

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def read(self, node: uuid.UUID) -> dict[uuid.UUID, Truncation]:
        records = self.nodes[str(node)]
        if records is None:
            raise RetryableError("cassandra_unavailable", "away")
        return dict(records)

    def segment(self, *ids: int) -> None:
        for number in ids:
            (self.directory / f"CommitLog-7-{number}.log").write_bytes(b"")

    def begin(self, source: str) -> tuple[int, Resume]:
        """A new life of the process of `source`: its epoch and where it goes on."""
        with self.connection.transaction():
            epoch, position = self.control.acquire(self.connection, source)
            resume = self.truncations.apply(self.connection, self.read, source, self.targets, position)
        self.truncations.report(resume.applied)
        return epoch, resume

    def advance(self, source: str, epoch: int, position: Position) -> None:
        with self.connection.transaction():
            self.control.advance(self.connection, source, epoch, position)

    def fill(self) -> None:
        """Rows, statics, tombstones, rechecks, dead letters and unfinished tasks of both tables."""
        for name, table_id in (("x", self.x), ("y", self.y)):
            numbers = f"FROM {self.own}.targets WHERE table_id = '{table_id}'"
            until = "now() + interval '1 day'"
            self.run(f"INSERT INTO {self.schema}.{name} (p, k, v, _cdc_ts) VALUES (1, 1, 1, 1)")
            self.run(f"INSERT INTO {self.schema}.{name}_static (p, s, _cdc_ts) VALUES (1, 1, 1)")
            self.run(f"INSERT INTO {self.own}.row_tombstones SELECT target_no, 'k', 1, 's', {until} {numbers}")
            self.run(f"INSERT INTO {self.own}.range_tombstones SELECT target_no, 'p', '', '', 1, {until} {numbers}")
            request_rechecks(self.control, self.connection, table_id, [Doubt(b"k", b"p", [b"c"])], static=False)
            letter = DeadLetter(f"{A}:row:{name}", f"{self.schema}.{name}", "code", "", 8, b"")
            self.control.letters.settle(self.connection, [letter], [])
            with self.connection.transaction():
                self.tasks.create_tasks(self.connection, table_id, f"{self.schema}.{name}", split_ring(4))

    def count(self, name: str) -> list[int]:
        """How much is kept of a table: rows, statics, row and range tombstones, rechecks, letters, open tasks."""
        table_id = self.x if name == "x" else self.y
        numbers = f"target_no IN (SELECT target_no FROM {self.own}.targets WHERE table_id = '{table_id}')"
        queries = (
            f"{self.schema}.{name}",
            f"{self.schema}.{name}_static",
            f"{self.own}.row_tombstones WHERE {numbers}",
            f"{self.own}.range_tombstones WHERE {numbers}",
            f"{self.own}.rechecks WHERE table_id = '{table_id}'",
            f"{self.own}.dead_letters WHERE source_name = '{self.schema}.{name}'",
            f"{self.own}.snapshot_tasks WHERE table_id = '{table_id}' AND state <> 'done'",
        )
        return [self.run(f"SELECT count(*) FROM {query}")[0][0] for query in queries]

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement of the test."""
        cursor = self.connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def shared_database(postgres_server: PostgresServer) -> Iterator[str]:
    """One database for all tests of this file: each has a pipeline and a schema of its own."""
    name = f"truncations_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as admin:
        create_database(admin, name)
        yield postgres_server.dsn(name)
        drop_database(admin, name)


@pytest.fixture
def site(shared_database: str, tmp_path: Path) -> Iterator[Site]:
    made = Site(shared_database, tmp_path)
    yield made
    made.connection.close()


FULL = [1, 1, 2, 2, 1, 1, 4]
NOTHING = [0] * 7


@pytest.mark.requirement("FR-003")
def test_a_truncation_empties_its_table_and_sends_the_source_back(site: Site) -> None:
    epoch, first = site.begin(A)
    assert first == Resume(START, newest=first.newest)
    site.fill()
    site.advance(A, epoch, Position(12, 50))
    site.segment(11, 12)
    site.nodes[A] = {site.x: Truncation(Position(11, 70), 1000)}
    _, resume = site.begin(A)
    assert site.count("x") == NOTHING
    assert site.count("y") == FULL
    assert resume.position == Position(11, 70) == site.control.position(site.connection, A)
    assert resume.cuts == {site.x.bytes: Position(11, 70)}
    assert [(one.table, one.emptied, one.read_again) for one in resume.applied] == [(f"{site.schema}.x", True, False)]
    assert site.monitor.status()["truncations"] == {"applied": 1, "truncated_at": 1.0}
    with pytest.raises(FencedError):
        site.advance(A, epoch, Position(13, 0))
    site.run(f"INSERT INTO {site.schema}.x (p, k, v, _cdc_ts) VALUES (2, 2, 2, 2)")
    _, again = site.begin(A)
    assert again.applied == []
    assert site.count("x")[0] == 1, "what was applied once is not applied again"


def test_what_was_truncated_before_the_first_start_is_only_noted(site: Site) -> None:
    site.nodes[A] = {site.x: Truncation(Position(11, 70), 1000)}
    site.fill()
    _, resume = site.begin(A)
    assert resume.applied == []
    assert resume.cuts == {site.x.bytes: Position(11, 70)}
    assert site.count("x") == FULL


def test_a_source_that_has_not_come_so_far_stays_where_it_is(site: Site) -> None:
    epoch, _ = site.begin(A)
    site.fill()
    site.advance(A, epoch, Position(11, 10))
    site.nodes[A] = {site.x: Truncation(Position(11, 70), 1000)}
    _, resume = site.begin(A)
    assert resume.position == Position(11, 10)
    assert site.count("x") == NOTHING
    assert [one.read_again for one in resume.applied] == [False]


@pytest.mark.requirement("FR-003")
def test_a_table_whose_segments_are_gone_is_read_again(site: Site) -> None:
    epoch, _ = site.begin(A)
    site.fill()
    site.advance(A, epoch, Position(12, 50))
    site.segment(12)
    site.nodes[A] = {site.x: Truncation(Position(11, 70), 1000), site.y: Truncation(Position(12, 20), 1001)}
    _, resume = site.begin(A)
    assert resume.position == Position(12, 20)
    assert {one.table: one.read_again for one in resume.applied} == {
        f"{site.schema}.x": True,
        f"{site.schema}.y": False,
    }
    assert site.count("x") == [0, 0, 0, 0, 0, 0, 4], "its snapshot begins again"
    assert site.count("y") == NOTHING


def test_a_later_segment_that_was_deleted_first_is_noticed(site: Site) -> None:
    epoch, _ = site.begin(A)
    site.advance(A, epoch, Position(13, 50))
    site.segment(11, 13)
    site.truncations.deleted(12)
    site.nodes[A] = {site.x: Truncation(Position(11, 70), 1000), site.y: Truncation(Position(13, 20), 1001)}
    _, resume = site.begin(A)
    assert {one.table: one.read_again for one in resume.applied} == {
        f"{site.schema}.x": True,
        f"{site.schema}.y": False,
    }
    assert resume.position == Position(13, 20)


@pytest.mark.requirement("FR-003")
def test_one_process_empties_for_all_and_fences_the_others(site: Site) -> None:
    epochs = {}
    for source in (A, B, C):
        epochs[source], _ = site.begin(source)
        site.advance(source, epochs[source], Position(12, 50))
    site.fill()
    site.segment(11, 12)
    site.nodes[A] = {site.x: Truncation(Position(11, 1), 1000)}
    site.nodes[B] = {site.x: Truncation(Position(11, 2), 1000)}
    site.nodes[C] = None
    _, resume = site.begin(A)
    assert resume.position == Position(11, 1)
    assert site.count("x") == NOTHING
    assert site.waits == [], "all that answer agree"
    for source in (B, C):
        with pytest.raises(FencedError):
            site.advance(source, epochs[source], Position(13, 0))
        assert site.truncations.rewind_due(site.connection, source)
    assert not site.truncations.rewind_due(site.connection, A)

    site.run(f"INSERT INTO {site.schema}.x (p, k, v, _cdc_ts) VALUES (2, 2, 2, 2)")
    epoch, resume = site.begin(B)
    assert resume.position == Position(11, 2)
    assert [(one.table, one.emptied) for one in resume.applied] == [(f"{site.schema}.x", False)]
    assert site.count("x")[0] == 1, "B does not empty it again"
    site.advance(B, epoch, Position(13, 0))

    # C answers its own process only: another round, which sends A and B back, too.
    site.nodes[C] = {site.x: Truncation(Position(11, 3), 1000)}
    _, resume = site.begin(C)
    assert resume.position == Position(11, 3)
    assert site.count("x")[0] == 0
    with pytest.raises(FencedError):
        site.advance(B, epoch, Position(14, 0))
    assert site.begin(B)[1].position == Position(11, 2)
    assert site.begin(A)[1].position == Position(11, 1)


def test_nodes_that_are_not_done_are_waited_for_shortly(site: Site) -> None:
    for source in (A, B):
        site.begin(source)
    site.segment(11)
    site.nodes[A] = {site.x: Truncation(Position(11, 1), 1000)}
    done_after = 5
    sleep = site.sleep

    def finish(seconds: float) -> None:
        sleep(seconds)
        if len(site.waits) == done_after:
            site.nodes[B] = {site.x: Truncation(Position(11, 2), 1000)}

    site.truncations._sleep = finish
    site.begin(A)
    assert len(site.waits) == done_after
    assert site.begin(B)[1].cuts == {site.x.bytes: Position(11, 2)}

    site.nodes[A] = {site.x: Truncation(Position(11, 9), 2000)}
    begin = site.now
    site.begin(A)
    assert PEERS_S <= site.now - begin < PEERS_S + 1.0


def test_readers_do_not_stop_it(site: Site) -> None:
    site.begin(A)
    site.fill()
    site.nodes[A] = {site.x: Truncation(Position(11, 70), 1000)}
    with psycopg.connect(site.dsn) as reader:
        assert reader.execute(f"SELECT v FROM {site.schema}.x".encode()).fetchall() == [(1,)]
        site.begin(A)
    assert site.count("x") == NOTHING


@pytest.mark.requirement("FR-003")
def test_a_failure_on_the_way_leaves_everything_as_it_was(site: Site) -> None:
    epoch, _ = site.begin(A)
    site.fill()
    site.advance(A, epoch, Position(12, 50))
    site.segment(11, 12)
    site.nodes[A] = {site.x: Truncation(Position(11, 70), 1000)}
    with site.connection.transaction(force_rollback=True):
        _, position = site.control.acquire(site.connection, A)
        assert site.truncations.apply(site.connection, site.read, A, site.targets, position).applied
        assert site.count("x") == NOTHING
    assert site.count("x") == FULL
    assert site.control.position(site.connection, A) == Position(12, 50)
    site.advance(A, epoch, Position(12, 60))
    _, resume = site.begin(A)
    assert resume.position == Position(11, 70)
    assert site.count("x") == NOTHING


def test_a_node_that_does_not_answer_stops_the_start(site: Site) -> None:
    site.nodes[A] = None
    with pytest.raises(RetryableError):
        site.begin(A)
    assert site.control.position(site.connection, A) is None


def test_a_writer_that_does_not_finish_is_not_waited_for_for_ever(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truncations, "WRITERS_LOCK_MS", 50)
    site.begin(A)
    site.fill()
    site.nodes[A] = {site.x: Truncation(Position(11, 70), 1000)}
    with psycopg.connect(site.dsn) as writer:
        TruncationStore(site.control).lock(writer, [site.x])
        with pytest.raises(psycopg.errors.LockNotAvailable):
            site.begin(A)
    assert site.count("x") == FULL
    site.begin(A)
    assert site.count("x") == NOTHING
