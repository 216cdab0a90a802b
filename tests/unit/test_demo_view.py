"""What is seen of the demo: the live panel, the plain line and the screen that shows them."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from casscade.demo.screen import open_screen
from casscade.demo.view import MemberView, Rate, View, panel, plain_line

VIEW = View(
    phase="every change is carried across",
    at_s=14.2,
    snapshot_percent=100.0,
    snapshot_rows=5000,
    workload_s=9.0,
    workload_total_s=30.0,
    writes=4512,
    writes_per_s=501.0,
    events=4321,
    events_per_s=499.0,
    rows_written=9876,
    rows_expired=12,
    batches=34,
    p50_s=0.61,
    p95_s=1.1,
    p99_s=1.23,
    lag_s=0.4,
    position="17:4711",
    pid=123,
    answering=True,
    rss_bytes=85_000_000,
    kills=1,
)

SEVERAL = replace(
    VIEW,
    members=(
        MemberView("agent", 5, True, 51_000_000, 1),
        MemberView("loader 1", None, False, 0, 1),
        MemberView("loader 2", 7, True, 92_000_000, 0),
    ),
    partition_lags=(0, 1200, None, 3),
)


def shown(view: View) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(panel(view))
    text = console.file
    assert isinstance(text, io.StringIO)
    return text.getvalue()


def test_the_panel_shows_every_number() -> None:
    text = shown(VIEW)
    for part in ("100 %", "5,000", "4,512", "501/s", "499/s", "4,321", "9,876", "34 batches", "12 expired", "0.61 s"):
        assert part in text
    for part in ("1.10 s", "1.23 s", "0.40 s", "17:4711", "pid 123", "85 MB", "killed 1 time so far", VIEW.phase):
        assert part in text


def test_the_panel_fits_a_terminal_of_80_columns_and_is_always_as_high() -> None:
    console = Console(file=io.StringIO(), width=80)
    heights = set()
    for view in (View(), VIEW):
        lines = console.render_lines(panel(view), pad=False)
        assert all(sum(segment.cell_length for segment in line) <= 80 for line in lines)
        heights.add(len(lines))
    assert len(heights) == 1


def test_several_processes_have_a_line_each_and_partitions_their_lag() -> None:
    lines = [line.strip(" │") for line in shown(SEVERAL).splitlines()]
    assert "waiting     0 1,200 – 3 events in partitions 0 to 3" in lines
    assert "agent       pid 5, 51 MB, killed 1 time so far" in lines
    assert "loader 1    not running, killed 1 time so far" in lines
    assert "loader 2    pid 7, 92 MB" in lines
    assert not any(line.startswith("pipeline") for line in lines)
    assert plain_line(SEVERAL) == f"{plain_line(VIEW)}, waiting 0 1,200 – 3 events"
    console = Console(file=io.StringIO(), width=80)
    for line in console.render_lines(panel(SEVERAL), pad=False):
        assert sum(segment.cell_length for segment in line) <= 80


def test_what_is_not_known_is_a_dash() -> None:
    assert "P50 –  P95 –  P99 –" in shown(View())
    assert "not running" in shown(View())
    assert "pid 5 starting" in shown(View(pid=5))


def test_the_plain_line_is_one_line_with_the_numbers() -> None:
    line = plain_line(VIEW)
    assert line == (
        "[ 14 s] every change is carried across: snapshot 100 %, 4512 writes (501/s), 4321 events committed (499/s), "
        "latency P50 0.61 s  P95 1.10 s  P99 1.23 s, lag 0.40 s"
    )


def test_the_rate_is_that_of_the_last_five_seconds() -> None:
    rate = Rate()
    assert rate.observe(0.0, 0) == 0.0
    assert rate.observe(1.0, 100) == 100.0
    for second in range(2, 11):
        last = rate.observe(float(second), 100 + (second - 1) * 10)
    assert last == 10.0


def test_without_a_terminal_there_is_a_line_every_two_seconds() -> None:
    now = [100.0]
    text = io.StringIO()
    with open_screen(Console(file=text, width=60), lambda: now[0]) as screen:
        for _ in range(40):
            screen.show(VIEW)
            now[0] += 0.125
        screen.step("done [5]")
        screen.warn("killed")
    lines = text.getvalue().splitlines()
    assert lines[:3] == [plain_line(VIEW)] * 3
    assert [line.split(maxsplit=1)[1] for line in lines[3:]] == ["done [5]", "killed"]


def test_a_terminal_gets_the_panel_and_is_left_clean() -> None:
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=True, color_system=None, _environ={"TERM": "xterm"})
    with open_screen(console) as screen:
        screen.show(VIEW)
        screen.note("servers [start]")
    output = text.getvalue()
    assert "4,512" in output
    assert "servers [start]" in output
    assert output.count("\x1b[?25l") == output.count("\x1b[?25h") == 1, "the cursor is visible again"


def test_a_terminal_that_can_not_move_its_cursor_gets_lines() -> None:
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=True, color_system=None, _environ={"TERM": "dumb"})
    with open_screen(console) as screen:
        screen.show(VIEW)
    assert text.getvalue() == f"{plain_line(VIEW)}\n"
