"""PostgreSQL killed for minutes under load: `python -m tests.e2e.outage_run --minutes 5 7`.

Invariant: nothing is lost, and the pipeline commits again within 30 seconds of PostgreSQL's return, however long it was
away; at the end both sides must be equal. With `--kill` the pipeline is killed at the end of each outage, too.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any

import psycopg
from click.testing import CliRunner

from casscade.cli.main import main as main_command
from casscade.devstack.cassandra_files import CassandraSettings
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.places import free_port
from casscade.devstack.stack import Stack
from tests.support.both_sides import compare_keyspace, describe
from tests.support.mixed_load import MixedLoad, create_tables, fill
from tests.support.pipeline_process import PipelineProcess, configuration

RECOVERY_S_MAX = 30.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, nargs="+", default=[5.0, 7.0], help="one outage each")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--rows", type=int, default=2000, help="existing rows")
    parser.add_argument("--rate", type=int, default=100, help="statements a second")
    parser.add_argument("--retry-seconds", type=int, default=300, help="load.retry.for_seconds")
    parser.add_argument("--kafka", action="store_true", help="an agent, a broker and a loader instead of casscade run")
    parser.add_argument("--pause", action="store_true", help="load.on_outage: pause")
    parser.add_argument("--kill", action="store_true", help="kill the pipeline at the end of each outage")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, outages of {arguments.minutes} minutes", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="casscade-outage-"))
    directory.chmod(0o755)
    stack = Stack(
        directory,
        cassandra_port=free_port(),
        postgres_port=free_port(),
        cassandra_settings=CassandraSettings(commitlog_sync_period_ms=200, segment_size="1MiB"),
        owner=os.getpid(),
        progress=print,
    )
    good = False
    try:
        stack.up()
        good = _run(stack, arguments)
    finally:
        stack.reset()
        if good:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            print(f"the log of the pipeline stays in {directory}")
    return 0 if good else 1


def _run(stack: Stack, arguments: argparse.Namespace) -> bool:
    node, dsn = stack.cassandra, stack.postgres.dsn()
    with node.session() as session:
        session.execute("CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        create_tables(session, "shop")
        fill(session, "shop", arguments.rows)
        document = configuration(node, dsn, stack.directory / "state", [{"source": "shop.*"}], name="outage")
        document["load"]["retry"] = {"for_seconds": arguments.retry_seconds}
        document["load"]["on_outage"] = "pause" if arguments.pause else "dead_letter"
        with ExitStack() as started:
            process = _start(stack, document, started, kafka=arguments.kafka)
            with MixedLoad(session, "shop", arguments.seed, arguments.rate) as load:
                recoveries = [_outage(stack, process, minutes, arguments) for minutes in arguments.minutes]
            time.sleep(5.0)  # the last statements are durable for capture one sync of the commit log later
            process.wait(lambda: _settled(process), "catching up", 120.0)
            status = process.status()
            _replay(session, dsn, process)
            comparisons = compare_keyspace(session, dsn, "shop")
            ended = process.stop()
    print(f"{load.counts.total()} statements, dead letters {status['dead_letters']}, exit status {ended.code}")
    print(describe(comparisons))
    lost = sum(one.differences for one in comparisons)
    return not lost and not status["dead_letters"] and ended.code == 0 and max(recoveries) <= RECOVERY_S_MAX


def _replay(session: Any, dsn: str, process: PipelineProcess) -> None:
    """A row that PostgreSQL refuses at first becomes a dead letter, and comes back by the command."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        letters = b"SELECT count(*) FROM casscade.dead_letters"
        connection.execute("ALTER TABLE shop.customers ADD CONSTRAINT refused CHECK (name <> 'refused')")
        session.execute("INSERT INTO shop.customers (id, name) VALUES (-1, 'refused')")
        process.wait(lambda: connection.execute(letters).fetchone() == (1,), "a dead letter", 30.0)
        connection.execute("ALTER TABLE shop.customers DROP CONSTRAINT refused")
        replayed = CliRunner().invoke(main_command, ["dlq", "replay", "-c", str(process.config_file), "--all"])
        assert replayed.exit_code == 0, replayed.output
        process.wait(lambda: connection.execute(letters).fetchone() == (0,), "its replay", 30.0)
        assert connection.execute("SELECT name FROM shop.customers WHERE id = -1").fetchone() == ("refused",)
    print("a dead letter was replayed", flush=True)


