"""The differential test for as long as one likes: random seeds on fresh keyspaces, until the first difference.

    python -m tests.e2e.differential_run --minutes 10
    python -m tests.e2e.differential_run --seed 4711      the seeds of one keyspace again
    python -m tests.e2e.differential_run --cassandra-version 4.1 --compression LZ4 --postgres-version 12

Invariant: what runs was started here and ends here; the exit status is 0 only if no run found a difference. What one
found stays in a directory of `build/differences`: the report and how to repeat it, all mutations, both sides' rows.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.places import free_port
from casscade.devstack.postgres import PostgresServer
from casscade.schema.connect import silence_driver
from casscade.testing.samples import ALL, EXACT
from tests.support.cdc_reader import CdcReader
from tests.support.databases import create_database, drop_database
from tests.support.differential import Differential, Outcome, behind, connection_to, options_for
from tests.support.evidence import DIRECTORY, keep
from tests.support.servers import ServerChoice, add_options

# Seeds that share a keyspace, one after the other: the later ones meet what the earlier ones left.
ROUNDS = 4


@contextmanager
def servers(choice: ServerChoice) -> Iterator[tuple[CassandraNode, PostgresServer]]:
    """A node and a server in a directory of their own, removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="casscade-differential-"))
    directory.chmod(0o755)
    settings = choice.cassandra_settings(free_port(), free_port())
    node = CassandraNode(directory / "cassandra", settings, version=choice.cassandra)
    postgres = PostgresServer(
        directory / "postgres", version=choice.postgres, port=free_port(), settings={"fsync": "off"}
    )
    try:
        node.start(owner=os.getpid())
        postgres.start(owner=os.getpid())
        node.wait_ready()
        postgres.wait_ready()
        yield node, postgres
    finally:
        node.kill()
        postgres.kill()
        shutil.rmtree(directory, ignore_errors=True)


class LongRun:
    """Runs seed after seed and adds up what they did."""

    def __init__(
        self, session: Any, node: CassandraNode, postgres: PostgresServer, operations: int, repeat: str
    ) -> None:
        """`repeat` is the command that repeats a seed, but for the seed."""
        self._session = session
        self._release = node.version
        self._repeat = repeat
        self._reader = CdcReader(node.cdc_directory, delete=True)
        self._postgres = postgres
        self._operations = operations
        self.totals: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()

    def close(self) -> None:
        """Close what was opened."""
        self._reader.close()

    def run(self, seed: int, rounds: int, deadline: float) -> Outcome:
        """`seed` and the numbers after it, in a new keyspace and a new database, both dropped afterwards.

        The first of an odd seed begins with a snapshot, the last of all lets rows expire. Ends at the first difference.
        """
        name = f"diff_{seed}"
        replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        self._session.execute(f"CREATE KEYSPACE {name} WITH replication = {replication}")
        with psycopg.connect(self._postgres.dsn(), autocommit=True) as connection:
            create_database(connection, name)
        with (
            connection_to(self._postgres.dsn(name)) as connection,
            closing(Differential(self._session, self._reader, connection, name, (*ALL, *EXACT))) as differential,
        ):
            snapshot = bool(seed % 2)
            try:
                for number in range(rounds):
                    short_ttl = number == ROUNDS - 1
                    options = options_for(seed + number, short_ttl=short_ttl, snapshot=snapshot)
                    if short_ttl and self._release.startswith("3."):
                        # At a tie of a live and an ended cell 3.11 decides by its clock (docs/versions.md).
                        options = replace(options, timestamps=None, odd_times=0.0)
                    outcome = differential.run(
                        seed + number,
                        self._operations,
                        short_ttl=short_ttl,
                        snapshot=number == 0 and snapshot,
                        options=behind(options_for(seed, snapshot=True), options) if snapshot and number else options,
                    )
                    print(outcome.report(), flush=True)
                    self._add(outcome)
                    if outcome.differences or time.monotonic() > deadline:
                        break
                found = outcome.report() if outcome.differences else ""
            except Exception:
                self._keep(differential, connection, seed, traceback.format_exc())
                raise
            if found:
                self._keep(differential, connection, seed, found)
        with psycopg.connect(self._postgres.dsn(), autocommit=True) as connection:
            drop_database(connection, name)
        self._session.execute(f"DROP KEYSPACE {name}", timeout=60)
        return outcome

    def _add(self, outcome: Outcome) -> None:
        self.kinds += outcome.kinds
        counts = {"seeds": 1, "statements": outcome.statements, "mutations": outcome.mutations}
        counts |= {"of snapshots": outcome.scanned, "batches": outcome.batches, "restarts": outcome.restarts}
        self.totals.update(counts | {"rows": outcome.rows, "differences": outcome.differences})

    def _keep(self, differential: Differential, connection: psycopg.Connection[Any], seed: int, found: str) -> None:
        report = [f"{self._repeat} --seed {seed}", found]
        directory = DIRECTORY / f"seed-{seed}"
        keep(directory, differential, self._session, connection, report)
        print(f"to repeat: {report[0]}\nwhat is there to look at: {directory}", flush=True)


def main() -> int:
    """Run until the time is over or a difference is found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--operations", type=int, default=2000, help="operations of each seed")
    parser.add_argument("--seed", type=int, help="run this seed and the ones after it in one keyspace")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="seeds in one keyspace")
    add_options(parser.add_argument)
    arguments = parser.parse_args()
    choice = ServerChoice.of(vars(arguments))
    print(choice, flush=True)
    repeat = f"python -m tests.e2e.differential_run {choice.options} --operations {arguments.operations}"
    repeat += f" --rounds {arguments.rounds}"
    silence_driver()
    with (
        servers(choice) as (node, postgres),
        node.session() as session,
        closing(LongRun(session, node, postgres, arguments.operations, repeat)) as runs,
    ):
        deadline = time.monotonic() + arguments.minutes * 60
        outcome = None
        while outcome is None or not outcome.differences:
            seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 32)
            print(f"from seed {seed}", flush=True)
            outcome = runs.run(seed, arguments.rounds, deadline)
            if arguments.seed is not None or time.monotonic() > deadline:
                break
        print(", ".join(f"{count} {what}" for what, count in runs.totals.items()))
        print(", ".join(f"{kind} {count}" for kind, count in sorted(runs.kinds.items())))
    return 1 if outcome is not None and outcome.differences else 0


if __name__ == "__main__":
    sys.exit(main())
