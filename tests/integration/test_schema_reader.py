"""The schema of a real Cassandra, with everything that a table can have."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from casscade.core.cell import NO_TIMESTAMP
from casscade.core.errors import ConfigurationError
from casscade.devstack.cassandra import CassandraNode
from casscade.schema.checks import require_table
from casscade.schema.connect import CassandraSettings, Node, connect, read_node, require_cdc_enabled
from casscade.schema.model import ColumnKind, column_indexes
from casscade.schema.reader import read_schema

pytestmark = pytest.mark.servers


def settings(node: CassandraNode, **changes: Any) -> CassandraSettings:
    values: dict[str, Any] = {
        "contact_points": (node.address,),
        "port": node.port,
        "local_datacenter": "datacenter1",
        "request_timeout_s": 30.0,
    }
    return CassandraSettings(**{**values, **changes})


@pytest.fixture(scope="module")
def session(cassandra_node: CassandraNode) -> Iterator[Any]:
    cluster, opened = connect(settings(cassandra_node))
    yield opened
    cluster.shutdown()


@pytest.mark.requirement("FR-014")
def test_a_table_with_everything_is_read(cassandra_node: CassandraNode, session: Any, keyspace: str) -> None:
    # Of a fixed length, which vectors are since 5.0; a type of before takes their place elsewhere.
    v, length = ("vector<float, 3>", 12) if cassandra_node.release.line >= (5, 0) else ("double", 8)
    session.execute(f'CREATE TYPE {keyspace}."My T" (street text, zip int)')
    session.execute(
        f'CREATE TABLE {keyspace}.t (p1 text, p2 int, c1 int, "C 2" timeuuid, s1 int static, s2 list<text> static,'
        f' v {v}, m map<int, frozen<"My T">>, u "My T", fu frozen<"My T">, gone int, again text,'
        f' PRIMARY KEY ((p1, p2), c1, "C 2")) WITH CLUSTERING ORDER BY (c1 DESC, "C 2" ASC)'
        f" AND cdc = true AND gc_grace_seconds = 77 AND default_time_to_live = 99"
    )
    session.execute(f"ALTER TABLE {keyspace}.t DROP gone USING TIMESTAMP 1700000000000000")
    session.execute(f"ALTER TABLE {keyspace}.t DROP again USING TIMESTAMP 9223372036854775000")
    session.execute(f"ALTER TABLE {keyspace}.t ADD again text")
    snapshot = read_schema(session)
    table = require_table(snapshot, keyspace, "t")

    assert table.cdc
    assert (table.gc_grace_seconds, table.default_time_to_live) == (77, 99)
    assert [column.name for column in table.partition_key] == ["p1", "p2"]
    assert [(column.name, column.reversed) for column in table.clustering] == [("c1", True), ("C 2", False)]
    assert [(column.name, column.type.cql()) for column in table.statics] == [("s1", "int"), ("s2", "list<text>")]
    assert [(column.name, column.type.cql(), column.type.multi_cell) for column in table.regulars] == [
        ("again", "text", False),
        ("fu", 'frozen<"My T">', False),
        ("m", 'map<int, frozen<"My T">>', True),
        ("u", '"My T"', True),
        ("v", v, False),
    ]
    gone = table.column("gone")
    assert gone is not None
    assert gone.dropped
    assert (gone.kind, gone.type.cql(), gone.dropped_at) == (ColumnKind.REGULAR, "int", 1700000000000000)
    again = table.column("again")
    assert again is not None
    assert again.dropped_at == 9223372036854775000
    assert table.regulars[1].dropped_at == NO_TIMESTAMP
    assert column_indexes(table) == {"again": 0, "fu": 1, "gone": 2, "m": 3, "u": 4, "v": 5, "s1": 6, "s2": 7}
    shape = table.shape(replicated=True)
    assert shape.clustering_lengths == [4, 16]
    assert shape.columns[b"v"].fixed_length == length


def test_system_tables_are_in_the_snapshot_with_their_shapes(session: Any) -> None:
    snapshot = read_schema(session)
    batches = snapshot.find("system", "batches")
    assert batches is not None
    assert batches.shape(replicated=False).columns[b"mutations"].multi_cell
    assert not any(table.is_compact for table in snapshot.tables.values() if table.keyspace == "system_schema")


def test_tables_that_the_real_schema_shows_as_unfit(session: Any, keyspace: str) -> None:
    session.execute(f"CREATE TABLE {keyspace}.plain (p int PRIMARY KEY, v int)")
    session.execute(f"CREATE TABLE {keyspace}.counts (p int PRIMARY KEY, n counter)")
    snapshot = read_schema(session)
    codes = {}
    for name in ("plain", "counts", "absent"):
        with pytest.raises(ConfigurationError) as caught:
            require_table(snapshot, keyspace, name)
        codes[name] = caught.value.code
    assert codes == {"plain": "table_without_cdc", "counts": "table_without_cdc", "absent": "table_unknown"}


def test_the_node_says_who_it_is(session: Any, cassandra_node: CassandraNode) -> None:
    node = read_node(session, cassandra_node.address)
    assert node == read_node(session)
    # Releases before 4.0 have no table of settings.
    assert node.cdc_enabled is (True if cassandra_node.release.line >= (4, 0) else None)
    assert node.release_version == cassandra_node.version
    assert node.partitioner.endswith("Murmur3Partitioner")
    require_cdc_enabled(node)
    with pytest.raises(ConfigurationError) as caught:
        read_node(session, "127.0.0.250")
    assert caught.value.code == "cassandra_unreachable"


def test_a_node_without_cdc_is_refused() -> None:
    node = Node(uuid.uuid4(), "127.0.0.1", "dc1", "5.0.6", "Murmur3Partitioner", cdc_enabled=False)
    with pytest.raises(ConfigurationError) as caught:
        require_cdc_enabled(node)
    assert caught.value.code == "cdc_disabled"
    assert "cdc_enabled: true" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "code", "part"),
    [
        ({"port": 1}, "cassandra_unreachable", ":1"),
        ({"contact_points": ("nowhere.invalid",)}, "cassandra_unreachable", "nowhere.invalid"),
        ({"local_datacenter": "dc9"}, "datacenter_unknown", "datacenter1"),
    ],
)
def test_a_start_that_fails_says_why(
    cassandra_node: CassandraNode, changes: dict[str, Any], code: str, part: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        connect(settings(cassandra_node, **changes))
    assert caught.value.code == code
    assert part in caught.value.what
