"""The actions of the chaos driver, with what must hold before each.

Invariant: an action is chosen only where its precondition holds; what it does follows from the generator it is given.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import psycopg

from tests.chaos.world import Part, World
from tests.chaos.writes import Writer
from tests.support.proxy import Fault

# Which faults a network has, and how often.
FAULTS: Final = {
    "postgres": (
        Fault.RESET,
        Fault.BLACK_HOLE,
        Fault.DELAY,
        Fault.CUT,
        Fault.CUT,
        Fault.COMMIT_LOST,
        Fault.REPLY_LOST,
        Fault.REPLY_LOST,
    ),
    "cassandra": (Fault.RESET, Fault.BLACK_HOLE, Fault.DELAY, Fault.CUT),
    "kafka": (Fault.RESET, Fault.BLACK_HOLE, Fault.DELAY, Fault.CUT),
}
# A network is down for some seconds at most before the next action may heal it.
LOCKED_S_MAX: Final = 3.0
TABLES: Final = ("orders", "customers", "visits")


class Scene(NamedTuple):
    """What an action is given."""

    world: World
    writer: Writer
    rng: random.Random


class Action(NamedTuple):
    """`weight`: how often it is chosen; `run` tells what it did."""

    name: str
    weight: int
    possible: Callable[[World], bool]
    run: Callable[[Scene], str]


def _up(world: World, *names: str) -> bool:
    return not world.down.intersection(names)


def _clear(world: World, *names: str) -> bool:
    """Up, and without a fault on the way."""
    return _up(world, *names) and not set(names).intersection(world.faulty)


def _commandable(world: World) -> bool:
    """Whether commands can do their work, which needs that the pipeline has run."""
    if not _clear(world, "cassandra", "postgres") or world.backends:
        return False
    return world.rows("SELECT to_regclass('casscade.snapshot_pauses') IS NOT NULL") == [(True,)]


def _needed(world: World) -> tuple[str, ...]:
    return ("cassandra", "postgres", "kafka") if world.kafka else ("cassandra", "postgres")


def _parts(world: World, *, wanted: bool, suspended: bool = False) -> list[Part]:
    return [part for part in world.parts if part.wanted is wanted and part.suspended is suspended]


def _write(scene: Scene) -> str:
    return scene.writer.burst(scene.rng)


def _start(scene: Scene) -> str:
    part = scene.rng.choice(_parts(scene.world, wanted=False))
    part.start()
    return part.name


def _kill(scene: Scene) -> str:
    part = scene.rng.choice([part for part in scene.world.parts if part.wanted])
    part.wanted = part.suspended = False
    part.process.kill()
    return part.name


def _stop(scene: Scene) -> str:
    """Sends SIGTERM only: how long it takes depends on who is away, and so does how it ends while it starts."""
    part = scene.rng.choice(_parts(scene.world, wanted=True))
    part.wanted = False
    part.process.signal(signal.SIGTERM)
    return f"{part.name}, status {part.process.wait_end(90.0).code}"


def _suspend(scene: Scene) -> str:
    part = scene.rng.choice(_parts(scene.world, wanted=True))
    part.process.signal(signal.SIGSTOP)
    part.suspended = True
    return part.name


def _wake(scene: Scene) -> str:
    part = scene.rng.choice(_parts(scene.world, wanted=True, suspended=True))
    part.process.signal(signal.SIGCONT)
    part.suspended = False
    return part.name


def _crash(name: str) -> Callable[[Scene], str]:
    def run(scene: Scene) -> str:
        server = scene.world.servers.all[name]
        clean = scene.rng.random() < 0.3
        scene.world.down.add(name)
        if name == "postgres":
            scene.world.resume_backends()
        if clean:
            server.stop()
        else:
            server.kill()
        return "shut down" if clean else "crashed"

    return run


def _bring_back(scene: Scene) -> str:
    name = scene.rng.choice(sorted(scene.world.down))
    scene.world.servers.up(name)
    scene.world.down.discard(name)
    return name


def _strike(scene: Scene) -> str:
    name = scene.rng.choice(_needed(scene.world))
    fault = scene.rng.choice(FAULTS[name])
    delay_s, bytes_left = scene.rng.choice((0.01, 0.1)), scene.rng.randint(1, 200_000)
    scene.world.servers.proxies[name].strike(fault, delay_s=delay_s, bytes_left=bytes_left)
    return f"{name} {fault.name}"


def _mend(scene: Scene) -> str:
    name = scene.rng.choice(scene.world.faulty)
    scene.world.servers.proxies[name].heal()
    return name


def _add_column(scene: Scene) -> str:
    return scene.writer.add_column(scene.rng)


def _truncate(scene: Scene) -> str:
    return scene.writer.truncate(scene.rng)


def _again(scene: Scene) -> str:
    scene.world.command("snapshot start --again")
    return ""


def _pause(scene: Scene) -> str:
    scene.world.command("snapshot resume" if scene.world.paused else "snapshot pause")
    scene.world.paused = not scene.world.paused
    return "paused" if scene.world.paused else "resumed"


def _lock(scene: Scene) -> str:
    """Another session holds a table against everybody for a while."""
    seconds = scene.rng.uniform(0.1, LOCKED_S_MAX)
    table = scene.rng.choice(TABLES)
    with psycopg.connect(scene.world.dsn) as connection:
        try:
            connection.execute("SET lock_timeout = '5s'")
            connection.execute(f"LOCK TABLE {scene.world.name}.{table} IN ACCESS EXCLUSIVE MODE".encode())
        except psycopg.Error as error:
            return f"{table}: {type(error).__name__}"
        time.sleep(seconds)
    return f"{table} for {seconds:.1f} s"


def _stop_backend(scene: Scene) -> str:
    """One session of the pipeline does not go on."""
    found = scene.world.rows("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'casscade %' ORDER BY pid")
    if not found:
        return "there is none"
    pid = int(scene.rng.choice(found)[0])
    os.kill(pid, signal.SIGSTOP)
    scene.world.backends.append(pid)
    return str(pid)


def _resume_backends(scene: Scene) -> str:
    scene.world.resume_backends()
    return ""


def _pass_time(scene: Scene) -> str:
    seconds = scene.rng.uniform(0.1, 3.0)
    time.sleep(seconds)
    return f"{seconds:.1f} s"


def _equal(scene: Scene) -> str:
    comparisons = scene.world.wait_equal()
    return f"{sum(one.rows_cassandra for one in comparisons)} rows"


ACTIONS: Final = (
    Action("write", 30, lambda world: _up(world, "cassandra"), _write),
    Action("pass time", 12, lambda _: True, _pass_time),
    Action("start", 16, lambda world: bool(_parts(world, wanted=False)) and _clear(world, *_needed(world)), _start),
    Action("kill", 8, lambda world: any(part.wanted for part in world.parts), _kill),
    Action("stop", 4, lambda world: bool(_parts(world, wanted=True)), _stop),
    Action("suspend", 4, lambda world: bool(_parts(world, wanted=True)), _suspend),
    Action("wake", 8, lambda world: bool(_parts(world, wanted=True, suspended=True)), _wake),
    Action("crash postgres", 4, lambda world: _up(world, "postgres"), _crash("postgres")),
    Action("crash kafka", 3, lambda world: world.kafka and _up(world, "kafka"), _crash("kafka")),
    Action("crash cassandra", 1, lambda world: _up(world, "cassandra"), _crash("cassandra")),
    Action("bring back", 16, lambda world: bool(world.down), _bring_back),
    Action("network fault", 12, lambda world: len(world.faulty) < 2, _strike),
    Action("network healed", 14, lambda world: bool(world.faulty), _mend),
    Action("add a column", 4, lambda world: _up(world, "cassandra"), _add_column),
    Action("truncate", 4, lambda world: _up(world, "cassandra"), _truncate),
    Action("snapshot again", 4, _commandable, _again),
    Action("pause or resume", 3, _commandable, _pause),
    Action("lock a table", 4, lambda world: _up(world, "postgres") and not world.backends, _lock),
    Action("stop a session", 3, lambda world: _up(world, "postgres") and not world.backends, _stop_backend),
    Action("sessions go on", 8, lambda world: bool(world.backends), _resume_backends),
    Action("wait until equal", 5, lambda _: True, _equal),
)


def choose(rng: random.Random, world: World) -> Action:
    """One of those that are possible now."""
    possible = [action for action in ACTIONS if action.possible(world)]
    return rng.choices(possible, [action.weight for action in possible])[0]
