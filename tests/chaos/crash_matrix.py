"""A process is killed at every failpoint, started again, and both sides are compared.

    python -m tests.chaos.crash_matrix                        every failpoint at its first and at a later hit
    python -m tests.chaos.crash_matrix --seed 7 --only committed
    python -m tests.chaos.crash_matrix --minutes 3            as many as fit; those left out are named

Invariant: the exit status is 0 only if every case that ran passed, and, without a limit, every registered failpoint has
killed a process.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from casscade.core import failpoints
from tests.chaos.crash_points import Scene, hits_of, later_hit, scene_of
from tests.chaos.world import PARTITIONS, ChaosError, Part, Servers, World, servers, world
from tests.chaos.writes import CUSTOMERS, Writer
from tests.support import crash_life
from tests.support.crash_life import Life
from tests.support.databases import create_database, drop_database
from tests.support.proxy import Fault

RESULTS: Final = Path(__file__).resolve().parents[2] / "build" / "chaos"
DIES_S: Final = 90.0
# Longer than the time for retries of a scene with an outage.
OUTAGE_S: Final = 12.0
_LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Case:
    """A process dies at the `hit`-th time that it reaches `name`."""

    name: str
    hit: int

    @property
    def where(self) -> str:
        """As the environment has it."""
        return f"{self.name}:{self.hit}"


def cases(only: list[str], seed: int) -> list[Case]:
    """The first hit of each failpoint, and a later one where there is one, in the order of the seed.

    First hits come first, so that a run with a limit has seen as many failpoints as it could.
    """
    names = sorted(failpoints.POINTS)
    for name in only:
        if name not in names:
            raise ValueError(f"{name!r} is none of: {', '.join(names)}")
    rng = random.Random(seed)
    picked = [name for name in names if not only or name in only]
    first, later = ([Case(name, 1) for name in picked], [Case(name, later_hit(name, seed)) for name in picked])
    rng.shuffle(first)
    rng.shuffle(later)
    return [*first, *(case for case in later if hits_of(case.name) > 1 and case.hit > 1)]


class Matrix:
    """Runs cases; servers are started when the first case needs them."""

    def __init__(self, seed: int, stack: ExitStack) -> None:
        self._seed = seed
        self._stack = stack
        self._servers: Servers | None = None
        self._made = 0

    def run(self, case: Case) -> str:
        """What went wrong, or nothing."""
        scene = scene_of(case.name)
        try:
            return self._direct(case) if scene is None else self._with_cassandra(case, scene)
        except (ChaosError, AssertionError) as error:
            return str(error) or "an assertion failed"
        except Exception:
            return "the driver failed\n" + traceback.format_exc()

    @property
    def servers(self) -> Servers:
        """Cassandra, PostgreSQL and Kafka."""
        if self._servers is None:
            self._servers = self._stack.enter_context(servers())
        return self._servers

    def _direct(self, case: Case) -> str:
        with self._database() as dsn, tempfile.TemporaryDirectory(prefix="casscade-crash-") as directory:
            life = Life(dsn, Path(directory) / "life", self._seed + self._made)
            return "; ".join(crash_life.killed_and_restarted(life, case.name, case.hit))

    @contextmanager
    def _database(self) -> Iterator[str]:
        server = self.servers.postgres
        self._made += 1
        name = f"crash{self._made}"
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            create_database(connection, name)
        try:
            yield server.dsn(name)
        finally:
            with psycopg.connect(server.dsn(), autocommit=True) as connection:
                drop_database(connection, name)

    def _with_cassandra(self, case: Case, scene: Scene) -> str:
        with world(self.servers, kafka=scene.kafka) as made:
            rng = random.Random(f"{self._seed} {case.where}")
            writer = Writer(self.servers, made.name)
            writer.create()
            victim = next(part for part in made.parts if part.name.startswith(scene.command))
            for section, settings in scene.settings.items():
                victim.process.document[section] = {**victim.process.document.get(section, {}), **settings}
            victim.process.environment = {"CASSCADE_FAILPOINT": case.where}
            victim.start()
            for part in made.parts:
                # The victim is the first loader of its pipeline: it meets what only the first one does.
                if part is not victim and not part.name.startswith(victim.name.split("-")[0]):
                    part.start()
            try:
                _await_death(victim, made, writer, scene, rng)
            except ChaosError:
                _keep(made, case)
                raise
            victim.process.environment = {}
            victim.start()
            try:
                made.wait_equal()
                made.stop()
            except ChaosError:
                _keep(made, case)
                raise
        return ""


def _await_death(victim: Part, made: World, writer: Writer, scene: Scene, rng: random.Random) -> None:
    """Bring the victim to its failpoint; raises ChaosError when it does not get there, or ends otherwise."""
    deadline = time.monotonic() + DIES_S
    provoked = False
    while victim.process.running:
        if time.monotonic() > deadline:
            raise ChaosError(f"{victim.name} did not reach it in {DIES_S:.0f} s:\n{victim.process.tail()}")
        if scene.provoke == "write":
            writer.burst(rng)
        elif not provoked and _works(victim, made, scene):
            provoked = True
            if scene.provoke == "outage":
                made.servers.proxies["postgres"].strike(Fault.RESET)
                writer.burst(rng)
                time.sleep(OUTAGE_S)
                made.servers.proxies["postgres"].heal()
            elif scene.provoke == "truncate":
                writer.truncate(rng)
            elif scene.provoke == "alter":
                writer.add_column(rng)
            elif scene.provoke == "gap":
                _lose(victim, writer, rng)
            else:
                victim.process.signal(signal.SIGTERM)
        time.sleep(_LOOK_S)
    if victim.process.exit_code != -signal.SIGKILL:
        raise ChaosError(f"{victim.name} ended with {victim.process.exit_code}:\n{victim.process.tail()}")


def _lose(victim: Part, writer: Writer, rng: random.Random) -> None:
    """CDC of a table is off while it is written to, until the agent knows or is dead."""
    writer.burst(rng)
    table = f"{writer.keyspace}.customers"
    session = writer.servers.session
    session.execute(f"ALTER TABLE {table} WITH cdc = false", timeout=60)
    for number in range(0, CUSTOMERS, 3):
        session.execute(f"DELETE FROM {table} WHERE id = {number}")
        session.execute(f"UPDATE {table} SET name = 'unseen' WHERE id = {number + 1}")
    deadline = time.monotonic() + DIES_S
    with suppress(OSError, KeyError):
        while (
            victim.process.running and time.monotonic() < deadline and not victim.process.status()["capture"]["cdc_off"]
        ):
            time.sleep(_LOOK_S)
    session.execute(f"ALTER TABLE {table} WITH cdc = true", timeout=60)


def _works(victim: Part, made: World, scene: Scene) -> bool:
    """Whether it has begun: it owns all partitions, reads a snapshot, or reads the log."""
    try:
        status = victim.process.status()
        done = [table["ranges_done"] == table["ranges_total"] for table in status["snapshot"]]
        if made.kafka:
            # While a partition is taken over, which an outage draws out, nothing else is read.
            settled = scene.provoke != "outage" or (bool(done) and all(done))
            return int(status["kafka"]["partitions"]) >= (PARTITIONS if scene.provoke == "outage" else 2) and settled
        if scene.provoke == "stop":
            return made.rows("SELECT count(*) > 0 FROM casscade.snapshot_tasks WHERE state = 'claimed'") == [(True,)]
        read = scene.provoke not in ("outage", "gap") or all(done)
        return bool(status["capture"]) and bool(done) and read
    except (OSError, KeyError, psycopg.Error):
        return False


def _keep(made: World, case: Case) -> None:
    kept = RESULTS / f"crash-{case.name}-{case.hit}"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for log in made.directory.glob("*/casscade.log"):
        shutil.copy(log, kept / f"{log.parent.name}.log")
    print(f"the logs are in {kept.relative_to(RESULTS.parents[1])}", flush=True)


def main() -> int:
    """Run what was asked for; print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--only", action="append", default=[], help="a failpoint")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin no case after so many; 0: no limit")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    left = cases(options.only, options.seed)
    print(f"seed {options.seed}, {len(left)} kills at {len({case.name for case in left})} failpoints", flush=True)
    begin = time.monotonic()
    results: dict[str, str] = {}
    with ExitStack() as stack:
        matrix = Matrix(options.seed, stack)
        while left and (not options.minutes or time.monotonic() - begin < options.minutes * 60):
            case = left.pop(0)
            started = time.monotonic()
            results[case.where] = matrix.run(case)
            said = results[case.where] or "equal"
            print(
                f"{time.monotonic() - begin:5.0f} s  {case.where} ({time.monotonic() - started:.1f} s): {said}",
                flush=True,
            )
    killed = {where.partition(":")[0] for where, problem in results.items() if not problem}
    missing = sorted((set(options.only) or set(failpoints.POINTS)) - killed)
    print(
        f"{len(killed)} of {len(failpoints.POINTS)} failpoints have killed a process, after which both sides were equal"
    )
    if missing:
        print(f"not, or not well: {', '.join(missing)}")
    failed = [where for where, problem in results.items() if problem]
    return 1 if failed or (missing and not options.minutes) else 0


if __name__ == "__main__":
    sys.exit(main())
