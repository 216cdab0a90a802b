"""What is seen while the demo runs: one picture of the moment, as a panel or as a line.

Invariant: pure; the same `View` gives the same text.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from rich.console import RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_BAR_WIDTH: Final = 24
_RATE_WINDOW_S: Final = 5.0
# The view looks ten times a second: some more than the window holds.
_RATE_SAMPLES_MAX: Final = 100


class Rate:
    """How fast a total grows, over the last five seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=_RATE_SAMPLES_MAX)

    def observe(self, now: float, total: int) -> float:
        """Take a total at `now` (monotonic seconds); its growth per second."""
        self._samples.append((now, total))
        while self._samples[0][0] < now - _RATE_WINDOW_S:
            self._samples.popleft()
        then, before = self._samples[0]
        return (total - before) / (now - then) if now > then else 0.0


@dataclass(frozen=True, slots=True)
class MemberView:
    """One of several processes; `rss_bytes` is the most that it had resident."""

    name: str
    pid: int | None
    answering: bool
    rss_bytes: int
    kills: int


@dataclass(frozen=True, slots=True)
class View:
    """The numbers of one moment; seconds, and None for what is not known yet.

    Where several processes work, `members` are they, and `partition_lags` the events that wait in each partition.
    """

    phase: str = ""
    at_s: float = 0.0
    snapshot_percent: float = 0.0
    snapshot_rows: int = 0
    workload_s: float = 0.0
    workload_total_s: float = 1.0
    writes: int = 0
    writes_per_s: float = 0.0
    events: int = 0
    events_per_s: float = 0.0
    rows_written: int = 0
    rows_expired: int = 0
    batches: int = 0
    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    lag_s: float | None = None
    position: str = ""
    pid: int | None = None
    answering: bool = False
    rss_bytes: int = 0
    kills: int = 0
    members: tuple[MemberView, ...] = ()
    partition_lags: tuple[int | None, ...] = ()


def panel(view: View) -> RenderableType:
    """The live panel."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", width=10)
    grid.add_column(width=_BAR_WIDTH)
    grid.add_column(ratio=1)
    grid.add_row(
        "snapshot",
        ProgressBar(100, view.snapshot_percent, width=_BAR_WIDTH),
        f"{view.snapshot_percent:3.0f} %   {view.snapshot_rows:,} rows copied",
    )
    grid.add_row(
        "workload",
        ProgressBar(view.workload_total_s, min(view.workload_s, view.workload_total_s), width=_BAR_WIDTH),
        f"{view.workload_s:3.0f} s   {view.writes:,} writes to Cassandra",
    )
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", width=10)
    facts.add_column(ratio=1)
    facts.add_row("writes", Text.assemble((f"{view.writes_per_s:,.0f}", "bold"), "/s into Cassandra"))
    committed = f"/s committed in PostgreSQL; {view.events:,} so far"
    facts.add_row("events", Text.assemble((f"{view.events_per_s:,.0f}", "bold"), committed))
    facts.add_row("rows", f"{view.rows_written:,} in {view.batches:,} batches; {view.rows_expired:,} expired")
    facts.add_row("latency", Text.assemble("write to commit  ", (latencies(view), "bold")))
    facts.add_row("lag", f"{_seconds(view.lag_s)}   at commit-log position {view.position or '–'}")
    if view.members:
        facts.add_row("waiting", f"{_waiting(view)} events in partitions 0 to {len(view.partition_lags) - 1}")
        for member in view.members:
            facts.add_row(member.name, _process(member.pid, member.answering, member.rss_bytes, member.kills))
    else:
        facts.add_row("pipeline", _process(view.pid, view.answering, view.rss_bytes, view.kills))
    whole = Table.grid(expand=True)
    whole.add_row(grid)
    whole.add_row("")
    whole.add_row(facts)
    return Panel(
        whole,
        title=f"[bold]{view.phase}[/bold]",
        title_align="left",
        subtitle=f"{view.at_s:.0f} s",
        subtitle_align="right",
        border_style="cyan" if view.answering else "yellow",
        padding=(0, 1),
        width=84,
    )


def plain_line(view: View) -> str:
    """The same in one line, for logs and pipes."""
    return (
        f"[{view.at_s:3.0f} s] {view.phase}: snapshot {view.snapshot_percent:.0f} %, "
        f"{view.writes} writes ({view.writes_per_s:.0f}/s), "
        f"{view.events} events committed ({view.events_per_s:.0f}/s), "
        f"latency {latencies(view)}, lag {_seconds(view.lag_s)}"
        + (f", waiting {_waiting(view)} events" if view.members else "")
    )


def latencies(view: View) -> str:
    """`P50 0.61 s  P95 1.10 s  P99 1.21 s`."""
    known = (("P50", view.p50_s), ("P95", view.p95_s), ("P99", view.p99_s))
    return "  ".join(f"{name} {_seconds(value)}" for name, value in known)


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"


def _waiting(view: View) -> str:
    return " ".join("–" if events is None else f"{events:,}" for events in view.partition_lags)


def _process(pid: int | None, answering: bool, rss_bytes: int, kills: int) -> Text:
    killed = f", killed {kills} time{'s' if kills != 1 else ''} so far" if kills else ""
    if pid is None:
        return Text(f"not running{killed}", style="yellow")
    state = "" if answering else " starting"
    return Text(f"pid {pid}{state}, {rss_bytes / 1e6:.0f} MB{killed}", style="" if answering else "yellow")
