"""What all lives of a pipeline did together, from the status documents that each of them gave.

Invariant: of every life only the newest document counts, so nothing is counted twice; what a killed process did after
its last document is not counted at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from casscade.observability.latency import LatencyHistogram

Document = Mapping[str, Any]


class Ledger:
    """The newest status document of each life; a life is known by its process id."""

    def __init__(self) -> None:
        self._lives: dict[int, Document] = {}
        self._snapshot: list[Document] = []

    def observe(self, document: Document) -> None:
        """Take a document of the life that runs."""
        pid = int(document["pid"])
        # Last, also when the pid was seen before: the order of the lives is that of their newest documents.
        self._lives.pop(pid, None)
        self._lives[pid] = document
        self._snapshot = list(document["snapshot"]) or self._snapshot

    def current(self, pid: int | None) -> Document | None:
        """The newest document of the life with this pid, if it gave one."""
        return None if pid is None else self._lives.get(pid)

    def latencies(self) -> list[LatencyHistogram]:
        """From write to commit, one histogram for each life; rows of the snapshot are not in it."""
        return [LatencyHistogram.from_json(document["latency_histogram"]) for document in self._lives.values()]

    def latency_of(self, pid: int) -> LatencyHistogram | None:
        """The same for one life; None if it gave no document."""
        document = self._lives.get(pid)
        return None if document is None else LatencyHistogram.from_json(document["latency_histogram"])

    def latency(self) -> LatencyHistogram:
        """The same for all lives together."""
        merged = LatencyHistogram()
        for histogram in self.latencies():
            merged.merge(histogram)
        return merged

    @property
    def batches(self) -> int:
        return sum(int(document["batches"]) for document in self._lives.values())

    @property
    def rows_written(self) -> int:
        """Rows that batches wrote, snapshot and changes."""
        return sum(int(document["rows"]["written"]) for document in self._lives.values())

    @property
    def rows_expired(self) -> int:
        """Rows of which something expired."""
        return sum(int(document["rows"]["expired"]) for document in self._lives.values())

    @property
    def dead_letters(self) -> int:
        """Changes that could not be applied and were set aside."""
        return sum(sum(document["dead_letters"].values()) for document in self._lives.values())

    @property
    def snapshot_rows(self) -> int:
        return sum(int(table["rows"]) for table in self._snapshot)

    @property
    def snapshot_percent(self) -> float:
        """How much of the existing rows is durable, 0 to 100: the mean over the tables."""
        if not self._snapshot:
            return 0.0
        return sum(float(table["percent"]) for table in self._snapshot) / len(self._snapshot)

    @property
    def snapshot_finished(self) -> bool:
        return bool(self._snapshot) and all(t["ranges_done"] == t["ranges_total"] for t in self._snapshot)
