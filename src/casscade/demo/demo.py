"""The demo from beginning to end.

Invariant: whatever happens, the pipeline and the writer are stopped before `Demo.run` returns or raises.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from casscade.core.errors import RetryableError
from casscade.demo.child import PipelineChild
from casscade.demo.proof import Proof, render
from casscade.demo.screen import Screen, open_screen
from casscade.demo.site import Site
from casscade.demo.surroundings import own_directory, own_servers
from casscade.demo.tables import SENTINEL, STATEMENTS, Existing
from casscade.demo.view import Rate, View
from casscade.demo.workload import TTL_S_MAX, Workload
from casscade.demo.writer import Writer
from casscade.devstack.places import free_port
from casscade.schema.faults import translated

_TICK_S: Final = 0.1
# On top of what a step should take: the commit log syncs once a second, a start takes two; more means it hangs.
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What can be chosen: seconds and rate (writes/s) of the workload, existing rows, seed of the workload.

    `corrupt` changes a row in PostgreSQL before the comparison, which then has to fail.
    """

    seconds: float = 30.0
    rate: float = 500.0
    rows: int = 5000
    seed: int = 0
    directory: Path | None = None
    corrupt: bool = False


def run_demo(options: DemoOptions, console: Console, site: Site | None = None) -> Proof:
    """Run the demo on servers of its own, or on those of `site`, and print the proof.

    Raises ConfigurationError when it can't start, and other CasscadeErrors when the pipeline or a server fails.
    """
    begin = time.monotonic()
    console.print(
        "[bold]Casscade demo[/bold]: a real Cassandra, a real PostgreSQL, and every change carried across "
        f"(seed {options.seed})",
        highlight=False,
        soft_wrap=not console.is_terminal,
    )
    with (
        own_directory(options.directory) as directory,
        open_screen(console) as screen,
        own_servers(directory / "stack", screen) if site is None else nullcontext(site) as servers,
        servers.session() as session,
    ):
        proof = Demo(options, servers, session, directory, screen).run()
    console.print(render(proof))
    console.print(f"Everything is stopped and removed, {time.monotonic() - begin:.0f} s after the start.", style="dim")
    return proof


