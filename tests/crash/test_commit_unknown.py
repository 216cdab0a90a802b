"""The outcome of a COMMIT is unknown: its answer is lost, or itself. Nothing is lost, and nothing is counted twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support import crash_life
from tests.support.proxy import Fault


@pytest.mark.servers
@pytest.mark.requirement("FR-023")
@pytest.mark.parametrize("fault", [Fault.REPLY_LOST, Fault.COMMIT_LOST], ids=lambda fault: fault.name)
def test_an_unknown_outcome_is_tried_again_and_changes_nothing(fault: Fault, database: str, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    with crash_life.through_proxy(database, tmp_path / "life", seed) as (life, between):
        # Held at its first COPY, so that the COMMIT that is met is the one of a batch.
        between.strike(Fault.HOLD, marker=crash_life.COPY)
        lived = crash_life.start(life)
        assert between.wait_struck(10.0)
        between.strike(fault)
        assert lived.wait() == 0, f"seed {seed}"
        assert between.fault is Fault.NONE, "no COMMIT came by"
    assert crash_life.differences(life, database) == [], f"seed {seed}"
    assert crash_life.retries_of(life) == ["connection"]
    assert int(life.told.read_text("ascii")) == crash_life.MUTATIONS
