"""How fast existing rows are copied, and in how much memory, on real servers.

    python -m tests.e2e.snapshot_run --rows 400000
    PYTHONPATH=build/compiled python -m tests.e2e.snapshot_run --rows 400000 --directory DIR    keeps the filled servers

Cassandra 5.0 and PostgreSQL run on the same cores. First the scan alone (pages become mutations that nobody loads),
then `casscade run` in a process of its own until every range is durable, then `casscade snapshot run`, which only
reads: its rows go to a broker, and nobody loads them meanwhile.

Invariant: the rate of a process counts rows from the first claim to the commit of the last range, and the copy (or the
topic) has as many rows as the table.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg
from cassandra import ConsistencyLevel
from cassandra.concurrent import execute_concurrent_with_args
from confluent_kafka import Consumer, TopicPartition

from casscade.bench.machine import cpu_seconds
from casscade.commitlog import rows as hot_module
from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.cassandra_files import CassandraSettings
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.nodetool import nodetool
from casscade.devstack.places import free_port
from casscade.devstack.stack import Stack
from casscade.load.control import ControlStore
from casscade.schema.connect import CassandraSettings as ClientSettings
from casscade.schema.connect import connect, silence_driver
from casscade.schema.model import assign_indexes
from casscade.schema.reader import read_schema
from casscade.snapshot.ranges import split_ring
from casscade.snapshot.rows import TableScan
from casscade.snapshot.scanner import Scanner, ScanOptions
from casscade.snapshot.store import SnapshotStore
from casscade.snapshot.wire import RawSession
from casscade.transport.chunk import Chunk, SnapshotProgress
from tests.support.pipeline_process import PipelineProcess, configuration

# Nine columns, as in `casscade bench`.
TABLE: Final = (
    "CREATE TABLE big.t (p bigint, c int, price double, amount int, name text, note text, open boolean, ref uuid, "
    "at bigint, PRIMARY KEY (p, c))"
)
INSERT: Final = (
    "INSERT INTO big.t (p, c, price, amount, name, note, open, ref, at) VALUES (?, 0, ?, ?, ?, ?, ?, uuid(), ?)"
)
# Rows of one statement: well below Cassandra's limit of 50 KiB for a batch.
ROWS_A_BATCH: Final = 100
SAMPLE_S: Final = 1.0
TIMEOUT_S: Final = 3600.0
# Of the topic, if a configuration says nothing.
PARTITIONS: Final = 12


def fill(node: CassandraNode, rows: int) -> None:
    """Rows in partitions of their own, in SSTables; the table joins CDC afterwards, so that no commit log has them."""
    with node.session() as session:
        if read_schema(session).find("big", "t") is not None:
            print("filled already")
            return
        session.execute("CREATE KEYSPACE big WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        session.execute(TABLE)
        batch = session.prepare(f"BEGIN UNLOGGED BATCH {INSERT}; " + f"{INSERT}; " * (ROWS_A_BATCH - 1) + "APPLY BATCH")
        rng = random.Random(1)
        begin = time.monotonic()
        arguments = (
            [
                value
                for i in range(first, first + ROWS_A_BATCH)
                for value in (i, rng.random(), i % 1000, f"name {i % 5000}", f"note of some length {i}", i % 2 == 0, i)
            ]
            for first in range(0, rows, ROWS_A_BATCH)
        )
        execute_concurrent_with_args(session, batch, arguments, concurrency=8)
        nodetool(node, "flush", "big")
        session.execute("ALTER TABLE big.t WITH cdc = true")
        print(f"filled {rows} rows in {time.monotonic() - begin:.0f} s", flush=True)


@dataclass(slots=True)
class Usage:
    """Resident memory in MiB at each moment, and processor seconds used in all, of one process."""

    pid: int
    samples: list[float] = field(default_factory=list)
    cpu: float = 0.0
    servers: dict[str, float] = field(default_factory=dict)

    def sample(self) -> None:
        """Note the resident memory now."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS"):
                self.samples.append(int(line.split()[1]) / 1024)

    def cpu_seconds(self) -> float:
        """User and system time of all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def describe(self) -> str:
        """At five moments, the first and the last among them, and the most."""
        last = len(self.samples) - 1
        moments = ", ".join(f"{self.samples[last * i // 4]:.0f}" for i in range(5))
        return f"RSS in MiB from start to end: {moments}; {max(self.samples):.0f} at most"


def scan_alone(node: CassandraNode, dsn: str, rows_expected: int, workers: int, page_rows: int) -> None:
    """Read the table with as many threads, turn it into mutations and drop them."""
    cluster, session = connect(ClientSettings((node.address,), "datacenter1", node.port, request_timeout_s=30.0))
    table = read_schema(session).find("big", "t")
    assert table is not None
    name = f"alone{time.time_ns()}"
    store = SnapshotStore(name, "casscade")
    rows = [0]
    lock = threading.Lock()

    def put(chunk: Chunk, _stop: threading.Event) -> bool:
        assert isinstance(chunk.progress, SnapshotProgress)
        with lock:
            rows[0] += chunk.progress.rows
        if chunk.progress.done:
            with psycopg.connect(dsn) as connection:
                store.commit_progress(connection, chunk.progress)
        return True

    with psycopg.connect(dsn, autocommit=True) as connection:
        ControlStore(name, "casscade").migrate(connection)
        with connection.transaction():
            store.create_tasks(connection, table.id, table.full_name, split_ring(16))
    raw = RawSession(cluster)
    scanner = Scanner(
        raw,
        {table.id: TableScan(assign_indexes(table, {}))},
        store,
        lambda: psycopg.connect(dsn),
        put,
        ScanOptions(ConsistencyLevel.ONE, page_rows=page_rows, workers=workers),
        owner="alone",
        on_page=lambda _task, _rows: None,
    )
    begin, cpu, asked = time.monotonic(), time.process_time(), cpu_seconds(node.pid) or 0.0
    scanner.start()
    scanner.join()
    seconds, cpu = time.monotonic() - begin, time.process_time() - cpu
    asked = (cpu_seconds(node.pid) or 0.0) - asked
    raw.close()
    cluster.shutdown()
    assert rows[0] == rows_expected, f"{rows[0]} rows were read instead of {rows_expected}"
    print(
        f"scan alone, {workers} threads, pages of {page_rows}: {rows[0] / seconds:.0f} rows/s, "
        f"{cpu / rows[0] * 1e6:.1f} us of processor time a row, and {asked / rows[0] * 1e6:.1f} us of Cassandra's",
        flush=True,
    )


def pipeline(stack: Stack, rows: int, workers: int, page_rows: int, batch_rows: int) -> None:
    """`casscade run` from its start until the copy is complete."""
    node, dsn = stack.cassandra, stack.postgres.dsn()
    directory = stack.directory / "pipeline"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS casscade CASCADE")
        connection.execute("DROP SCHEMA IF EXISTS big CASCADE")
    shutil.rmtree(directory, ignore_errors=True)
    document = configuration(node, dsn, directory / "state", [{"source": "big.t"}])
    document["snapshot"] = {"workers": workers, "page_rows": page_rows}
    document["load"] = {"batch_rows": batch_rows}
    process = PipelineProcess(directory, document, executed=True)
    process.start()
    try:
        process.wait(lambda: bool(process.status()["snapshot"]), "the start of the snapshot", 60.0)
        servers = {"Cassandra": node.pid, "PostgreSQL": stack.postgres.pid}
        usage = watch(
            process, lambda: all(one["ranges_done"] == one["ranges_total"] for one in snapshot_of(process)), servers
        )
    finally:
        process.kill()
    with psycopg.connect(dsn, autocommit=True) as connection:
        (copied,) = connection.execute("SELECT count(*) FROM big.t").fetchone() or (0,)
    assert copied == rows, f"{copied} rows were copied instead of {rows}"
    tell(f"casscade run, {workers} threads, pages of {page_rows}, batches of {batch_rows}", dsn, rows, usage)


def snapshot_of(process: PipelineProcess) -> list[dict[str, Any]]:
    """What the process tells of its tables."""
    tables: list[dict[str, Any]] = process.status()["snapshot"]
    return tables


def job(stack: Stack, rows: int, workers: int, page_rows: int) -> None:
    """`casscade snapshot run` with a broker of its own, until every range is durable there."""
    node, dsn = stack.cassandra, stack.postgres.dsn()
    directory = stack.directory / "job"
    shutil.rmtree(directory, ignore_errors=True)
    broker = KafkaBroker(directory / "kafka", port=free_port(), controller_port=free_port())
    document = configuration(node, dsn, directory / "state", [{"source": "big.t"}])
    kafka = {"kind": "kafka", "bootstrap_servers": [broker.bootstrap], "replication_factor": 1}
    document |= {"snapshot": {"workers": workers, "page_rows": page_rows}, "transport": kafka}
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS casscade CASCADE")
        ControlStore(document["name"], "casscade").migrate(connection)
    process = PipelineProcess(directory / "process", document, "snapshot run", executed=True)
    try:
        broker.start(owner=os.getpid())
        broker.wait_ready()
        process.start()
        usage = watch(process, lambda: not process.running, {"Cassandra": node.pid, "the broker": broker.pid})
        ended = process.wait_end()
        assert ended.code == 0, ended.text
        topic = f"{document['name']}.mutations"
        sent = sum(offset_of(broker.bootstrap, topic, number) for number in range(PARTITIONS))
    finally:
        process.kill()
        broker.remove()
    assert sent == rows, f"{sent} messages are in the topic instead of {rows}"
    tell(f"casscade snapshot run, {workers} threads, pages of {page_rows}", dsn, rows, usage)


def offset_of(bootstrap: str, topic: str, partition: int) -> int:
    """The end of a partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "snapshot-run"})
    try:
        return int(consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)[1])
    finally:
        consumer.close()


