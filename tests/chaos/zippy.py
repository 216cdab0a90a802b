"""Random actions on a pipeline and its servers, and a comparison of both sides: in the manner of Materialize's zippy.

    python -m tests.chaos.zippy                        rounds of random actions for ten minutes
    python -m tests.chaos.zippy --seed 7 --rounds 1    one round again; its actions follow from the seed

Invariant: a round passes only if both sides were equal at its end, nothing was set aside, no part ended by itself, and
the comparison then found the one row that was corrupted on purpose. What failed is told with seed, actions and logs.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg

from tests.chaos.actions import Scene, choose
from tests.chaos.world import ChaosError, Servers, World, servers, world
from tests.chaos.writes import Writer
from tests.support.both_sides import only_differ

RESULTS: Final = Path(__file__).resolve().parents[2] / "build" / "chaos"
MINUTES: Final = 10.0
ACTIONS: Final = 60
# Of half the rounds the pipeline has Kafka in it.
_KAFKA: Final = 0.5


@dataclass(slots=True)
class Outcome:
    """What became of a round; `problem` is empty when both sides were equal and the check was checked."""

    seed: int
    kafka: bool
    actions: list[str] = field(default_factory=list)
    written: int = 0
    rows: int = 0
    problem: str = ""

    @property
    def line(self) -> str:
        """For the terminal."""
        how = "kafka" if self.kafka else "direct"
        said = self.problem.splitlines()[0] if self.problem else f"equal, {self.rows} rows; the corrupted row was found"
        return f"seed {self.seed} ({how}): {len(self.actions)} actions, {self.written} writes: {said}"


def play(on: Servers, seed: int, actions: int, until: float) -> Outcome:
    """One round: `actions` of them, or those until the moment `until`; then all is healed and compared."""
    rng = random.Random(seed)
    outcome = Outcome(seed, rng.random() < _KAFKA)
    with world(on, kafka=outcome.kafka) as made:
        writer = Writer(on, made.name)
        try:
            writer.create()
            made.heal()
            _act(Scene(made, writer, rng), outcome, actions, until)
            comparisons = made.wait_equal()
            outcome.rows = sum(one.rows_cassandra for one in comparisons)
            # While the pipeline runs: what ends by its TTL goes on both sides.
            if not _corruption_is_found(made):
                raise ChaosError("the comparison did not find a row that was corrupted on purpose")
            made.stop()
        except (ChaosError, AssertionError) as error:
            outcome.problem = str(error) or "an assertion failed"
        except Exception:
            outcome.problem = "the driver failed\n" + traceback.format_exc()
        outcome.written = writer.written
        if outcome.problem:
            _tell(made, outcome)
    return outcome


def _act(scene: Scene, outcome: Outcome, actions: int, until: float) -> None:
    begin = time.monotonic()
    while len(outcome.actions) < actions and (time.monotonic() < until or not outcome.actions):
        action = choose(scene.rng, scene.world)
        outcome.actions.append(f"{time.monotonic() - begin:6.1f} s  {action.name}")
        outcome.actions[-1] += f": {action.run(scene)}"
        scene.world.supervise()


def _corruption_is_found(on: World) -> bool:
    """Change a value and add a row in PostgreSQL behind the pipeline's back; whether the comparison sees just that.

    The value is one of a row of which nothing expires: what has ended in the meantime is no difference.
    """
    spoilt = f"INSERT INTO {on.name}.customers (id, name, _cdc_ts) VALUES (-1, 'corrupted', 1)"
    with psycopg.connect(on.dsn, autocommit=True) as connection:
        assert connection.execute(spoilt.encode()).rowcount == 1
        changed = (
            f"UPDATE {on.name}.orders SET amount = coalesce(amount, 0) + 1 "
            f"WHERE ctid IN (SELECT ctid FROM {on.name}.orders WHERE _cdc_expires_at IS NULL LIMIT 1)"
        )
        spoilt_rows = 1 + connection.execute(changed.encode()).rowcount
    return only_differ(on.servers.session, on.dsn, on.name, spoilt_rows)


def _tell(on: World, outcome: Outcome) -> None:
    """Seed, actions and problem; the logs of the processes and of the servers are kept."""
    kept = RESULTS / f"zippy-{outcome.seed}"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for log in [*on.directory.glob("*/casscade.log"), *(server.log_file for server in on.servers.all.values())]:
        if log.exists():
            shutil.copy(log, kept / f"{log.parent.name}.log")
    text = "\n".join((f"seed {outcome.seed}", *outcome.actions, "", outcome.problem))
    (kept / "actions.txt").write_text(text + "\n", encoding="utf-8")
    print(f"{text}\nthe logs are in {kept.relative_to(RESULTS.parents[1])}", flush=True)


def main() -> int:
    """Play rounds and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the first round; then the next")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="begin no round after so many; 0: no limit")
    parser.add_argument("--rounds", type=int, default=0, help="at most so many; 0: no limit")
    parser.add_argument("--actions", type=int, default=ACTIONS, help="of each round")
    options = parser.parse_args()
    # As an interrupt: what runs is taken down first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    print(f"seed {options.seed}", flush=True)
    begin = time.monotonic()
    until = begin + options.minutes * 60 if options.minutes else float("inf")
    outcomes: list[Outcome] = []
    with servers() as on:
        while time.monotonic() < until and not (options.rounds and len(outcomes) >= options.rounds):
            outcomes.append(play(on, options.seed + len(outcomes), options.actions, until))
            print(f"{time.monotonic() - begin:5.0f} s  {outcomes[-1].line}", flush=True)
    failed = [outcome for outcome in outcomes if outcome.problem]
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} rounds passed")
    return 1 if failed or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
