"""A loader is added under load and removed, another one is added and killed.

Invariant: whoever is added owns partitions before it is removed, so that they move both ways.
"""

from __future__ import annotations

import time
from functools import partial

from tests.chaos.load import Load
from tests.chaos.report import Result
from tests.chaos.site import PARTITIONS, READY_S, Member, Pipeline

LOAD_S_MAX = 240.0


def elastic(on: Pipeline, load: Load, result: Result) -> float:
    """Two more loaders come and go, one of them cleanly; returns the moment of the last start."""
    started = time.monotonic()
    for at, how in ((0.1, "clean"), (0.5, "hard")):
        load.wait(at, LOAD_S_MAX)
        added = on.add_loader()
        started = time.monotonic()
        added.wait_ready()
        added.process.wait(partial(owns, added), "partitions of its own", READY_S)
        counts = [owned(loader) for loader in on.loaders]
        assert sum(counts) <= PARTITIONS, f"partitions with two owners: {counts}"
        load.wait(at + 0.2, LOAD_S_MAX)
        on.loaders.remove(added)
        added.strike(how)
        result.kills += 1
        added.await_down(how)
    result.note = "added ones owned partitions"
    return started


def owns(loader: Member) -> bool:
    """Whether a loader owns any partition."""
    return owned(loader) > 0


def owned(loader: Member) -> int:
    """How many partitions a loader owns."""
    return int(loader.process.status()["kafka"]["partitions"])