def watch(process: PipelineProcess, ended: Callable[[], bool], servers: Mapping[str, int | None]) -> Usage:
    """The memory of a process, second by second, and its processor time and that of servers (pids), until `ended`."""
    usage = Usage(process.pid)
    begin, first = time.monotonic(), usage.cpu_seconds()
    before = {name: cpu_seconds(pid) or 0.0 for name, pid in servers.items()}
    while not ended() and time.monotonic() - begin < TIMEOUT_S:
        with suppress(OSError, IndexError):  # it may have ended since
            usage.sample()
            usage.cpu = usage.cpu_seconds() - first
            usage.servers = {name: (cpu_seconds(pid) or 0.0) - before[name] for name, pid in servers.items()}
        time.sleep(SAMPLE_S)
    return usage


def tell(what: str, dsn: str, rows: int, usage: Usage) -> None:
    """The figures of one process."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        (seconds,) = connection.execute(
            "SELECT extract(epoch FROM max(updated_at) - min(claimed_at))::float8 FROM casscade.snapshot_tasks"
        ).fetchone() or (0.0,)
    print(f"{what}: {rows / seconds:.0f} rows/s, {usage.cpu / rows * 1e6:.1f} us of processor time a row")
    others = ", ".join(f"{name} {spent / rows * 1e6:.1f} us" for name, spent in usage.servers.items())
    possible = rows * len(os.sched_getaffinity(0)) / (usage.cpu + sum(usage.servers.values()))
    print(f"beside it {others} a row; all cores together could do {possible:.0f} rows/s")
    print(usage.describe(), flush=True)


def main() -> int:
    """Start the servers, fill, measure; remove them unless they are to be kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--workers", type=int, action="append", help="threads that read; may be given again")
    parser.add_argument("--page-rows", type=int, default=1000)
    parser.add_argument("--batch-rows", type=int, default=1000)
    parser.add_argument("--directory", type=Path, help="servers stay there, filled, for the next run")
    parser.add_argument("--part", choices=("alone", "run", "job"), help="measure this alone")
    arguments = parser.parse_args()
    silence_driver()
    directory: Path = arguments.directory or Path(tempfile.mkdtemp(prefix="casscade-snapshot-"))
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)
    settings = CassandraSettings(segment_size="8MiB")
    stack = Stack(
        directory,
        cassandra_port=free_port() if arguments.directory is None else None,
        cassandra_settings=settings,
        owner=os.getpid(),
    )
    compiled = "compiled" if str(hot_module.__file__).endswith(".so") else "not compiled"
    print(f"{arguments.rows} rows, hot modules {compiled}, load before {os.getloadavg()[0]:.1f}", flush=True)
    try:
        stack.up()
        fill(stack.cassandra, arguments.rows)
        for workers in arguments.workers or [1, 2]:
            if arguments.part in (None, "alone"):
                scan_alone(stack.cassandra, stack.postgres.dsn(), arguments.rows, workers, arguments.page_rows)
        for workers in arguments.workers or [1, 2]:
            if arguments.part in (None, "run"):
                pipeline(stack, arguments.rows, workers, arguments.page_rows, arguments.batch_rows)
        for workers in arguments.workers or [1, 2]:
            if arguments.part in (None, "job"):
                job(stack, arguments.rows, workers, arguments.page_rows)
    finally:
        if arguments.directory is None:
            stack.reset()
            shutil.rmtree(directory, ignore_errors=True)
        else:
            stack.down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
