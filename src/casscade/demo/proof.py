"""The end of the demo: what was compared, what was measured, and whether it is a proof.

Invariant: pure; `passed` is true only if every table was compared, something was in it, and not one row differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.box import ROUNDED
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from casscade.demo.tables import TABLES
from casscade.observability.latency import LatencyHistogram
from casscade.verify.compare import TableComparison


@dataclass(frozen=True, slots=True)
class Proof:
    """What one run showed.

    `lives` are the latencies of each life of the pipeline, by what it is called; `recovered_s` the seconds from the
    kill until nothing was waiting any more (None: it was not seen); `events_per_s` the mean from the first write to the
    last commit; `peaks_bytes` the most memory of each process; `lag_peaks` the most events that waited in each Kafka
    partition.
    """

    tables: Sequence[TableComparison]
    writes: Mapping[str, int]
    lives: Sequence[tuple[str, LatencyHistogram]]
    events_per_s: float
    writes_per_s: float
    rows_expired: int
    dead_letters: int
    kills: int
    recovered_s: float | None
    peaks_bytes: Mapping[str, int]
    seed: int
    lag_peaks: Sequence[int] = ()

    @property
    def differences(self) -> int:
        return sum(table.differences for table in self.tables)

    @property
    def passed(self) -> bool:
        whole = len(self.tables) == len(TABLES) and all(table.rows_cassandra for table in self.tables)
        return whole and not self.differences and not self.dead_letters


def render(proof: Proof) -> RenderableType:
    """The proof for the terminal."""
    parts: list[RenderableType] = [_tables(proof), _latencies(proof), _facts(proof)]
    examples = [example for table in proof.tables for example in table.examples]
    if examples:
        parts.append(Text("Rows that differ (at most 20 of each table):", style="bold red"))
        parts.extend(Text(f"  {example}", style="red") for example in examples)
    parts.append(verdict(proof))
    return Group(*parts)


def verdict(proof: Proof) -> Text:
    """The last line."""
    if proof.passed:
        rows = sum(table.rows_cassandra for table in proof.tables)
        return Text(f"Proven: {rows:,} rows are the same on both sides, 0 differ.", style="bold green")
    if proof.differences:
        return Text(f"FAILED: {_rows(proof.differences)} (--seed {proof.seed} repeats it).", style="bold red")
    if proof.dead_letters:
        return Text(f"FAILED: {proof.dead_letters:,} changes were set aside as dead letters.", style="bold red")
    return Text("FAILED: a table is missing or empty, so nothing is proven.", style="bold red")


def _rows(count: int) -> str:
    return "1 row differs" if count == 1 else f"{count:,} rows differ"


def _tables(proof: Proof) -> Table:
    table = Table(title="Both sides, compared row by row", title_justify="left", box=ROUNDED)
    table.add_column("table")
    for name in ("rows in Cassandra", "rows in PostgreSQL", "differences"):
        table.add_column(name, justify="right")
    for each in proof.tables:
        found = Text(f"{each.differences:,}", style="bold red" if each.differences else "bold green")
        table.add_row(each.table, f"{each.rows_cassandra:,}", f"{each.rows_postgres:,}", found)
    return table


def _latencies(proof: Proof) -> Table:
    table = Table(title="Latency from the write in Cassandra to the commit in PostgreSQL", title_justify="left")
    table.box = ROUNDED
    table.add_column("")
    for name in ("events", "P50", "P95", "P99"):
        table.add_column(name, justify="right")
    whole = LatencyHistogram()
    for name, life in proof.lives:
        whole.merge(life)
        table.add_row(name, *_percentiles(life))
    table.add_row("all", *_percentiles(whole), style="bold")
    return table


def _percentiles(latency: LatencyHistogram) -> list[str]:
    found = [latency.percentile(percent) for percent in (50, 95, 99)]
    return [f"{latency.count:,}", *("–" if value is None else f"{value:.2f} s" for value in found)]


def _memory(peaks: Mapping[str, int]) -> str:
    if len(peaks) == 1:
        return f"{sum(peaks.values()) / 1e6:,.0f} MB at most (resident, the pipeline's process)"
    each = ", ".join(f"{name} {peak / 1e6:,.0f} MB" for name, peak in peaks.items())
    return f"at most {each} (resident)"


def _facts(proof: Proof) -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column()
    kinds = ", ".join(f"{count:,} {name}" for name, count in proof.writes.items())
    recovered = "" if proof.recovered_s is None else f"; nothing waited any more {proof.recovered_s:.1f} s later"
    facts.add_row("writes", f"{sum(proof.writes.values()):,} at {proof.writes_per_s:,.0f}/s: {kinds}")
    facts.add_row("events", f"{proof.events_per_s:,.0f}/s committed, the time without a pipeline included")
    facts.add_row("expiry", f"{proof.rows_expired:,} rows lost something to their TTL while it ran")
    facts.add_row("kills", f"{proof.kills} by SIGKILL, survived{recovered}")
    if proof.lag_peaks:
        peaks = ", ".join(f"{events:,}" for events in proof.lag_peaks)
        facts.add_row("lag", f"at most {peaks} events in Kafka partitions 0 to {len(proof.lag_peaks) - 1}")
    facts.add_row("memory", _memory(proof.peaks_bytes))
    facts.add_row("seed", f"{proof.seed}")
    return facts
