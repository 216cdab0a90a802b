"""A loader is stopped (SIGSTOP) until its partitions have another owner, and goes on (SIGCONT): it changes nothing.

Invariant: between its waking and its being fenced no row, no tombstone and no position changes: not even a version of
a row that says the same.
"""

from __future__ import annotations

import hashlib
import signal
import time
from typing import Any

from tests.chaos.load import Load
from tests.chaos.report import Result
from tests.chaos.site import READY_S, Pipeline

LOAD_S_MAX = 240.0
# Losing partitions takes the group's session timeout, 10 s; a lock that the stopped one holds can add its timeout.
TAKEN_S = 90.0
# After it was fenced or left: time for what it might still do.
QUIET_S = 2.0
LOOK_S = 0.1
FENCED = "another loader took a partition over"


def zombie(on: Pipeline, load: Load, result: Result) -> float:
    """Stop a loader within the load, wait for the others to finish it, and wake it."""
    stopped, _ = on.loaders
    load.wait(0.3, LOAD_S_MAX)
    names = [f"'{source}'" for source in stopped.process.status()["kafka"]["lag_events"]]
    assert names, "the loader to be stopped owns nothing"
    owned = f"SELECT source, epoch FROM casscade.positions WHERE source IN ({', '.join(names)}) ORDER BY source"
    before = on.rows(owned)
    stopped.process.signal(signal.SIGSTOP)
    result.kills += 1
    try:
        _wait_taken(on, owned, before)
        load.finish(LOAD_S_MAX)
        on.loaders.remove(stopped)
        on.wait_equal()
        on.loaders.insert(0, stopped)
        still = _quiet_state(on)
        written = len(stopped.process.text())
    finally:
        stopped.process.signal(signal.SIGCONT)
    woken = time.monotonic()
    fenced = _wait_fenced(on, written)
    time.sleep(QUIET_S)
    assert _state(on) == still, "the loader that was stopped has changed something"
    result.note = f"epochs of {len(before)} partitions rose while it was stopped; {fenced}"
    return woken


def _wait_taken(on: Pipeline, owned: str, before: list[tuple[Any, ...]]) -> None:
    deadline = time.monotonic() + TAKEN_S
    while any(new <= old for (_, new), (_, old) in zip(on.rows(owned), before, strict=True)):
        assert time.monotonic() < deadline, f"partitions of the stopped loader have no new owner: {on.rows(owned)}"
        time.sleep(LOOK_S)


def _wait_fenced(on: Pipeline, written: int) -> str:
    """Return when the woken loader knows that it lost its partitions; says how. Its log had `written` characters."""
    process = on.loaders[0].process
    process.wait(lambda: "gave a partition up" in process.text()[written:], "giving its partitions up", READY_S)
    process.wait(lambda: bool(process.status()["kafka"]["partitions"]), "partitions of its own again", READY_S)
    refused = process.text()[written:].count(FENCED)
    how_often = "once" if refused == 1 else f"{refused} times"
    return f"it was refused {how_often} when it woke" if refused else "the group told it before it wrote"


def _quiet_state(on: Pipeline) -> str:
    """The state, once it stays the same for a while."""
    deadline = time.monotonic() + READY_S
    state = _state(on)
    while True:
        time.sleep(QUIET_S)
        before, state = state, _state(on)
        if state == before:
            return state
        assert time.monotonic() < deadline, "rows and positions change although nothing is written"


def _state(on: Pipeline) -> str:
    """A digest of every row's version (`xmin`), so that even a write of the same value shows, and of all positions."""
    digest = hashlib.sha256()
    tables = [f"{on.keyspace}.orders", f"{on.keyspace}.orders_static", f"{on.keyspace}.customers"]
    for table in (*tables, "casscade.row_tombstones", "casscade.range_tombstones", "casscade.dead_letters"):
        rows = on.rows(f"SELECT ctid::text, xmin::text FROM {table} ORDER BY ctid")
        digest.update(repr((table, rows)).encode())
    digest.update(repr(on.rows("SELECT source, segment_offset FROM casscade.positions ORDER BY source")).encode())
    return digest.hexdigest()
