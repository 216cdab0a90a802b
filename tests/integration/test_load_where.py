"""What PostgreSQL shows of a table with a condition is what the condition says of the pure merge of everything."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from casscade.core.cell import NO_TIMESTAMP, Cell, expiring_cell, live_cell, tombstone_cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.position import Position
from casscade.cql.types import CqlType
from casscade.load.batch import BatchWriter
from casscade.load.contents import Batch
from casscade.load.control import ControlStore
from casscade.load.raw import register
from casscade.load.sources import Sources
from casscade.merge.fold import Fold
from casscade.rules.table import TableRules
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import Target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from tests.support.oracle import INT, oracle_table, random_update, read_both, rows_expected
from tests.support.random_rows import NOW, copy_row
from tests.support.ruled import rules_of, target_of

pytestmark = [pytest.mark.servers, pytest.mark.requirement("FR-006")]

UPDATES = 100
ONE, TWO = (1).to_bytes(4, "big"), (2).to_bytes(4, "big")
# The condition, and the same in Python over (a, b, c, d, e).
CONDITIONS: list[tuple[str, Callable[[Any, Any, Any, Any, Any], bool]]] = [
    ("a = 1", lambda a, b, c, d, e: a == 1),
    ("b is null", lambda a, b, c, d, e: b is None),
    ("not (a < 0) or c = d", lambda a, b, c, d, e: (a is not None and a >= 0) or (c is not None and c == d)),
    ("e is not null and d is not null", lambda a, b, c, d, e: e is not None and d is not None),
    ("e is null", lambda a, b, c, d, e: e is None),
    # An update that matches by itself goes over a row that matches, and the outcome does not.
    ("a is null or c is null", lambda a, b, c, d, e: a is None or c is None),
]


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


def _writer(
    connection: psycopg.Connection[Any], target: Target, rules: TableRules, clock: Clock | None = None
) -> BatchWriter:
    register(connection)
    control = ControlStore("test", "casscade")
    control.migrate(connection)
    for statement in plan_target(target, ExistingSchema()):
        connection.execute(statement.sql.encode())
    epoch, _ = control.acquire(connection, "node")
    writer = BatchWriter(control, Sources.single("node", epoch), clock=clock or Clock())
    writer.add_target(connection, target, 3600, rules=rules)
    writer.prepare(connection)
    return writer


@pytest.mark.parametrize("number", range(len(CONDITIONS)))
def test_rows_are_shown_that_match_when_everything_is_merged(database: str, number: int) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    condition, holds = CONDITIONS[number]
    clustering = rng.random() < 0.7
    plain = rng.choice([0.4, 0.95])
    table = oracle_table(clustering=clustering, statics=clustering)
    rules = rules_of(table, {"where": condition})
    target = target_of(table, rules)
    state = rng.getrandbits(64)

    def updates() -> list[PartitionUpdate]:  # merging uses rows up, so each use builds them again
        again = random.Random(state)
        return [random_update(again, table, plain) for _ in range(UPDATES)]

    with psycopg.connect(database, autocommit=True) as connection:
        writer = _writer(connection, target, rules)
        order = [*range(UPDATES), *rng.sample(range(UPDATES), UPDATES // 2)]
        rng.shuffle(order)
        applied: list[int] = []
        while order:
            size = rng.choice([1, 2, 5, 40])
            cut, order = order[:size], order[size:]
            applied += cut
            fresh = updates()
            batch = Batch(Fold(), positions={"node": Position(1, len(applied))})
            for index in dict.fromkeys(cut):
                batch.fold.add([fresh[index]])
            writer.apply(connection, batch)
            if rng.random() < 0.08 or not order:
                fresh = updates()
                rows, statics = rows_expected([fresh[index] for index in dict.fromkeys(applied)], table)
                wanted = {key: values for key, values in rows.items() if holds(*values)}
                assert read_both(connection, target) == (wanted, statics)
                # A row's state is in one place.
                hidden = connection.execute("SELECT count(*) FROM casscade.hidden_rows").fetchone()
                assert hidden == (len(rows) - len(wanted),)


def _table() -> Table:
    columns = [Column("p", ColumnKind.PARTITION_KEY, 0, INT), Column("k", ColumnKind.CLUSTERING, 0, INT)]
    columns += [Column(name, ColumnKind.REGULAR, -1, CqlType("text")) for name in ("country", "name", "note")]
    return assign_indexes(Table(uuid.uuid4(), "ks", "people", tuple(columns)), {})


class People:
    """One row of one table, written step by step."""

    def __init__(self, connection: psycopg.Connection[Any], condition: str) -> None:
        self.table = _table()
        self.rules = rules_of(self.table, {"where": condition})
        self.target = target_of(self.table, self.rules)
        self.clock = Clock()
        self.connection = connection
        self.writer = _writer(connection, self.target, self.rules, self.clock)
        self.indexes = {column.name: column.index for column in self.table.regulars}

    def write(self, ts: int, *, insert: bool = False, **cells: Cell) -> list[tuple[Any, ...]]:
        row = Row(ONE, [ONE])
        row.liveness_ts = ts if insert else NO_TIMESTAMP
        row.cells = {self.indexes[name]: cell for name, cell in cells.items()}
        update = PartitionUpdate(self.table.shape(replicated=True), ONE)
        update.rows.append(copy_row(row))
        return self.apply(update)

    def delete_partition(self, ts: int) -> list[tuple[Any, ...]]:
        update = PartitionUpdate(self.table.shape(replicated=True), ONE)
        update.deletion = ts
        return self.apply(update)

    def apply(self, update: PartitionUpdate) -> list[tuple[Any, ...]]:
        batch = Batch(Fold())
        batch.fold.add([update])
        self.counts = self.writer.apply(self.connection, batch)
        return self.shown()

    def shown(self) -> list[tuple[Any, ...]]:
        return self.connection.execute("SELECT country, name, note FROM ks.people").fetchall()

    def hidden(self) -> int:
        (count,) = self.connection.execute("SELECT count(*) FROM casscade.hidden_rows").fetchone() or (0,)
        return int(count)


def test_a_row_leaves_and_comes_back_whole(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        people = People(connection, "country = 'DE'")
        whole = {"country": live_cell(1, b"FR"), "name": live_cell(1, b"Ada"), "note": live_cell(1, b"")}
        assert people.write(1, insert=True, **whole) == []
        assert people.counts.hidden == {"ks.people": 1}
        # A partial update that does not touch the condition, while the row is hidden.
        assert people.write(2, name=live_cell(2, b"Eve")) == []
        assert people.write(3, country=live_cell(3, b"DE")) == [("DE", "Eve", "")]
        assert people.counts.hidden == {}
        assert people.hidden() == 0
        assert people.write(4, note=live_cell(4, b"x")) == [("DE", "Eve", "x")]
        assert people.write(5, country=tombstone_cell(5)) == []
        assert people.hidden() == 1
        # Late, and older than what hides the row: nothing changes.
        assert people.write(4, country=live_cell(4, b"DE")) == []
        assert people.write(6, country=live_cell(6, b"DE"), name=tombstone_cell(6)) == [("DE", None, "x")]


def test_a_deletion_reaches_hidden_rows(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        people = People(connection, "country = 'DE'")
        people.write(1, insert=True, country=live_cell(1, b"FR"), name=live_cell(1, b"Ada"))
        assert people.delete_partition(2) == []
        assert people.hidden() == 0
        assert people.write(3, country=live_cell(3, b"DE")) == [("DE", None, None)]


def test_an_end_of_a_ttl_hides_and_shows(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        people = People(connection, "note is null")
        note = expiring_cell(1, NOW + 10, 10, b"soon")
        assert people.write(1, insert=True, name=live_cell(1, b"Ada"), note=note) == []
        assert people.hidden() == 1
        people.clock.now = NOW + 11
        people.writer.reap(connection)
        assert people.shown() == [(None, "Ada", None)]
        assert people.hidden() == 0


def test_a_row_with_nothing_but_its_key_is_hidden_too(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        people = People(connection, "country = 'DE'")
        assert people.write(1, insert=True) == []
        assert people.hidden() == 1
        assert people.write(2, country=live_cell(2, b"DE")) == [("DE", None, None)]
        assert people.write(3, country=tombstone_cell(3)) == []
        assert people.write(4, country=live_cell(4, b"DE")) == [("DE", None, None)]


@pytest.mark.requirement("FR-022")
def test_a_value_that_cannot_be_judged_sets_its_row_aside(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        people = People(connection, "country = 'DE'")
        assert people.write(1, insert=True, country=live_cell(1, b"\xff\xfe")) == []
        letters = connection.execute("SELECT code, message FROM casscade.dead_letters").fetchall()
        assert [code for code, _ in letters] == ["rule_failed"]
        assert people.counts.broken == {("ks.people", "where"): 1}
        assert "where" in letters[0][1]
        assert people.write(2, country=live_cell(2, b"DE")) == [("DE", None, None)]


def test_an_update_that_matches_by_itself_is_judged_by_the_whole_row(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        people = People(connection, "country is null or name is null")
        assert people.write(1, insert=True, country=live_cell(1, b"DE")) == [("DE", None, None)]
        assert people.write(2, name=live_cell(2, b"Ada")) == []
        assert people.write(3, country=tombstone_cell(3)) == [(None, "Ada", None)]
