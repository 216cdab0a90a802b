"""How far the snapshot of a table is, as the status and the commands show it.

Invariant: it only speaks of counts; importing it brings no client of any database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # An agent's monitor knows the document, too, and needs nothing of a loader.
    from casscade.snapshot.pace import Speed
    from casscade.snapshot.store import TableProgress


def progress_document(progress: TableProgress, speed: Speed) -> dict[str, Any]:
    """One table in plain values."""
    return {
        "table": progress.source_name,
        "rows": progress.rows,
        "ranges_done": progress.ranges_done,
        "ranges_total": progress.ranges_total,
        "percent": round(100 * float(progress.fraction), 1),
        "rows_per_second": None if speed.rows_per_second is None else round(speed.rows_per_second, 1),
        "eta_seconds": speed.eta_seconds,
        "paused": progress.paused,
    }