def _start(stack: Stack, document: dict[str, Any], started: ExitStack, *, kafka: bool) -> PipelineProcess:
    """What loads into PostgreSQL, ready; all that was started ends with `started`."""
    command = "run"
    if kafka:
        broker = KafkaBroker(stack.directory / "kafka", port=free_port(), controller_port=free_port())
        started.callback(broker.kill)
        broker.start(owner=os.getpid())
        broker.wait_ready()
        document["transport"] = {
            "kind": "kafka",
            "bootstrap_servers": [broker.bootstrap],
            "partitions": 4,
            "replication_factor": 1,
        }
        agent = PipelineProcess(stack.directory / "agent", deepcopy(document), "capture", executed=True)
        document["http"] = {"listen": f"127.0.0.1:{free_port()}"}
        started.callback(agent.kill)
        agent.start()
        command = "load"
    process = PipelineProcess(stack.directory / "pipeline", document, command, executed=True)
    started.callback(process.kill)
    process.start()
    process.wait_ready(60.0)
    return process


def _settled(process: PipelineProcess) -> bool:
    """Whether the snapshot is complete and nothing waits anywhere."""
    status = process.status()
    if any(table["ranges_done"] < table["ranges_total"] for table in status["snapshot"]):
        return False
    if "resubmissions" in status:
        lag = sum(status["kafka"]["lag_events"].values())
        return bool(not lag and status["resubmissions"]["messages_put_back"] >= status["outage"]["messages_kept"])
    return bool(status["capture"]["caught_up"] and not status["lag_seconds"] and not status["outage"]["chunks"])


def _outage(stack: Stack, process: PipelineProcess, minutes: float, arguments: argparse.Namespace) -> float:
    """Seconds from PostgreSQL's return to the first commit."""
    time.sleep(5.0)
    before = process.status()
    stack.postgres.kill()
    end = time.monotonic() + 60 * minutes
    journal = 0
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(10.0, left))
        status = process.status()
        journal = max(journal, status["outage"].get("bytes", 0))
        _show(status)
    if arguments.kill:
        process.kill()
    waiting = process.status() if process.running else {}
    stack.postgres.start(owner=os.getpid())
    stack.postgres.wait_ready()
    back, back_wall = time.monotonic(), time.time()
    if arguments.kill:
        process.start()
    commit = process.wait(lambda: (process.status()["committed_at"] or 0.0) > back_wall, "a commit", 120.0)
    # Under load nothing is ever quite caught up: what waited is what counts.
    process.wait(lambda: _nothing_kept(process), "the return of what waited", 120.0)
    print(
        f"away {minutes * 60:.0f} s: first commit {commit:.1f} s after the return, what waited was back after "
        f"{time.monotonic() - back:.1f} s; journal up to {journal} bytes; "
        f"opened {waiting.get('postgres', {}).get('circuit_opened', '?')} times; "
        f"batches before {before['batches']}, after {process.status()['batches']}",
        flush=True,
    )
    return commit


def _nothing_kept(process: PipelineProcess) -> bool:
    status = process.status()
    if "resubmissions" in status:
        return bool(status["resubmissions"]["messages_put_back"] >= status["outage"]["messages_kept"])
    return bool(status["outage"]["chunks"] == 0)


def _show(status: dict[str, Any]) -> None:
    postgres = status["postgres"]
    print(
        f"  {postgres['circuit']}, {postgres['failures']} failures in {postgres['failing_seconds']} s, "
        f"{status['outage']}, read {status['capture'].get('mutations_read')}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
