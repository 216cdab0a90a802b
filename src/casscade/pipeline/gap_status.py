"""Gaps as the status document and the metrics show them.

Invariant: a gap that is not repaired says what to do about it.
"""

from __future__ import annotations

from typing import Any, Final

from casscade.core.gap import DUE, IGNORED, REPAIRED, UNCOMPARED, Gap, GapCounts
from casscade.observability.metrics import Metrics

_ADVICE: Final = {
    "open": "the repair begins within moments with capture.on_gap: resnapshot",
    "reading": "nothing: its ranges are read again (see snapshot)",
    "comparing": "nothing, unless it stays: the comparison needs all replicas (nodetool status)",
    IGNORED: "casscade verify tells which rows differ",
    REPAIRED: "nothing",
}
_UNCOMPARED: Final = "lost deletions of the tables in detail are not found: docs/rules.md, under Gaps"


def gap_status(gap: Gap) -> dict[str, Any]:
    """One gap in the status document."""
    return {
        "reason": gap.reason,
        "source": gap.source,
        "position": str(gap.position),
        "table_id": "all" if gap.table_id is None else str(gap.table_id),
        "state": gap.state,
        "rows_repaired": gap.rows_repaired,
        "detected_at": gap.detected_at,
        "detail": gap.detail,
        "advice": _UNCOMPARED if UNCOMPARED in gap.detail and gap.state == REPAIRED else _ADVICE[gap.state],
    }


def copy_gaps(metrics: Metrics, counts: GapCounts) -> None:
    """Bring the numbers of gaps into the metrics."""
    for reason in {reason for reason, _ in counts}:
        total = sum(gaps for (each, _), (gaps, _rows) in counts.items() if each == reason)
        metrics.set_total("casscade_gap_recorded_gaps_total", total, reason=reason)
    metrics.set("casscade_gap_open_gaps", sum(gaps for (_, state), (gaps, _) in counts.items() if state in DUE))
    repaired = sum(gaps for (_, state), (gaps, _) in counts.items() if state == REPAIRED)
    metrics.set_total("casscade_gap_repaired_gaps_total", repaired)
    metrics.set_total("casscade_gap_repaired_rows_total", sum(rows for _, rows in counts.values()))
