"""What the loader counted as the status and the metrics show it: rows, conflicts and stale rows.

Invariant: the ratio relates what was committed to what was committed: conflicts to streamed mutations, since the start.
"""

from __future__ import annotations

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


def conflict_status(totals: BatchCounts, mutations: int) -> dict[str, Any]:
    """Conflicts and stale rows, for the status document."""
    conflicts = totals.conflicts.total()
    ratio = round(conflicts / mutations, 6) if mutations else 0.0
    return {"cells": conflicts, "ratio": ratio, "stale_rows": totals.stale.total()}


def copy_reaped(metrics: Metrics, totals: BatchCounts) -> None:
    """Bring what the reaper did, and what it left for later, into the metrics."""
    metrics.set_total("casscade_load_expired_rows_total", totals.expired)
    metrics.set_total("casscade_load_reap_postponed_tables_total", totals.postponed)


def copy_conflicts(metrics: Metrics, totals: BatchCounts, mutations: int) -> None:
    """Bring conflicts and stale rows into the metrics."""
    for table, cells in list(totals.conflicts.items()):
        metrics.set_total("casscade_load_conflicting_cells_total", cells, table=table)
    for table, rows in list(totals.stale.items()):
        metrics.set_total("casscade_load_stale_rows_total", rows, table=table)
    metrics.set("casscade_load_conflict_ratio", conflict_status(totals, mutations)["ratio"])
