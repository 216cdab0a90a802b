"""Rows of PostgreSQL that a gap left wrong become what all replicas show, and nothing else is touched."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import psycopg
import pytest
from cassandra import ConsistencyLevel

from casscade.commitlog.encoder import encode_mutation
from casscade.commitlog.observations import OBSERVING
from casscade.core.cell import NO_TIMESTAMP, live_cell
from casscade.core.keys import split_partition_key
from casscade.core.mutation import ComplexColumn, PartitionUpdate, Row
from casscade.core.position import Position
from casscade.cql.types import parse_type
from casscade.devstack.postgres import PostgresServer
from casscade.load.batch import BatchWriter
from casscade.load.batcher import Batcher
from casscade.load.control import ControlStore
from casscade.load.raw import register
from casscade.load.rewriting import rewriting_of
from casscade.load.sources import Sources
from casscade.pipeline import hidden_repair
from casscade.pipeline.row_repair import RowRepair
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.key_form import AUTO, EXACT
from casscade.schema.mapping import Target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes, ordered_columns
from casscade.snapshot.page import Page
from casscade.snapshot.rows import TableScan
from casscade.transport.chunk import Chunk, RepairProgress
from tests.support.databases import create_database, drop_database
from tests.support.ruled import rules_of, target_of

pytestmark = pytest.mark.servers

KINDS = {"p": ColumnKind.PARTITION_KEY, "c": ColumnKind.CLUSTERING, "s": ColumnKind.STATIC, "r": ColumnKind.REGULAR}
NOW = int(time.time())
NULL: list[bytes | None] = [None, None, None]


def i32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def i64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def shown(value: bytes | None, written: int = 0) -> list[bytes | None]:
    return NULL if value is None else [value, i64(written), None]


def shown_elements(*elements: tuple[bytes, int]) -> list[bytes | None]:
    """A set or list with the write time of each element, as CQL of 5.0 shows it."""
    if not elements:
        return NULL
    values = i32(len(elements)) + b"".join(i32(len(each)) + each for each, _ in elements)
    times = i32(len(elements)) + b"".join(i32(8) + i64(at) for _, at in elements)
    ttls = i32(len(elements)) + i32(0xFFFFFFFF) * len(elements)
    return [values, times, ttls]


class Replicas:
    """What all replicas show: raw rows by the values of their keys; `asked` has the consistency of each statement."""

    def __init__(self) -> None:
        self.rows: dict[tuple[bytes, ...], list[bytes | None]] = {}
        self.asked: list[int] = []

    def prepare(self, query: str, consistency: int) -> Any:
        self.asked.append(consistency)
        return query

    def read(self, statement: Any, key: Sequence[bytes]) -> Page:
        width = statement.partition(" WHERE ")[2].count("?")
        row = self.rows.get(tuple(key)[:width])
        data = b""
        for value in row or []:
            data += b"\xff\xff\xff\xff" if value is None else i32(len(value)) + value
        return Page(data, int(row is not None), len(row or []), now=NOW, read_at=NOW * 10**6, paging_state=None)


class Copy:
    """A table with every sort of column, loaded by hand; `entry` has its rules."""

    def __init__(
        self, connection: psycopg.Connection[Any], dsn: str, key: str, entry: dict[str, Any] | None = None
    ) -> None:
        columns = [("p", "p", "int"), ("c", "c", "int"), ("owner", "s", "text"), ("a", "r", "text"), ("b", "r", "text")]
        columns += [("steps", "r", "list<int>"), ("tags", "r", "set<text>")]
        built = [
            Column(name, KINDS[kind], 0 if kind in "pc" else -1, parse_type(text, "k", {}))
            for name, kind, text in columns
        ]
        self.table = assign_indexes(Table(uuid.uuid4(), "ks", "t", ordered_columns(built), cdc=True), {})
        self.number = {column.name: column.index for column in self.table.columns if column.index >= 0}
        self.shape = self.table.shape(replicated=True)
        self.rules = rules_of(self.table, entry or {})
        self.target = target_of(self.table, self.rules, schema="copy", key=key)
        self.connection = connection
        control = ControlStore("test", "casscade")
        control.migrate(connection)
        for statement in plan_target(self.target, ExistingSchema()):
            connection.execute(statement.sql.encode())
        epoch, _ = control.acquire(connection, "node")
        self.writer = BatchWriter(
            control, Sources.single("node", epoch), commit_progress=lambda _connection, _progress: None
        )
        self.writer.add_target(connection, self.target, 0, rules=self.rules)
        self.writer.prepare(connection)
        self.replicas = Replicas()
        self.own = psycopg.connect(dsn, autocommit=True)
        register(self.own)
        scans = {self.table.id: TableScan(self.table)}
        self.repairer = RowRepair(control, self.writer, self.own, self.replicas, scans)

    def apply(self, *mutations: bytes, version: int = 8) -> None:
        progress = None if version == 8 else RepairProgress((1,), len(mutations), False)
        shapes, rewriting = {self.shape.id: self.shape}, rewriting_of([self.rules])
        batcher = Batcher(lambda: shapes, lambda _: False, batch_rows=99, batch_s=9.0, rewriting=rewriting)
        offsets = list(range(len(mutations)))
        batcher.add(Chunk("node", version, Position(1, 1), 0.0, list(mutations), offsets, progress=progress))
        counts = self.writer.apply(self.connection, batcher.take())
        assert not counts.dead_letters

    def insert(self, p: int, c: int, at: int, *, liveness: bool = True, a: bytes = b"a") -> None:
        """A row with a value in every column, all written at `at`."""
        update = PartitionUpdate(self.shape, i32(p))
        row = Row(b"", [i32(c)])
        row.liveness_ts = at if liveness else NO_TIMESTAMP
        row.cells = {self.number["a"]: live_cell(at, a), self.number["b"]: live_cell(at, b"b")}
        elements = {b"x": live_cell(at, b""), b"y": live_cell(at, b"")}
        items = {uuid.UUID(int=1).bytes: live_cell(at, i32(7))}
        row.complex = {
            self.number["tags"]: ComplexColumn(at - 1, elements),
            self.number["steps"]: ComplexColumn(at - 1, items),
        }
        update.rows.append(row)
        update.static_row = Row(b"", [])
        update.static_row.cells[self.number["owner"]] = live_cell(at, b"owner")
        self.apply(encode_mutation([update], 8))

    def show(self, p: int, c: int, *parts: list[bytes | None]) -> None:
        """What the replicas show of a row: owner, a, b, steps, tags."""
        owner, a, b, steps, tags = parts
        self.replicas.rows[i32(p), i32(c)] = [i64(5), i32(p), i32(c), *owner, *a, *b, *steps, *tags]

    def repair(self, p: int, c: int | None) -> bool:
        """Repair a row, or for None the statics of its partition; whether there was anything to do."""
        relation = self.target.rows
        if c is None:
            assert self.target.statics is not None
            relation = self.target.statics
        key = (i32(p),) if c is None else (i32(p), i32(c))
        mutation = self.repairer.repair(self.target, relation, key)
        if mutation is not None:
            self.apply(mutation, version=OBSERVING)
        return mutation is not None

    def rows(self) -> list[tuple[Any, ...]]:
        return self.connection.execute("SELECT p, c, a, b, steps, tags FROM copy.t ORDER BY p, c").fetchall()

    def rechecks(self) -> list[tuple[Any, ...]]:
        return self.connection.execute("SELECT static, columns FROM casscade.rechecks").fetchall()


@pytest.fixture(scope="module", params=[AUTO, EXACT])
def loaded(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[Copy]:
    name = f"repair_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as admin:
        create_database(admin, name)
        with psycopg.connect(postgres_server.dsn(name), autocommit=True) as connection:
            register(connection)
            made = Copy(connection, postgres_server.dsn(name), request.param)
            yield made
            made.own.close()
        drop_database(admin, name)


@pytest.fixture
def copy(loaded: Copy) -> Copy:
    """The table, empty; the replicas show nothing."""
    loaded.connection.execute("TRUNCATE copy.t, copy.t_static, casscade.rechecks, casscade.row_tombstones")
    loaded.writer.prepare(loaded.connection)
    loaded.replicas.rows.clear()
    return loaded


@pytest.mark.requirement("FR-023")
@pytest.mark.parametrize("liveness", [True, False])
def test_a_row_that_no_replica_shows_goes_and_one_written_later_stays(copy: Copy, liveness: bool) -> None:
    copy.insert(1, 1, 1000, liveness=liveness)
    copy.insert(1, 2, 1000, liveness=liveness)
    assert copy.repair(1, 1)
    assert [row[:2] for row in copy.rows()] == [(1, 2)]
    assert set(copy.replicas.asked) == {ConsistencyLevel.ALL}
    assert not copy.repair(1, 1), "nothing is left to do"
    copy.insert(1, 1, 1001)
    assert len(copy.rows()) == 2


@pytest.mark.requirement("FR-023")
def test_columns_and_elements_that_were_deleted_go_and_newer_values_come(copy: Copy) -> None:
    copy.insert(1, 1, 1000)
    copy.show(1, 1, NULL, shown(b"a", 1000), NULL, NULL, shown_elements((b"y", 1000), (b"z", 2000)))
    assert copy.repair(1, 1)
    assert copy.rows() == [(1, 1, "a", None, None, ["y", "z"])]
    assert copy.rechecks() == [(False, [copy.number["steps"]])]
    copy.show(1, 1, NULL, shown(b"new", 3000), shown(b"b", 3000), NULL, shown_elements())
    assert copy.repair(1, 1)
    assert copy.rows() == [(1, 1, "new", "b", None, None)]


def test_a_list_that_is_shown_is_left_to_the_recheck(copy: Copy) -> None:
    copy.insert(1, 1, 1000)
    steps = shown_elements((i32(9), 1000))
    copy.show(1, 1, NULL, shown(b"a", 1000), shown(b"b", 1000), steps, shown_elements((b"x", 1000), (b"y", 1000)))
    copy.repair(1, 1)
    assert copy.rows() == [(1, 1, "a", "b", [7], ["x", "y"])]
    assert copy.rechecks() == [(False, [copy.number["steps"]])]


def test_statics_that_were_deleted_go(copy: Copy) -> None:
    copy.insert(1, 1, 1000)
    copy.show(1, 1, NULL, shown(b"a", 1000), NULL, NULL, shown_elements())
    copy.replicas.rows[(i32(1),)] = copy.replicas.rows[i32(1), i32(1)]
    assert copy.repair(1, None)
    assert copy.connection.execute("SELECT count(*) FROM copy.t_static").fetchone() == (0,)
    assert len(copy.rows()) == 1


def test_a_row_that_postgres_misses_comes(copy: Copy) -> None:
    copy.show(4, 1, NULL, shown(b"a", 1000), NULL, NULL, shown_elements((b"x", 9)))
    assert copy.repair(4, 1)
    assert copy.rows() == [(4, 1, "a", None, None, ["x"])]
    assert split_partition_key(i32(4), 1) == [i32(4)]


RULES: dict[str, Any] = {"where": "a = 'shown'", "transforms": [{"mask": {"columns": ["b"], "with": "hmac-sha256"}}]}


class ShownNow:
    """What a read of many keys shows, in place of `CassandraTable`: the values of a, b, steps and tags."""

    rows: ClassVar[dict[tuple[bytes, ...], list[bytes | None]]] = {}

    def __init__(self, session: Any, target: Target, *_: Any) -> None:
        self.regulars = target.table.regulars

    def find(self, keys: list[tuple[bytes, ...]], *, static: bool) -> list[list[bytes | None] | None]:
        assert not static
        return [self.rows.get(key) for key in keys]

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def ruled(postgres_server: PostgresServer) -> Iterator[Copy]:
    name = f"repair_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as admin:
        create_database(admin, name)
        with psycopg.connect(postgres_server.dsn(name), autocommit=True) as connection:
            register(connection)
            made = Copy(connection, postgres_server.dsn(name), AUTO, RULES)
            yield made
            made.own.close()
        drop_database(admin, name)


def hidden_keys(copy: Copy) -> set[tuple[int, int]]:
    hidden = copy.repairer.hidden_rows(copy.target)
    assert hidden is not None
    pages = hidden.pages(copy.own, 2)
    keys = {(partition_key, row.clustering[0]) for page in pages for partition_key, row in page}
    return {(int.from_bytes(p), int.from_bytes(c or b"")) for p, c in keys}


@pytest.mark.requirement("FR-006")
@pytest.mark.requirement("FR-023")
def test_hidden_rows_are_repaired_and_never_come_back_with_what_was_deleted(
    ruled: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for c in range(1, 6):
        ruled.insert(1, c, 1000, a=b"hidden")
    ruled.insert(2, 1, 1000, a=b"shown")
    ruled.show(1, 1, NULL, shown(b"hidden", 1000), NULL, NULL, shown_elements((b"y", 1000)))  # b, tag x are deleted
    for c in (3, 4, 5):
        tags = shown_elements((b"x", 1000), (b"y", 1000))
        a = shown(b"shown" if c == 5 else b"hidden", 2000 if c == 5 else 1000)
        ruled.show(1, c, NULL, a, shown(b"b", 1000), shown_elements((i32(7), 1000)), tags)
    assert hidden_keys(ruled) == {(1, c) for c in range(1, 6)}

    # What a read shows tells which ones have to be looked at: not those that are equal.
    both = i32(2) + i32(1) + b"x" + i32(1) + b"y"
    steps = i32(1) + i32(4) + i32(7)
    one = i32(1) + i32(1) + b"y"
    same: list[bytes | None] = [b"hidden", b"b", steps, both]
    columns = {"a": 0, "b": 1, "steps": 2, "tags": 3}
    place = [columns[column.name] for column in ruled.table.regulars]
    gone: list[bytes | None] = [b"hidden", None, None, one]
    last: list[bytes | None] = [b"shown", b"b", steps, both]
    read = {1: gone, 3: same, 4: same, 5: last}
    rows = {(i32(1), i32(c)): [values[each] for each in place] for c, values in read.items()}
    monkeypatch.setattr(ShownNow, "rows", rows)
    monkeypatch.setattr(hidden_repair, "CassandraTable", ShownNow)
    hidden = ruled.repairer.hidden_rows(ruled.target)
    assert hidden is not None
    found = set(hidden_repair.suspects(None, ruled.own, ruled.target, ruled.rules, hidden, 1))
    assert found == {(i32(1), i32(c)) for c in (1, 2, 5)}

    for c in (1, 2, 5):
        assert ruled.repair(1, c)
    assert hidden_keys(ruled) == {(1, c) for c in (1, 3, 4)}
    assert [(row[0], row[1], row[2]) for row in ruled.rows()] == [(1, 5, "shown"), (2, 1, "shown")]
    # Written again, what was deleted stays deleted.
    for c in (1, 2):
        update = PartitionUpdate(ruled.shape, i32(1))
        update.rows.append(Row(b"", [i32(c)]))
        update.rows[0].cells = {ruled.number["a"]: live_cell(3000, b"shown")}
        ruled.apply(encode_mutation([update], 8))
    assert ruled.rows()[:2] == [(1, 1, "shown", None, None, ["y"]), (1, 2, "shown", None, None, None)]
