"""A report as a table for people and as JSON for machines.

Invariant: both hold the same figures.
"""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from casscade.bench.run import LIMIT, WHOLE, Report


def to_json(report: Report) -> str:
    """The report as one JSON document; rows a second and ratios to the limit."""
    document: dict[str, Any] = {
        **report.circumstances,
        "rows": report.rows,
        "rounds": report.rounds,
        "peak_rss_bytes": report.peak_bytes,
        "merged_share": {key: round(share, 4) for key, share in report.merged_share.items()},
        "figures": [
            {
                "workload": figure.workload,
                "batch_rows": figure.batch_rows,
                "what": figure.what,
                "rows_per_second": round(figure.rows_per_second),
                "ratio": round(figure.ratio, 3),
            }
            for figure in report.figures
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def show(report: Report, console: Console) -> None:
    """Print the table: one line for each workload and batch size, the ratio to the limit beside each figure."""
    columns: list[str] = []
    lines: dict[tuple[str, int], list[str]] = {}
    for figure in report.figures:
        if figure.what not in columns:
            columns.append(figure.what)
        shown = f"{figure.rows_per_second:,.0f}"
        if figure.what != LIMIT:
            shown += f" ({figure.ratio:.0%})" if figure.ratio < 10 else f" ({figure.ratio:.0f}x)"
        lines.setdefault((figure.workload, figure.batch_rows), []).append(shown)
    table = Table(title="rows a second (ratio to PostgreSQL's limit)")
    table.add_column("workload")
    table.add_column("rows a batch", justify="right")
    for name in columns:
        table.add_column(name, justify="right", style="bold" if name == WHOLE else None)
    for (workload, batch_rows), cells in lines.items():
        table.add_row(workload, str(batch_rows), *cells)
    console.print(table)
    facts = report.circumstances
    postgres = facts["postgres"]
    assert isinstance(postgres, dict)
    console.print(
        f"Casscade {facts['casscade']}, hot modules {'compiled' if facts['compiled'] else 'not compiled'}; "
        f"{facts['implementation']} {facts['python']}; {facts['cores']} cores; "
        f"PostgreSQL {postgres['server_version']} (fsync {postgres['fsync']}, "
        f"synchronous_commit {postgres['synchronous_commit']})",
        highlight=False,
    )
    memory = f"; peak memory of this process while the whole path ran: {report.peak_bytes / 1e6:.0f} MB"
    console.print(
        f"{report.rows:,} rows in {report.rounds} rounds a line, medians{memory if report.peak_bytes else ''}",
        highlight=False,
    )
