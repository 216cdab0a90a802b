"""The chaos driver and the crash matrix: what a seed repeats, what must hold before an action, who gets which time."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, cast

import pytest

from casscade.core import failpoints
from tests.chaos.actions import ACTIONS, choose
from tests.chaos.crash_matrix import cases
from tests.chaos.crash_points import hits_of
from tests.chaos.run import DRIVERS, command, parsed
from tests.chaos.world import ChaosError, Part, Servers, World
from tests.chaos.writes import STATEMENTS
from tests.support.pipeline_process import PipelineProcess
from tests.support.proxy import Fault


class Network:
    """A proxy of which only the fault is looked at."""

    def __init__(self) -> None:
        self.fault = Fault.NONE


class Network3:
    """Servers of which only the directory and the networks are looked at."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.proxies = {name: Network() for name in ("cassandra", "postgres", "kafka")}


class Ended:
    """A process that has ended with a status and a last word."""

    running = False

    def __init__(self, exit_code: int, said: str) -> None:
        self.exit_code = exit_code
        self.said = said
        self.starts = 0

    def tail(self) -> str:
        return self.said

    def start(self) -> None:
        self.starts += 1


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(cast(Servers, Network3(tmp_path)), "zippy", True, {"http": {}})


def possible(world: World) -> set[str]:
    return {action.name for action in ACTIONS if action.name not in WITH_POSTGRES and action.possible(world)}


# These ask PostgreSQL.
WITH_POSTGRES = {"snapshot again", "pause or resume"}


def test_what_is_down_is_not_written_to_but_brought_back(world: World) -> None:
    world.down = {"cassandra"}
    assert not possible(world) & {"write", "truncate", "add a column", "crash cassandra", "start"}
    assert "bring back" in possible(world)
    world.down = set()
    assert "bring back" not in possible(world)
    assert {"write", "truncate", "add a column", "crash cassandra", "start"} <= possible(world)


def test_nothing_is_killed_twice_or_healed_without_a_fault(world: World) -> None:
    assert not possible(world) & {"kill", "stop", "suspend", "wake", "network healed", "sessions go on"}
    world.parts[0].wanted = True
    cast(Network, world.servers.proxies["kafka"]).fault = Fault.RESET
    assert {"kill", "stop", "suspend", "network healed"} <= possible(world)
    # A start that can't reach a server is refused, which is no news.
    assert "start" not in possible(world)
    world.parts[0].suspended = True
    assert "wake" in possible(world)
    assert not possible(world) & {"stop", "suspend"}


def test_a_seed_chooses_the_same_actions_again(world: World) -> None:
    world.down = {"postgres"}
    first, again = random.Random(5), random.Random(5)
    assert [choose(first, world).name for _ in range(50)] == [choose(again, world).name for _ in range(50)]


def test_statements_follow_from_the_generator() -> None:
    for _, make in STATEMENTS:
        assert make(random.Random(3), "ks") == make(random.Random(3), "ks")
        assert "ks." in make(random.Random(3), "ks")


@pytest.mark.parametrize(
    ("code", "said", "allowed"),
    [
        (2, "error: … [postgres_unreachable]", True),
        (2, "error: … [target_differs]", False),
        (1, "error: … [postgres_unreachable]", False),
        (0, "", False),
        (-9, "", False),
    ],
)
def test_a_part_that_ends_by_itself_is_an_error_unless_it_could_not_begin(code: int, said: str, allowed: bool) -> None:
    ended = Ended(code, said)
    part = Part("run-0", cast(PipelineProcess, ended), wanted=True)
    if allowed:
        part.supervise()
    else:
        with pytest.raises(ChaosError, match=f"ended by itself with {code}"):
            part.supervise()
    assert ended.starts == allowed
    Part("run-0", cast(PipelineProcess, ended), wanted=False).supervise()


def test_the_crash_matrix_kills_at_the_first_hit_of_everything_before_later_ones() -> None:
    planned = cases([], 4)
    count = len(failpoints.POINTS)
    assert sorted(case.name for case in planned[:count]) == sorted(failpoints.POINTS)
    assert {case.hit for case in planned[:count]} == {1}
    assert all(1 < case.hit <= hits_of(case.name) for case in planned[count:])
    assert planned[count:]
    assert planned == cases([], 4) != cases([], 5)
    with pytest.raises(ValueError, match="nowhere"):
        cases(["nowhere"], 4)


def minutes(arguments: list[str], driver: str) -> float:
    line = command(driver, parsed(arguments))
    return float(line[line.index("--minutes") + 1])


def test_each_driver_has_its_share_of_the_time() -> None:
    assert sum(share for _, share in DRIVERS.values()) == pytest.approx(1.0)
    timed = [driver for driver, (module, _) in DRIVERS.items() if module != "pytest"]
    assert sum(minutes([], driver) for driver in timed) <= 10.0
    assert minutes(["--minutes", "20"], "actions") == pytest.approx(8.0)
    assert minutes(["--driver", "actions", "--minutes", "30"], "actions") == pytest.approx(30.0)
    # Without a limit, but what has no end.
    assert (minutes(["--all"], "kills"), minutes(["--all"], "crashes"), minutes(["--all"], "actions")) == (0, 0, 10)
    assert minutes(["--only", "zombie"], "kills") == 0


def test_only_names_something_of_one_driver() -> None:
    assert parsed(["--only", "zombie"]).driver == "kills"
    crashes: Any = parsed(["--driver", "crashes", "--only", "committed", "--seed", "7"])
    assert command("crashes", crashes)[-6:] == ["--seed", "7", "--minutes", "0.0", "--only", "committed"]
