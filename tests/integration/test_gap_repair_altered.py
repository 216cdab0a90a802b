"""A table is altered while the rows of a gap are repaired: nothing is lost, nothing made up, and nothing ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from casscade.config import load_config
from casscade.core.cell import live_cell
from casscade.core.gap import REPAIRED
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.notice import GAP, Notice
from casscade.core.position import Position
from casscade.load.control import ControlStore
from casscade.load.gaps import GapStore
from casscade.pipeline import gap_repair
from casscade.pipeline.gap_repair import GapRepair
from casscade.schema.mapping import Target
from casscade.snapshot.rows import TableScan
from casscade.transport.chunk import Chunk, RepairProgress
from casscade.verify.compare import compare_table
from tests.support.both_sides import compare_keyspace, describe
from tests.support.fake_schema import FakeLoader, encoded

pytestmark = pytest.mark.servers

ROWS = 6


class Site(FakeLoader):
    """A loader with a gap of which the ranges were read again, before its rows are compared."""

    def __init__(self, session: Any, keyspace: str, dsn: str, directory: Path) -> None:
        self.session, self.keyspace = session, keyspace
        self.cql("CREATE TABLE {}.t (p int, c int, a int, b text, PRIMARY KEY (p, c)) WITH cdc = true")
        self.cql("CREATE TABLE {}.other (p int PRIMARY KEY, a int) WITH cdc = true")
        self.gaps = GapStore(ControlStore("test", "casscade"))
        super().__init__(session, dsn, directory, "one", keyspace=keyspace, progress=self.repaired)
        with self.database.transaction() as connection:
            self.gaps.record(connection, Notice(GAP, "node", "lost:1", "lost", Position(1, 1), "lost"))
            (self.gap,) = self.gaps.due(connection)
        self.chunks: list[Chunk] = []
        self.uncompared: list[str] = []

    def repaired(self, connection: Any, progress: Any) -> None:
        assert isinstance(progress, RepairProgress)
        self.gaps.repaired(connection, progress.ids, progress.rows, done=progress.done)

    def cql(self, text: str) -> None:
        self.session.execute(text.format(self.keyspace))

    def stream(self, key: int, at: int, **values: bytes) -> None:
        """What the commit log brings of a row, with the schema as it is known."""
        shape = next(plan.target.table for plan in self.catalog.plans if plan.target.table.name == "t").shape(True)
        row = Row(b"\x00" + key.to_bytes(4, "big"), [key.to_bytes(4, "big")])
        row.cells = {shape.columns[name.encode()].index: live_cell(at, value) for name, value in values.items()}
        update = PartitionUpdate(shape, key.to_bytes(4, "big"))
        update.rows.append(row)
        self.take(encoded(update))

    def put(self, chunk: Chunk, stop: threading.Event) -> bool:
        self.chunks.append(chunk)
        return super().put(chunk, stop)

    def repair(self) -> GapRepair:
        """Started; it ends by itself."""
        tables = {target.table.id for target in self.catalog.targets}
        part = GapRepair(
            load_config(self.file),
            self.database,
            self.session.cluster,
            self.session,
            [self.gap],
            tables,
            self.catalog,
            lambda target: TableScan(target.table),
            self.put,
            "me",
            self.stop,
            self.uncompared.append,
        )
        part.start()
        return part

    def state(self) -> str:
        with self.database.transaction() as connection:
            return self.gaps.newest(connection)[0].state


@pytest.fixture
def site(cassandra_session: Any, keyspace: str, database: str, tmp_path: Path) -> Iterator[Site]:
    made = Site(cassandra_session, keyspace, database, tmp_path)
    yield made
    made.stop.set()
    made.evolution.join(10)
    made.close()


@pytest.mark.requirement("FR-016")
@pytest.mark.requirement("FR-023")
def test_columns_that_come_and_go_while_rows_are_repaired(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in range(ROWS):
        site.cql(f"INSERT INTO {{}}.t (p, c, a, b) VALUES ({key}, {key}, 1, 'b') USING TIMESTAMP 1000")
    site.cql("INSERT INTO {}.other (p, a) VALUES (1, 1)")
    # Of these rows everything but the key is wrong or missing; the last one was deleted in Cassandra.
    site.stream(0, 500, a=bytes(4))
    site.stream(99, 500, a=bytes(4), b=b"deleted")
    compared: list[str] = []

    def altered(_session: Any, _connection: Any, target: Target, **options: Any) -> Any:
        differs = options["on_difference"]
        compared.append(target.table.name)

        def first(*difference: Any) -> None:
            if compared.count("t") == 1 and target.table.name == "t":
                compared.append("altered")
                # A new column comes with a value which the stream brings, one goes, and the key is renamed.
                site.cql("ALTER TABLE {}.t ADD n int")
                site.cql("UPDATE {}.t USING TIMESTAMP 2000 SET n = 5 WHERE p = 0 AND c = 0")
                site.evolution.look()
                site.stream(0, 2000, n=(5).to_bytes(4, "big"))
                site.cql("ALTER TABLE {}.t DROP b")
                site.cql("ALTER TABLE {}.t RENAME c TO moment")
                site.evolution.start()
                differs(*difference)
                compared.append("t")
            else:
                differs(*difference)

        return compare_table(site.session, _connection, target, **options | {"on_difference": first})

    monkeypatch.setattr(gap_repair, "compare_table", altered)
    monkeypatch.setattr(gap_repair, "_SETTLE_S", 0.0)
    part = site.repair()
    part.join(30)
    assert part.failure is None
    assert "altered" in compared
    comparisons = compare_keyspace(site.session, site.dsn, site.keyspace)
    assert not any(one.differences for one in comparisons), describe(comparisons)
    assert site.rows(f"SELECT moment, a, n FROM {site.keyspace}.t WHERE p = 0") == [(0, 1, 5)]
    assert site.state() == REPAIRED


def test_a_table_that_is_dropped_while_rows_are_repaired_is_left_out(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.cql("INSERT INTO {}.other (p, a) VALUES (1, 1)")
    dropped = threading.Event()

    def drop(*arguments: Any, **options: Any) -> Any:
        if not dropped.is_set():
            dropped.set()
            site.cql("DROP TABLE {}.t")
            site.evolution.start()
        return compare_table(*arguments, **options)

    monkeypatch.setattr(gap_repair, "compare_table", drop)
    monkeypatch.setattr(gap_repair, "_SETTLE_S", 0.0)
    part = site.repair()
    part.join(30)
    assert part.failure is None
    assert site.rows(f"SELECT p, a FROM {site.keyspace}.other") == [(1, 1)]
    assert site.state() == REPAIRED
