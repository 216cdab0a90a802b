"""Start after a crash with a backlog: `python -m tests.crash.backlog_run --mutations 1000000`.

Invariant: the pipeline was killed, not stopped; the time counts from the start of the interpreter to the first commit.
With `make compiled` first and `PYTHONPATH=build/compiled` in front it is that of the compiled modules.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from cassandra.concurrent import execute_concurrent
from cassandra.query import BatchStatement, BatchType

from casscade.commitlog import decoder
from casscade.devstack.cassandra_files import CassandraSettings
from casscade.devstack.places import free_port
from casscade.devstack.stack import Stack
from tests.support.pipeline_process import PipelineProcess, configuration

FIRST_COMMIT_S_MAX = 30.0
_OF_A_BATCH = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=1_000_000)
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="casscade-backlog-"))
    directory.chmod(0o755)
    stack = Stack(
        directory,
        cassandra_port=free_port(),
        postgres_port=free_port(),
        cassandra_settings=CassandraSettings(commitlog_sync_period_ms=200, segment_size="8MiB"),
        owner=os.getpid(),
        progress=print,
    )
    try:
        stack.up()
        return _run(stack, arguments.mutations)
    finally:
        stack.reset()
        shutil.rmtree(directory, ignore_errors=True)


def _run(stack: Stack, mutations: int) -> int:
    node, dsn = stack.cassandra, stack.postgres.dsn()
    with node.session() as session, psycopg.connect(dsn, autocommit=True) as connection:
        session.execute("CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        session.execute("CREATE TABLE shop.t (id int PRIMARY KEY, note text, amount bigint) WITH cdc = true")
        document = configuration(node, dsn, stack.directory / "state", [{"source": "shop.t"}], name="backlog")
        process = PipelineProcess(stack.directory / "pipeline", document, executed=True)
        try:
            process.start()
            # Without a snapshot left to be read: what is measured is the backlog of the log.
            process.wait_caught_up(60.0)
            process.kill()
            seconds = _write(session, mutations)
            print(f"{mutations} mutations written in {seconds:.0f} s", flush=True)
            count = b"SELECT count(*) FROM shop.t"
            before = connection.execute(count).fetchone()
            begin = time.monotonic()
            process.start()
            process.wait(lambda: connection.execute(count).fetchone() != before, "the first commit", 120.0)
            first = time.monotonic() - begin
            process.wait(lambda: connection.execute(count).fetchone() == (mutations,), "the last commit", 300.0)
            last = time.monotonic() - begin
            compiled = not str(decoder.__file__).endswith(".py")
        finally:
            process.kill()
    print(
        f"first commit {first:.1f} s after the start, everything after {last:.1f} s ({mutations / last:.0f} "
        f"mutations/s, {'compiled' if compiled else 'not compiled'})"
    )
    return 0 if first <= FIRST_COMMIT_S_MAX else 1


def _write(session: Any, mutations: int) -> float:
    """Each row is a partition, so each row of a batch is a mutation of its own."""
    insert = session.prepare("INSERT INTO shop.t (id, note, amount) VALUES (?, ?, ?)")
    begin = time.monotonic()
    for first in range(0, mutations, 10_000):
        statements = []
        for start in range(first, min(first + 10_000, mutations), _OF_A_BATCH):
            batch = BatchStatement(BatchType.UNLOGGED)
            for number in range(start, min(start + _OF_A_BATCH, mutations)):
                batch.add(insert, (number, f"note {number}", number))
            statements.append((batch, ()))
        while statements:
            # A write that timed out on a busy node is written again: it is the same row.
            results = execute_concurrent(session, statements, concurrency=8, raise_on_first_error=False)
            statements = [each for each, result in zip(statements, results, strict=True) if not result.success]
    return time.monotonic() - begin


if __name__ == "__main__":
    sys.exit(main())
