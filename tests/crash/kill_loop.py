"""Kill a pipeline again and again under load and compare both sides: `python -m tests.crash.kill_loop --kills 50`.

Invariant: every life ends by SIGKILL at a moment of its own choosing, the first ones during the snapshot; at the end
the load stops, one last life catches up, and both sides must be equal.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from casscade.devstack.cassandra_files import CassandraSettings
from casscade.devstack.places import free_port
from casscade.devstack.stack import Stack
from tests.support.both_sides import compare_keyspace, describe
from tests.support.mixed_load import MixedLoad, create_tables, fill
from tests.support.pipeline_process import PipelineProcess, configuration


@dataclass(slots=True)
class KillReport:
    """How many kills met what: a process that was not ready yet, an open snapshot, the stream."""

    moments: Counter[str]
    mutations: int
    dead_letters: int


def kill_repeatedly(process: PipelineProcess, kills: int, rng: random.Random, life_s_max: float) -> KillReport:
    """Start and kill `process` `kills` times, then start it once more and wait until it is ready.

    Some lives end at any moment after the start of the process, most within `life_s_max` of the start of its work.
    """
    moments: Counter[str] = Counter()
    for _ in range(kills):
        process.start()
        if rng.random() < 0.75:
            process.wait(lambda: bool(process.status()["capture"]), "the start of capture", 60.0)
        time.sleep(rng.uniform(0.0, life_s_max))
        moments[_moment(process)] += 1
        assert process.running, f"it ended by itself with {process.exit_code}:\n{process.tail()}"
        process.kill()
    process.start()
    process.wait_ready()
    return KillReport(moments, 0, 0)


def _moment(process: PipelineProcess) -> str:
    try:
        status = process.status()
    except OSError:
        return "starting"
    if not status["capture"]:
        return "starting"
    done = all(table["ranges_done"] == table["ranges_total"] for table in status["snapshot"])
    return "stream" if status["snapshot"] and done else "snapshot"


def settle(process: PipelineProcess, report: KillReport) -> None:
    """Wait until the last life has everything, and note what it counted."""
    # The last statements are durable for capture one sync of the commit log later.
    time.sleep(1.5)
    process.wait_caught_up(120.0)
    status = process.status()
    report.mutations = status["capture"]["mutations_forwarded"]
    report.dead_letters = sum(status["dead_letters"].values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--rows", type=int, default=20_000, help="existing rows")
    parser.add_argument("--rate", type=int, default=500, help="statements a second")
    parser.add_argument("--life", type=float, default=4.0, help="longest life in seconds")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {arguments.kills} kills, {arguments.rows} existing rows", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="casscade-kill-"))
    directory.chmod(0o755)
    settings = CassandraSettings(commitlog_sync_period_ms=200, segment_size="1MiB")
    stack = Stack(
        directory,
        cassandra_port=free_port(),
        postgres_port=free_port(),
        cassandra_settings=settings,
        owner=os.getpid(),
        progress=print,
    )
    equal = False
    try:
        stack.up()
        equal = _run(stack, arguments)
    finally:
        stack.reset()
        if equal:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            print(f"the log of the pipeline stays in {directory}")
    return 0 if equal else 1


def _run(stack: Stack, arguments: argparse.Namespace) -> bool:
    rng = random.Random(arguments.seed)
    node, dsn = stack.cassandra, stack.postgres.dsn()
    with node.session() as session:
        session.execute("CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        create_tables(session, "shop")
        fill(session, "shop", arguments.rows)
        document = configuration(node, dsn, stack.directory / "state", [{"source": "shop.*"}], name="kill")
        # Small pages: a snapshot that is over after the first life would not be killed in its middle.
        document["snapshot"] = {"ranges_per_table": 64, "page_rows": 20, "workers": 1}
        process = PipelineProcess(stack.directory / "pipeline", document, executed=True)
        begin = time.monotonic()
        try:
            with MixedLoad(session, "shop", arguments.seed, arguments.rate) as load:
                report = kill_repeatedly(process, arguments.kills, rng, arguments.life)
            seconds = time.monotonic() - begin
            settle(process, report)
            comparisons = compare_keyspace(session, dsn, "shop")
            ended = process.stop()
        finally:
            process.kill()
    print(f"killed {dict(report.moments)} in {seconds:.0f} s under {load.counts.total()} statements")
    print(f"statements: {dict(sorted(load.counts.items()))}")
    print(f"dead letters {report.dead_letters}, last exit status {ended.code}")
    print(describe(comparisons))
    return ended.code == 0 and report.dead_letters == 0 and not sum(one.differences for one in comparisons)


if __name__ == "__main__":
    sys.exit(main())
