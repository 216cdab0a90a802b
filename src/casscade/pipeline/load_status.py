"""What the loader counted as the status and the metrics show it: rows, rules, conflicts and stale rows.

Invariant: the ratio relates what was committed to what was committed: conflicts to streamed mutations, since the start.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from casscade.load.counters import BatchCounts
from casscade.observability.metrics import Metrics


def row_status(totals: BatchCounts) -> dict[str, Any]:
    """What became of rows, for the status document."""
    return {
        "written": totals.rows,
        "fast": totals.fast,
        "merged": totals.merged,
        "removed": totals.removed,
        "expired": totals.expired,
        "inexact": totals.inexact.total(),
    }


def rule_status(totals: BatchCounts, filtered: int) -> dict[str, Any]:
    """What rules kept out or aside, for the status document; `filtered` rows had a key that no condition wants."""
    broken: Counter[str] = Counter()
    for (_, rule), rows in totals.broken.items():
        broken[rule] += rows
    return {
        "filtered_rows": filtered,
        "hidden_rows": totals.hidden.total(),
        "waiting_rows": sum(totals.waiting.values()),
        "broken": dict(broken),
    }


def copy_rules(metrics: Metrics, totals: BatchCounts) -> None:
    """Bring what rules kept out or aside into the metrics."""
    for table, rows in list(totals.hidden.items()):
        metrics.set_total("casscade_rules_hidden_rows_total", rows, table=table)
    for (table, rule), rows in list(totals.broken.items()):
        metrics.set_total("casscade_rules_broken_rows_total", rows, table=table, rule=rule)
    metrics.set_each("casscade_rules_waiting_rows", "table", totals.waiting)


def conflict_status(totals: BatchCounts, mutations: int) -> dict[str, Any]:
    """Conflicts and stale rows, for the status document."""
    conflicts = totals.conflicts.total()
    ratio = round(conflicts / mutations, 6) if mutations else 0.0
    return {"cells": conflicts, "ratio": ratio, "stale_rows": totals.stale.total()}


def copy_conflicts(metrics: Metrics, totals: BatchCounts, mutations: int) -> None:
    """Bring conflicts and stale rows into the metrics."""
    for table, cells in list(totals.conflicts.items()):
        metrics.set_total("casscade_load_conflicting_cells_total", cells, table=table)
    for table, rows in list(totals.stale.items()):
        metrics.set_total("casscade_load_stale_rows_total", rows, table=table)
    metrics.set("casscade_load_conflict_ratio", conflict_status(totals, mutations)["ratio"])
