"""How long a write takes to be committed in PostgreSQL, in each mode of capture, on real servers.

    python -m tests.e2e.latency_run                      Cassandra 5.0, both modes, 60 writes each
    python -m tests.e2e.latency_run --version 3.11       the live commit log of 3.11

Invariant: a figure is the time from before the INSERT in Cassandra to the first SELECT in PostgreSQL that shows it.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.cassandra_files import CassandraSettings
from casscade.devstack.places import free_port
from casscade.devstack.postgres import PostgresServer
from casscade.schema.connect import silence_driver
from tests.support.pipeline_process import PipelineProcess, configuration

SYNC_PERIOD_MS = 1000
POLL_S = 0.002
TIMEOUT_S = 60.0


def measure(session: Any, dsn: str, keys: range) -> list[float]:
    """Milliseconds of each write, at random distances so that they fall anywhere between two syncs."""
    found = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        for key in keys:
            time.sleep(random.uniform(0.05, 0.05 + SYNC_PERIOD_MS / 1000))
            begin = time.monotonic()
            session.execute(f"INSERT INTO latency.t (id, v) VALUES ({key}, 'x')")
            while connection.execute("SELECT 1 FROM latency.t WHERE id = %s", (key,)).fetchone() is None:
                if time.monotonic() - begin > TIMEOUT_S:
                    raise SystemExit(f"row {key} did not come in {TIMEOUT_S:.0f} s")
                time.sleep(POLL_S)
            found.append((time.monotonic() - begin) * 1000)
    return found


def run(node: CassandraNode, postgres: PostgresServer, directory: Path, writes: int) -> None:
    """Both modes, one after the other, on the same node."""
    with node.session() as session:
        session.execute(
            "CREATE KEYSPACE latency WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
        )
        session.execute("CREATE TABLE latency.t (id int PRIMARY KEY, v text) WITH cdc = true")
        for number, mode in enumerate(("synced", "eager")):
            document = configuration(node, postgres.dsn(), directory / "state", [{"source": "latency.t"}])
            document["capture"]["mode"] = mode
            document["load"]["batch_ms"] = 20
            if node.release.line < (4, 0):
                document["capture"]["commitlog_directory"] = str(node.commitlog_directory)
            process = PipelineProcess(directory / mode, document, executed=True)
            process.start()
            try:
                process.wait_ready(60.0)
                process.wait_caught_up(60.0)
                first = number * (writes + 1)
                measure(session, postgres.dsn(), range(first, first + 1))
                taken = sorted(measure(session, postgres.dsn(), range(first + 1, first + 1 + writes)))
            finally:
                process.stop()
            p50, p95 = statistics.median(taken), taken[round(0.95 * (len(taken) - 1))]
            print(f"{node.release.version} {mode:<7} p50 {p50:5.0f} ms  p95 {p95:5.0f} ms  max {taken[-1]:5.0f} ms")


def main() -> int:
    """Start the servers, measure, remove them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", default="5.0")
    parser.add_argument("--writes", type=int, default=60)
    arguments = parser.parse_args()
    silence_driver()
    directory = Path(tempfile.mkdtemp(prefix="casscade-latency-"))
    directory.chmod(0o755)
    settings = CassandraSettings(
        port=free_port(), storage_port=free_port(), commitlog_sync_period_ms=SYNC_PERIOD_MS, segment_size="32MiB"
    )
    node = CassandraNode(directory / "cassandra", settings, version=arguments.version)
    postgres = PostgresServer(directory / "postgres", port=free_port())
    try:
        node.start(owner=os.getpid())
        postgres.start(owner=os.getpid())
        node.wait_ready()
        postgres.wait_ready()
        run(node, postgres, directory, arguments.writes)
    finally:
        node.kill()
        postgres.kill()
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
