"""A pipeline that dies behind a side effect, is started again, and leaves what the pure merge of everything is.

`python -m tests.chaos.run --only crash` runs all of them, those with Cassandra and Kafka too.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from casscade.core import failpoints
from tests.chaos.crash_points import DIRECT, SCENES, later_hit
from tests.support import crash_life
from tests.support.crash_life import Life

SEED = random.randrange(1 << 32)
# In each run: where nothing is durable yet, where PostgreSQL alone knows, and others that change from run to run.
ALWAYS = ("before_commit", "committed")
OTHERS = random.Random(SEED).sample([name for name in DIRECT if name not in ALWAYS], 2)


def test_the_crash_matrix_has_every_failpoint_once() -> None:
    planned = [*DIRECT, *(name for scene in SCENES for name in scene.points)]
    assert sorted(planned) == sorted(failpoints.POINTS)


@pytest.mark.servers
@pytest.mark.requirement("FR-023")
@pytest.mark.requirement("SC-007")
@pytest.mark.requirement("SC-021")
@pytest.mark.parametrize("name", [*ALWAYS, *(pytest.param(name, id=f"chosen{i}") for i, name in enumerate(OTHERS))])
def test_killed_at_a_failpoint_both_sides_are_equal(name: str, database: str, tmp_path: Path) -> None:
    hit = later_hit(name, SEED)
    print(f"seed {SEED}: {name}:{hit}")
    assert crash_life.killed_and_restarted(Life(database, tmp_path, SEED), name, hit) == []
