"""Kills of agents, loaders and the broker, hard and clean, in all pairings, under load; both sides equal every time.

    python -m tests.chaos.kafka_kills                                       all, in an order that the seed decides
    python -m tests.chaos.kafka_kills --seed 7 --only agent-hard+broker-clean  one of them again
    python -m tests.chaos.kafka_kills --minutes 10                          as many as fit; those left out are named

Invariant: the exit status is 0 only if every scenario that ran passed; in each, the comparison that found both sides
equal has then found the one row that was corrupted on purpose.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psycopg

import casscade
from tests.chaos import pairings
from tests.chaos.elastic import elastic
from tests.chaos.load import Load, create_tables
from tests.chaos.pairings import Round
from tests.chaos.report import Result, save, table
from tests.chaos.site import Pipeline, Site, Victim, pipeline, site
from tests.chaos.zombie import zombie
from tests.support.both_sides import only_differ

RESULTS: Final = Path(__file__).resolve().parents[2] / "build" / "chaos"
MUTATIONS: Final = 100_000
# Twenty seconds of load: the moments of the kills lie seconds apart.
RATE: Final = 5000.0
LOAD_S_MAX: Final = 240.0

Scenario = Callable[[Pipeline, Load, Result], float]
"""Kills under a load that has begun, until all runs again; returns the (monotonic) moment of the last start."""


def kill_pairs(on: Pipeline, load: Load, result: Result) -> float:
    """The pairs of kills of a pairing."""
    rng = random.Random(f"{result.seed} {result.name} loaders")
    started = time.monotonic()
    for each in pairings.rounds(result.name, result.seed, result.rounds):
        load.wait(each.at, LOAD_S_MAX)
        result.kills += 2
        started = _kill_both(on, each, rng)
    return started


def _kill_both(on: Pipeline, each: Round, rng: random.Random) -> float:
    """End two, which are down together, and start them again.

    Where there is only one of a kind (the agent, the broker), its next life is ended while the rest still gets over
    the end of the first.
    """
    loaders = rng.sample(on.loaders, 2)
    victims: dict[str, list[Victim]] = {"agent": [on.agent], "broker": [on.broker], "loader": [*loaders]}
    first = victims[each.first.who].pop(0)
    left = victims[each.second.who]
    first.strike(each.first.how)
    if left:
        second = left[0]
        time.sleep(each.apart)
        second.strike(each.second.how)
        first.await_down(each.first.how)
        second.await_down(each.second.how)
        time.sleep(each.down)
        order = [second, first] if each.swapped else [first, second]
        order[0].start()
        time.sleep(each.between)
        order[1].start()
    else:
        second = first
        first.await_down(each.first.how)
        first.start()
        time.sleep(each.apart + each.between)
        first.strike(each.second.how)
        first.await_down(each.second.how)
        time.sleep(each.down)
        first.start()
    started = time.monotonic()
    for victim in {id(first): first, id(second): second}.values():
        victim.wait_ready()
    return started


SCENARIOS: Final[dict[str, Scenario]] = {pairings.ZOMBIE: zombie, pairings.ELASTIC: elastic}


def run(servers: Site, result: Result) -> None:
    """Run one scenario, and note in `result` how it ended."""
    with pipeline(servers) as on:
        try:
            _run(on, result)
            if not result.differences:
                result.checked = corruption_is_found(on)
        except Exception as error:
            result.problem = str(error) or type(error).__name__
            print(f"{result.name}: {traceback.format_exc()}\n{on.tails()}", flush=True)
        keep_logs(on, RESULTS / f"logs-{result.seed}" / result.name.replace(" ", "-"))


def keep_logs(on: Pipeline, directory: Path) -> None:
    """What the processes of a scenario wrote, for who wants to know more than the table tells."""
    directory.mkdir(parents=True, exist_ok=True)
    for log in on.directory.glob("*/*.log"):
        shutil.copy(log, directory / f"{log.parent.name}.log")


def _run(on: Pipeline, result: Result) -> None:
    # What loaders read again they send to the topic, also those that lost their partitions, and rightly so.
    create_tables(on.site.session, on.keyspace, touched=result.name != pairings.ZOMBIE)
    on.start()
    load = Load(on.site.session, on.keyspace, f"{result.seed} {result.name} load", result.mutations, RATE)
    load.start()
    try:
        started = SCENARIOS.get(result.name, kill_pairs)(on, load, result)
        load.finish(LOAD_S_MAX)
    finally:
        load.stop()
    result.load_s = load.seconds
    ended = time.monotonic()
    comparisons = on.wait_equal()
    result.caught_up_s = time.monotonic() - max(started, ended)
    result.rows = sum(one.rows_cassandra for one in comparisons)
    result.differences = sum(one.differences for one in comparisons)
    ((result.dead_letters,),) = on.rows("SELECT count(*) FROM casscade.dead_letters")
    ((result.messages,),) = on.rows("SELECT sum(segment_offset)::bigint FROM casscade.positions")
    assert result.messages >= result.mutations, f"only {result.messages} messages were applied"
    on.stop()
    anomalies = [line for line in on.agent.process.text().splitlines() if "anomaly" in line]
    assert not anomalies, "the agent found gaps or damage: " + anomalies[0]


def corruption_is_found(on: Pipeline) -> bool:
    """Change one value of one row in PostgreSQL behind the pipeline's back; whether the comparison sees just that.

    Of a row of which nothing expires: what has ended in the meantime is no difference.
    """
    changed = (
        "UPDATE {0}.customers SET name = 'corrupted' "
        "WHERE id = (SELECT min(id) FROM {0}.customers WHERE _cdc_expires_at IS NULL)"
    )
    with psycopg.connect(on.dsn, autocommit=True) as connection:
        assert connection.execute(changed.format(on.keyspace).encode()).rowcount == 1
    return only_differ(on.site.session, on.dsn, on.keyspace, 1)


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--mutations", type=int, default=MUTATIONS, help="for each scenario")
    parser.add_argument("--rounds", type=int, default=1, help="pairs of kills for each pairing")
    parser.add_argument("--only", action="append", default=[], help="a pairing, or one of the other scenarios")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin nothing more after so many; 0: no limit")
    options = parser.parse_args(arguments)
    names = pairings.chosen(options.only, options.seed)
    print(f"seed {options.seed}, {len(names)} scenarios of {options.mutations:,} mutations", flush=True)
    compiled = "pure" if Path(casscade.__file__).is_relative_to(RESULTS.parents[1] / "src") else "compiled"
    print(f"the hot modules are {compiled} ({Path(casscade.__file__).parent.name})", flush=True)
    begin, slowest = time.monotonic(), 0.0
    results: list[Result] = []
    with site() as servers:
        while names:
            started = time.monotonic()
            if results and 0 < options.minutes < (started - begin + slowest) / 60:
                break
            result = Result(names.pop(0), options.seed, options.mutations, options.rounds)
            run(servers, result)
            took = time.monotonic() - started
            slowest = max(slowest, took)
            results.append(result)
            save(RESULTS, f"kafka-{options.seed}", results)
            print("  ".join(result.cells), f" (load {result.load_s:.0f} s, all {took:.0f} s)", flush=True)
    return tell(results, names, options.seed)


def tell(results: list[Result], left: list[str], seed: int) -> int:
    """Print the table, what was left out, and where both are kept; returns the exit status."""
    print(table(results))
    if left:
        print(f"not run, for want of time: {', '.join(left)}")
    checked = sum(result.checked for result in results)
    print(f"the comparison found a row that was corrupted on purpose in {checked} of {len(results)} scenarios")
    for file in save(RESULTS, f"kafka-{seed}", results):
        print(f"saved {file.relative_to(RESULTS.parents[1])}")
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
