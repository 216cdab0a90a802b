"""Two loaders on topics of Debezium's, with a real broker and a real Cassandra: both sides equal whatever the order.

The events are made here, in the shape of the connector's (see the samples), beside the statement that each describes.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined] # re-exported without saying so

from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.places import free_port
from tests.matrix.test_kafka import wait_equal
from tests.support.pipeline_process import PipelineProcess, configuration

pytestmark = [pytest.mark.servers]

PARTITIONS: Final = 3
BEGINNING: Final = 1_750_000_000_000_000
SIMPLE: Final = ("qty", "sku")


class Statements:
    """Random statements to one table, each with the event that the connector would write."""

    def __init__(self, seed: int, keyspace: str) -> None:
        self._chance = random.Random(seed)
        self._keyspace = keyspace
        self._times = list(range(BEGINNING, BEGINNING + 3_000_000, 1_000))
        self._chance.shuffle(self._times)

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        while True:
            yield self._next()

    def _next(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """CQL, key and value."""
        pick, time = self._chance.randrange, self._times.pop()
        p, c, n = pick(3), pick(4), pick(5)
        kind = pick(10)
        table, row = f"{self._keyspace}.orders", f"p = {p} AND c = {c}"
        update = f"UPDATE {table} USING TIMESTAMP {time} SET"
        if kind < 3:
            cql = f"INSERT INTO {table} (p, c, qty, sku) VALUES ({p}, {c}, {n}, 's{n}') USING TIMESTAMP {time}"
            return self._event(cql, "i", p, c, time, qty=n, sku=f"s{n}")
        if kind < 5:
            column, value, text = (("qty", n, str(n)), ("qty", None, "null"), ("sku", f"u{n}", f"'u{n}'"))[pick(3)]
            return self._event(f"{update} {column} = {text} WHERE {row}", "u", p, c, time, **{column: value})
        if kind < 8:
            changes: tuple[tuple[str, str, Any], ...] = (
                ("tags", f"tags + {{{n}}}", [n]),
                ("tags", f"tags - {{{n}}}", [n]),
                ("tags", f"{{{n}}}", [n]),
                ("notes", f"notes + ['n{n}']", [f"n{n}"]),
                ("counts", f"counts + {{'k{n}': {n}}}", {f"k{n}": n}),
                ("counts", f"counts - {{'k{n}'}}", {f"k{n}": None}),
                ("counts", "{}", {}),
            )
            name, change, elements = changes[pick(len(changes))]
            return self._event(f"{update} {name} = {change} WHERE {row}", "u", p, c, time, **{name: elements})
        delete = f"DELETE FROM {table} USING TIMESTAMP {time} WHERE"
        if kind == 8:
            return self._event(f"{delete} {row}", "d", p, c, time, **dict.fromkeys(SIMPLE))
        if pick(2):
            return self._event(f"{delete} p = {p}", "d", p, None, time, **dict.fromkeys(SIMPLE))
        bounds = {
            "_range_start": self._bound("EXCL_START_BOUND", str(c)),
            "_range_end": {"method": "INCL_END_BOUND", "values": []},
        }
        return self._event(f"{delete} p = {p} AND c > {c}", "r", p, None, time, **bounds)

    def _bound(self, method: str, text: str) -> dict[str, Any]:
        return {"method": method, "values": [{"name": "c", "value": text, "type": "Int32Type"}]}

    def _event(
        self, cql: str, op: str, p: int, c: int | None, time: int, **columns: Any
    ) -> tuple[str, dict[str, Any], dict[str, Any]]:
        moment = time if op == "d" else None
        after: dict[str, Any] = {
            "p": _frame(p, None),
            "c": None if op == "r" else _frame(c, moment if c is None else None),
        }
        for name, value in columns.items():
            after[name] = value if name.startswith("_range") else _frame(value, moment)
        source = {
            "connector": "cassandra", "snapshot": "false", "ts_us": time, "keyspace": self._keyspace, "table": "orders"
        }  # fmt: skip
        return cql, {"p": p, "c": c}, {"ts_ms": time // 1_000, "op": op, "source": source, "after": after}


def _frame(value: Any, moment: int | None) -> dict[str, Any]:
    return {"value": value, "deletion_ts": moment, "set": True}


@pytest.mark.requirement("FR-003")
@pytest.mark.requirement("FR-043")
def test_both_sides_are_equal_with_the_events_of_debezium(
    cassandra_node: CassandraNode,
    cassandra_session: Any,
    kafka_broker: KafkaBroker,
    keyspace: str,
    database: str,
    tmp_path: Path,
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    shuffled = random.Random(seed)
    cassandra_session.execute(
        f"CREATE TABLE {keyspace}.orders (p int, c int, qty int, sku text, tags set<int>, notes list<text>, "
        "counts map<text, int>, PRIMARY KEY (p, c)) WITH cdc = true"
    )
    topic = f"cdc{uuid.uuid4().hex[:8]}.{keyspace}.orders"
    admin = AdminClient({"bootstrap.servers": kafka_broker.bootstrap})
    admin.create_topics([NewTopic(topic, num_partitions=PARTITIONS, replication_factor=1)])[topic].result()
    producer = Producer({"bootstrap.servers": kafka_broker.bootstrap})

    def write(statements: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> None:
        """Execute them all, then let the connectors of two replicas tell of them in an order of their own."""
        for cql, _, _ in statements:
            cassandra_session.execute(cql)
        for _, key, value in shuffled.sample(statements * 2, len(statements) * 2):
            producer.produce(topic, json.dumps(value).encode(), json.dumps(key).encode())
        producer.flush(10)

    source = iter(Statements(seed, keyspace))
    write([next(source) for _ in range(80)])
    producer.produce(topic, b"\x00no event", b"{}")
    document = configuration(cassandra_node, database, tmp_path / "state", [{"source": f"{keyspace}.*"}])
    document["name"] = f"d{uuid.uuid4().hex[:10]}"
    document["transport"] = {
        "kind": "kafka",
        "format": "debezium",
        "topic_prefix": topic.split(".", 1)[0],
        "bootstrap_servers": [kafka_broker.bootstrap],
        "partitions": PARTITIONS,
        "replication_factor": 1,
    }
    with ExitStack() as stack:
        loaders = []
        for name in ("one", "two"):
            document["http"] = {"listen": f"127.0.0.1:{free_port()}"}
            loaders.append(PipelineProcess(tmp_path / name, deepcopy(document), "load"))
            stack.callback(loaders[-1].kill)
            loaders[-1].start()
        for loader in loaders:
            loader.wait_ready(40.0)
        wait_equal(cassandra_session, database, keyspace, loaders)
        found = [loader.status() for loader in loaders]
        assert [status["dead_letters"] for status in found if status["dead_letters"]] == [{"debezium_json": 1}]
        assert sum(status["kafka"]["partitions"] for status in found) == 2 * PARTITIONS
        # Now the snapshot is over, and the events alone tell.
        write([next(source) for _ in range(80)])
        wait_equal(cassandra_session, database, keyspace, loaders)
