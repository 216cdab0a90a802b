"""The demo from beginning to end.

Invariant: whatever happens, the pipeline and the writer are stopped before `Demo.run` returns or raises.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from casscade.core.errors import RetryableError
from casscade.demo.crew import AgentAndLoaders, Crew, OneProcess
from casscade.demo.proof import Proof, render
from casscade.demo.screen import Screen, open_screen
from casscade.demo.site import Site
from casscade.demo.surroundings import own_directory, own_servers
from casscade.demo.tables import SENTINEL, STATEMENTS, Existing
from casscade.demo.view import Rate, View
from casscade.demo.workload import TTL_S_MAX, Workload
from casscade.demo.writer import Writer
from casscade.schema.faults import translated

_TICK_S: Final = 0.1
# On top of what a step should take: the commit log syncs once a second, a start takes two; more means it hangs.
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What can be chosen: seconds and rate (writes/s) of the workload, existing rows, seed of the workload.

    `corrupt` changes a row in PostgreSQL before the comparison, which then has to fail; with `kafka` mutations go
    through a broker, from an agent to two loaders.
    """

    seconds: float = 30.0
    rate: float = 500.0
    rows: int = 5000
    seed: int = 0
    directory: Path | None = None
    corrupt: bool = False
    kafka: bool = False


def run_demo(options: DemoOptions, console: Console, site: Site | None = None) -> Proof:
    """Run the demo on servers of its own, or on those of `site`, and print the proof.

    Raises ConfigurationError when it can't start, and other CasscadeErrors when the pipeline or a server fails.
    """
    begin = time.monotonic()
    broker = "a real Kafka, " if options.kafka else ""
    console.print(
        f"[bold]Casscade demo[/bold]: a real Cassandra, {broker}a real PostgreSQL, and every change carried across "
        f"(seed {options.seed})",
        highlight=False,
        soft_wrap=not console.is_terminal,
    )
    with (
        own_directory(options.directory) as directory,
        open_screen(console) as screen,
        own_servers(directory / "stack", screen, kafka=options.kafka) if site is None else nullcontext(site) as servers,
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
        self._crew: Crew = AgentAndLoaders(site, directory) if options.kafka else OneProcess(site, directory)
        workload = Workload(options.seed, self._existing)
        self._writer = Writer(session, workload, rate=options.rate, seconds=options.seconds)
        self._write_rate = Rate()
        self._event_rate = Rate()
        self._phase = ""
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
            self._crew.stop()

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
        self._crew.start()
        self._until(lambda: self._crew.answering, _PATIENCE_S, "the pipeline to answer")
        self._screen.step(self._crew.started)
        self._phase = "existing rows are copied, new writes arrive beside them"
        self._writer.start()
        ledger, seconds = self._crew.ledger, self._options.seconds
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
        killed_at = time.monotonic()
        self._phase = "killed and started again, while writes go on"
        self._screen.warn(self._crew.kill())
        self._until(self._crew.caught_up, _PATIENCE_S, "the pipeline to catch up after the kill")
        self._recovered_s = time.monotonic() - killed_at
        self._screen.step(self._crew.back(self._recovered_s))
        self._phase = "every change is carried across"
        self._until(lambda: not self._writer.writing, self._options.seconds + _PATIENCE_S, "the workload")
        self._writer.check()
        self._screen.step(f"workload done: {self._writer.acknowledged:,} writes acknowledged by Cassandra")

    def _catch_up(self) -> float:
        """Wait until the last write is in PostgreSQL; seconds since the first write."""
        self._phase = "waiting for the last write to arrive"
        with translated("writing the last row"):
            statement = self._session.prepare(STATEMENTS["insert_customer"])
            self._session.execute(statement, (SENTINEL, "the last write", None, None, None, None))
        self._until(
            lambda: self._site.sentinel_arrived() and self._crew.ledger.snapshot_finished,
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
        self._crew.watch(now=True)
        self._screen.step(
            f"the last write has arrived; {self._crew.ledger.rows_expired:,} rows have lost what was to expire"
        )

    def _prove(self, seconds: float) -> Proof:
        """Compare both sides; `seconds` is the time from the first write to the last commit."""
        self._phase = "comparing both sides row by row"
        if self._options.corrupt:
            self._site.corrupt_row()
            self._screen.warn("one row was changed in PostgreSQL on purpose: the comparison has to find it")
        tables = self._site.compare(self._session, self._crew.config_file, self._comparing)
        self._crew.watch(now=True)
        ledger = self._crew.ledger
        return Proof(
            tables=tables,
            writes=dict(self._writer.kinds.most_common()),
            lives=self._crew.lives(),
            events_per_s=ledger.latency().count / seconds,
            writes_per_s=self._writer.acknowledged / self._writer.seconds,
            rows_expired=ledger.rows_expired,
            dead_letters=ledger.dead_letters,
            kills=self._crew.kills,
            recovered_s=self._recovered_s,
            peaks_bytes=self._crew.peaks,
            seed=self._options.seed,
            lag_peaks=self._crew.lag_peaks,
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
                    where=f"the end of the pipeline's log:\n{self._crew.log_tail()}",
                    now="the demo is over, and everything it started is stopped",
                    hint="run it again when the machine is less busy, or with a lower --rate",
                )
            self._tick()
            time.sleep(_TICK_S)

    def _tick(self) -> None:
        self._writer.check()
        self._crew.watch()
        self._screen.show(self._view())

    def _view(self) -> View:
        writer, ledger, now = self._writer, self._crew.ledger, time.monotonic()
        latency, writes = ledger.latency(), writer.acknowledged
        return replace(
            self._crew.view(),
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
        )