class Demo:
    """One run on servers that are up."""

    def __init__(self, options: DemoOptions, site: Site, session: Any, directory: Path, screen: Screen) -> None:
        self._options = options
        self._site = site
        self._session = session
        self._screen = screen
        self._begin = time.monotonic()
        self._existing = Existing.of(options.rows)
        self._config_file = directory / "casscade.yaml"
        http_port = free_port()
        site.write_config(self._config_file, directory / "state", http_port)
        self._child = PipelineChild(self._config_file, directory, http_port)
        workload = Workload(options.seed, self._existing)
        self._writer = Writer(session, workload, rate=options.rate, seconds=options.seconds)
        self._write_rate = Rate()
        self._event_rate = Rate()
        self._phase = ""
        self._killed_at = 0.0
        self._recovered_s: float | None = None

    def run(self) -> Proof:
        """Fill, replicate, kill, catch up, compare."""
        try:
            self._fill()
            self._replicate()
            self._kill()
            seconds = self._catch_up()
            self._let_expire()
            return self._prove(seconds)
        finally:
            self._writer.stop()
            self._child.stop()

    def _fill(self) -> None:
        """Write the rows that exist before the pipeline does."""
        self._phase = "creating the sample tables"
        self._screen.show(self._view())
        self._site.create_tables(self._session)
        self._site.fill(self._session, self._existing, self._filling)
        rows = self._existing
        self._screen.step(
            f"{self._options.rows:,} rows written before the pipeline starts: {rows.customers:,} customers, "
            f"{rows.orders:,} orders, {rows.events:,} events"
        )

    def _filling(self, done: int) -> None:
        self._phase = f"writing the existing rows: {done:,} writes"
        self._screen.show(self._view())

    def _replicate(self) -> None:
        """Start the pipeline, and the workload beside its snapshot; return half-way through the workload."""
        self._phase = "the pipeline starts"
        self._child.start()
        self._until(lambda: self._child.status is not None, _PATIENCE_S, "the pipeline to answer")
        self._screen.step(f"pipeline started: casscade run -c {self._config_file.name}, pid {self._child.pid}")
        self._phase = "existing rows are copied, new writes arrive beside them"
        self._writer.start()
        ledger, seconds = self._child.ledger, self._options.seconds
        self._until(lambda: ledger.snapshot_finished or self._half_way(), seconds + _PATIENCE_S, "the snapshot")
        if ledger.snapshot_finished:
            self._screen.step(
                f"snapshot complete: {ledger.snapshot_rows:,} rows, with those that arrived while it was running"
            )
        self._phase = "every change is carried across"
        self._until(self._half_way, seconds + _PATIENCE_S, "half of the workload")

    def _half_way(self) -> bool:
        return self._writer.elapsed_s >= self._options.seconds / 2

    def _kill(self) -> None:
        """Kill the pipeline while writes go on, start it again, and let the workload end."""
        pid = self._child.pid
        self._child.kill()
        self._killed_at = time.monotonic()
        self._phase = "killed and started again, while writes go on"
        self._screen.warn(f"pipeline killed by SIGKILL (pid {pid}); writes go on, and it is started again")
        self._child.start()
        self._until(self._recovered, _PATIENCE_S, "the pipeline to catch up after the kill")
        self._screen.step(
            f"pipeline is back as pid {self._child.pid}: {self._recovered_s:.1f} s after the kill it has caught up"
        )
        self._phase = "every change is carried across"
        self._until(lambda: not self._writer.writing, self._options.seconds + _PATIENCE_S, "the workload")
        self._writer.check()
        self._screen.step(f"workload done: {self._writer.acknowledged:,} writes acknowledged by Cassandra")

    def _recovered(self) -> bool:
        """Whether the life after the kill has committed something, and nothing is waiting."""
        status = self._child.status
        if status is None or not status["batches"] or status["lag_seconds"]:
            return False
        if not status["capture"].get("caught_up"):
            return False
        self._recovered_s = time.monotonic() - self._killed_at
        return True

    def _catch_up(self) -> float:
        """Wait until the last write is in PostgreSQL; seconds since the first write."""
        self._phase = "waiting for the last write to arrive"
        with translated("writing the last row"):
            statement = self._session.prepare(STATEMENTS["insert_customer"])
            self._session.execute(statement, (SENTINEL, "the last write", None, None, None, None))
        self._until(
            lambda: self._site.sentinel_arrived() and self._child.ledger.snapshot_finished,
            _PATIENCE_S,
            "the last write to arrive",
        )
        return time.monotonic() - self._writer.started_at

    def _let_expire(self) -> None:
        """Wait until no short TTL is left, so that both sides stand still."""
        self._phase = "waiting for the last short TTLs to run out"
        # Cassandra counts expiry in whole seconds, and the pipeline applies it twice a second.
        quiet_at = self._writer.started_at + self._writer.seconds + TTL_S_MAX + 2
        self._until(lambda: time.monotonic() > quiet_at, _PATIENCE_S, "the last TTL to run out")
        self._child.watch(now=True)
        self._screen.step(
            f"the last write has arrived; {self._child.ledger.rows_expired:,} rows have lost what was to expire"
        )

    def _prove(self, seconds: float) -> Proof:
        """Compare both sides; `seconds` is the time from the first write to the last commit."""
        self._phase = "comparing both sides row by row"
        if self._options.corrupt:
            self._site.corrupt_row()
            self._screen.warn("one row was changed in PostgreSQL on purpose: the comparison has to find it")
        tables = self._site.compare(self._session, self._config_file, self._comparing)
        self._child.watch(now=True)
        ledger = self._child.ledger
        return Proof(
            tables=tables,
            writes=dict(self._writer.kinds.most_common()),
            lives=ledger.latencies(),
            events_per_s=ledger.latency().count / seconds,
            writes_per_s=self._writer.acknowledged / self._writer.seconds,
            rows_expired=ledger.rows_expired,
            dead_letters=ledger.dead_letters,
            kills=self._child.kills,
            recovered_s=self._recovered_s,
            peak_rss_bytes=self._child.peak_rss_bytes,
            seed=self._options.seed,
        )

    def _comparing(self, table: str, rows: int) -> None:
        self._phase = f"comparing both sides row by row: {table}, {rows:,} rows"
        self._tick()

    def _until(self, done: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Look and show until `done`. Raises RetryableError after `timeout_s`, and whatever ended a part."""
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline:
                raise RetryableError(
                    "demo_timeout",
                    f"waited {timeout_s:.0f} s for {what}",
                    where=f"the end of the pipeline's log:\n{self._child.log_tail()}",
                    now="the demo is over, and everything it started is stopped",
                    hint="run it again when the machine is less busy, or with a lower --rate",
                )
            self._tick()
            time.sleep(_TICK_S)

    def _tick(self) -> None:
        self._writer.check()
        self._child.watch()
        self._screen.show(self._view())

    def _view(self) -> View:
        child, writer, now = self._child, self._writer, time.monotonic()
        ledger, status = child.ledger, child.status
        latency, writes = ledger.latency(), writer.acknowledged
        return View(
            phase=self._phase,
            at_s=now - self._begin,
            snapshot_percent=ledger.snapshot_percent,
            snapshot_rows=ledger.snapshot_rows,
            workload_s=min(writer.elapsed_s, self._options.seconds),
            workload_total_s=self._options.seconds,
            writes=writes,
            writes_per_s=self._write_rate.observe(now, writes),
            events=latency.count,
            events_per_s=self._event_rate.observe(now, latency.count),
            rows_written=ledger.rows_written,
            rows_expired=ledger.rows_expired,
            batches=ledger.batches,
            p50_s=latency.percentile(50),
            p95_s=latency.percentile(95),
            p99_s=latency.percentile(99),
            lag_s=None if status is None else status["lag_seconds"],
            position="" if status is None else status["capture"].get("position", ""),
            pid=child.pid,
            answering=status is not None,
            rss_bytes=child.peak_rss_bytes,
            kills=child.kills,
        )
