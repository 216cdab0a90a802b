"""What becomes of gaps: repaired, stopping the pipeline, or ignored, as the configuration says; Cassandra is faked."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from casscade.config.load import parse_config
from casscade.core.errors import ConfigurationError, RetryableError
from casscade.core.gap import IGNORED, OPEN, READING
from casscade.core.notice import BEGIN, GAP, NODE_GONE, TABLE_CDC_OFF, Notice
from casscade.core.position import Position
from casscade.cql.types import CqlType
from casscade.devstack.postgres import PostgresServer
from casscade.load.control import ControlStore
from casscade.load.gaps import GapStore
from casscade.pipeline import gap_repair
from casscade.pipeline.database import Database
from casscade.pipeline.gaps import GAP_FOUND, Gaps
from casscade.pipeline.monitor import Monitor
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import Target, build_target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from casscade.snapshot.store import SnapshotStore
from casscade.transport.chunk import Chunk, RepairProgress
from tests.support.databases import create_database, drop_database
from tests.support.ruled import rules_of, target_of

pytestmark = pytest.mark.servers

CONFIG = """
name: {name}
cassandra: {{contact_points: ["127.0.0.1"], local_datacenter: datacenter1}}
capture: {{cdc_directory: raw, state_directory: state, on_gap: {policy}}}
postgres: {{dsn: "{dsn}"}}
tables: [{{source: "shop.*"}}]
snapshot: {{ranges_per_table: 4}}
load: {{pool: {{min: 1, max: 2}}}}
"""
NODE = uuid.UUID(int=1)
INT = CqlType("int")
LOST = Notice(GAP, str(NODE), "segment_vanished:7", "segment_vanished", Position(7, 3), "it was deleted")


def make_target(name: str) -> Target:
    columns = (Column("p", ColumnKind.PARTITION_KEY, 0, INT), Column("v", ColumnKind.REGULAR, -1, INT))
    return build_target(assign_indexes(Table(uuid.uuid4(), "shop", name, columns), {}))


class Site:
    """One process of a pipeline with two tables; `hosts` are the nodes of the cluster, which tell no ring."""

    def __init__(self, dsn: str, name: str, policy: str) -> None:
        text = CONFIG.format(dsn=dsn, name=name, policy=policy)
        config = parse_config(text.encode(), "test.yaml", {}, Path("/nowhere"))
        self.hosts = [NODE]
        all_hosts = lambda: [SimpleNamespace(host_id=host) for host in self.hosts]  # noqa: E731
        metadata = SimpleNamespace(all_hosts=all_hosts, token_map=None)
        self.session: Any = SimpleNamespace(cluster=SimpleNamespace(metadata=metadata))
        self.targets = [make_target("x"), make_target("y")]
        self.database = Database(config)
        self.database.open()
        control = ControlStore(name, "casscade")
        self.store = GapStore(control)
        self.tasks = SnapshotStore(name, "casscade")
        self.monitor = Monitor(name)
        self.gaps = Gaps(config, self.database, self.tasks, self.monitor)
        with self.database.transaction() as connection:
            control.migrate(connection)

    def tell(self, *notices: Notice) -> None:
        """A batch brings notices."""
        with self.database.transaction() as connection:
            for notice in notices:
                self.gaps.record(connection, notice)

    def plan(self) -> set[uuid.UUID]:
        """A life begins."""
        with self.database.transaction() as connection:
            return self.gaps.plan(connection, self.session, self.targets, "process")

    def states(self) -> list[tuple[str, str]]:
        with self.database.transaction() as connection:
            return [(gap.reason, gap.state) for gap in self.store.newest(connection)]

    def ranges(self) -> dict[str, int]:
        """How many ranges of each table are to be read."""
        with self.database.transaction() as connection:
            progress = self.tasks.progress(connection)
        return {each.source_name: each.ranges_total - each.ranges_done for each in progress}

    def metrics(self) -> str:
        return self.monitor.metrics.render().decode()


MakeSite = Callable[[str], Site]


@pytest.fixture(scope="module")
def dsn(postgres_server: PostgresServer) -> Iterator[str]:
    name = f"gaps_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as admin:
        create_database(admin, name)
        yield postgres_server.dsn(name)
        drop_database(admin, name)


@pytest.fixture
def make_site(dsn: str) -> Iterator[MakeSite]:
    sites: list[Site] = []

    def make(policy: str) -> Site:
        sites.append(Site(dsn, f"p{uuid.uuid4().hex[:8]}", policy))
        return sites[-1]

    yield make
    for site in sites:
        site.database.close()


@pytest.mark.requirement("FR-023")
def test_a_gap_rebuilds_the_parts_and_has_its_ranges_read_again(make_site: MakeSite) -> None:
    site = make_site("resnapshot")
    assert site.plan() == set()
    site.gaps.check()
    site.tell(LOST)
    with pytest.raises(RetryableError) as found:
        site.gaps.check()
    assert found.value.code == GAP_FOUND
    assert site.plan() == {target.table.id for target in site.targets}
    assert site.states() == [("segment_vanished", READING)]
    assert site.ranges() == {"shop.x": 4, "shop.y": 4}
    site.tell(LOST)
    site.gaps.check()  # the same, told again: nothing new
    (shown,) = site.monitor.status()["gaps"]
    assert (shown["reason"], shown["state"], shown["position"]) == ("segment_vanished", READING, "7:3")
    text = site.metrics()
    assert f'casscade_gap_open_gaps{{pipeline="{site.gaps._config.name}"}} 1.0' in text


def test_a_gap_of_one_table_concerns_that_one(make_site: MakeSite) -> None:
    site = make_site("resnapshot")
    table = site.targets[1].table.id
    site.tell(Notice(GAP, str(NODE), f"{TABLE_CDC_OFF}:1", TABLE_CDC_OFF, Position(1, 1), "off", table))
    assert site.plan() == {table}
    assert site.ranges() == {"shop.y": 4}


@pytest.mark.requirement("FR-023")
def test_a_gap_may_stop_the_pipeline_until_the_policy_changes(make_site: MakeSite) -> None:
    site = make_site("stop")
    site.plan()
    site.gaps.require_none()
    site.tell(LOST)
    for look in (site.gaps.check, site.gaps.require_none, site.gaps.require_none):
        with pytest.raises(ConfigurationError) as stopped:
            look()
        assert stopped.value.code == "gap_open"
        assert "segment_vanished" in stopped.value.what
        assert "on_gap: resnapshot" in stopped.value.hint
    assert site.plan() == set()
    assert site.states() == [("segment_vanished", OPEN)]


def test_a_gap_may_be_ignored_and_stays_known(make_site: MakeSite) -> None:
    site = make_site("ignore")
    site.tell(LOST)
    site.gaps.check()
    assert site.states() == [("segment_vanished", IGNORED)]
    site.tell(LOST._replace(key="segment_vanished:8"))
    assert site.plan() == set()
    assert {state for _, state in site.states()} == {IGNORED}
    assert site.ranges() == {}


@pytest.mark.requirement("FR-013")
def test_a_table_whose_key_is_hashed_is_named_by_its_gap_and_counted(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gap_repair, "RawSession", lambda _cluster: SimpleNamespace(close=lambda: None))
    site = make_site("resnapshot")
    table = site.targets[1].table
    rules = rules_of(table, {"transforms": [{"hash": {"columns": ["p"]}}]})
    site.targets = [target_of(table, rules)]
    site.tell(LOST)
    site.tell(Notice(GAP, str(NODE), f"{TABLE_CDC_OFF}:1", TABLE_CDC_OFF, Position(1, 1), "off", uuid.uuid4()))
    site.plan()
    with site.database.transaction() as connection:
        for statement in plan_target(site.targets[0], ExistingSchema()):
            connection.execute(statement.sql.encode())
        connection.execute("UPDATE casscade.snapshot_tasks SET state = 'done'")
    told: list[RepairProgress] = []

    def put(chunk: Chunk, _stop: threading.Event) -> bool:
        assert isinstance(chunk.progress, RepairProgress)
        told.append(chunk.progress)
        return True

    for _ in range(2):  # a repair may begin again
        newest: Any = SimpleNamespace(readable=site.targets, rules={table.id.bytes: rules})
        repair = site.gaps.repair(None, site.session, "5.0.0", newest, put, threading.Event())
        assert repair is not None
        repair.work()
    assert [progress.done for progress in told] == [True, True]
    with site.database.transaction() as connection:
        details = {gap.reason: gap.detail for gap in site.store.newest(connection)}
        for progress in told:
            site.gaps.repaired(connection, progress.ids, 0, done=True)
    assert details == {"segment_vanished": "it was deleted; not compared: shop.y", TABLE_CDC_OFF: "off"}
    assert 'casscade_gap_uncompared_tables_total{pipeline="' in site.metrics()
    site.gaps.check()
    advice = {gap["reason"]: gap["advice"] for gap in site.monitor.status()["gaps"]}
    assert "docs/rules.md" in advice["segment_vanished"]


def test_a_node_that_left_the_cluster_is_a_gap_once(make_site: MakeSite) -> None:
    site = make_site("resnapshot")
    old = uuid.UUID(int=9)
    site.hosts.append(old)
    site.tell(Notice(BEGIN, str(NODE), "run"), Notice(BEGIN, str(old), "other run"))
    assert site.plan() == set()
    site.hosts.remove(old)
    assert len(site.plan()) == 2
    site.plan()
    assert site.states() == [(NODE_GONE, READING)]
