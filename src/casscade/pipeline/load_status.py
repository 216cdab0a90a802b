"""What the loader counted as the status and the metrics show it: rows, rules, conflicts and stale rows.

Invariant: the ratio relates what was committed to what was committed: conflicts to streamed mutations, since the start.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from casscade.load.counters import BatchCounts
from casscade.observability.metrics import Metrics


def load_status(totals: BatchCounts, mutations: int, filtered: int) -> dict[str, Any]:
    """What became of `mutations`, for the status document; `filtered` rows had a key that no condition wants."""
    return {
        "rows": _rows(totals),
        "conflicts": _conflicts(totals, mutations),
        "rules": _rules(totals, filtered),
    }


def copy_load(metrics: Metrics, totals: BatchCounts, mutations: int) -> None:
    """Bring what became of `mutations` into the metrics."""
    metrics.set_total("casscade_load_upserted_rows_total", max(0, totals.rows - totals.removed))
    metrics.set_total("casscade_load_deleted_rows_total", totals.removed)
    metrics.set_total("casscade_load_expired_rows_total", totals.expired)
    metrics.set_total("casscade_load_reap_postponed_tables_total", totals.postponed)
    for (table, policy), values in list(totals.inexact.items()):
        metrics.set_total("casscade_load_inexact_values_total", values, table=table, policy=policy)
    metrics.set_total("casscade_load_undetermined_rows_total", totals.rereads)
    metrics.set_total("casscade_load_decided_rows_total", totals.fast, path="fast")
    metrics.set_total("casscade_load_decided_rows_total", totals.merged, path="merged")
    _copy_conflicts(metrics, totals, mutations)
    _copy_rules(metrics, totals)


def _rows(totals: BatchCounts) -> dict[str, Any]:
    return {
        "written": totals.rows,
        "fast": totals.fast,
        "merged": totals.merged,
        "removed": totals.removed,
        "expired": totals.expired,
        "inexact": totals.inexact.total(),
    }


def _rules(totals: BatchCounts, filtered: int) -> dict[str, Any]:
    broken: Counter[str] = Counter()
    for (_, rule), rows in totals.broken.items():
        broken[rule] += rows
    return {
        "filtered_rows": filtered,
        "hidden_rows": totals.hidden.total(),
        "waiting_rows": sum(totals.waiting.values()),
        "broken": dict(broken),
    }


def _copy_rules(metrics: Metrics, totals: BatchCounts) -> None:
    for table, rows in list(totals.hidden.items()):
        metrics.set_total("casscade_rules_hidden_rows_total", rows, table=table)
    for (table, rule), rows in list(totals.broken.items()):
        metrics.set_total("casscade_rules_broken_rows_total", rows, table=table, rule=rule)
    metrics.set_each("casscade_rules_waiting_rows", "table", totals.waiting)


def _conflicts(totals: BatchCounts, mutations: int) -> dict[str, Any]:
    conflicts = totals.conflicts.total()
    ratio = round(conflicts / mutations, 6) if mutations else 0.0
    return {"cells": conflicts, "ratio": ratio, "stale_rows": totals.stale.total()}


def _copy_conflicts(metrics: Metrics, totals: BatchCounts, mutations: int) -> None:
    for table, cells in list(totals.conflicts.items()):
        metrics.set_total("casscade_load_conflicting_cells_total", cells, table=table)
    for table, rows in list(totals.stale.items()):
        metrics.set_total("casscade_load_stale_rows_total", rows, table=table)
    metrics.set("casscade_load_conflict_ratio", _conflicts(totals, mutations)["ratio"])
