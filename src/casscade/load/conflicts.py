"""Conflicts and stale rows of a batch: counted, and set aside where the configuration says so.

Invariant: a conflict counts once, however many copies of the cell that lost arrive and however often its batch is
tried, as long as it is among the last `CONFLICTS_REMEMBERED_MAX` ones of this process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Final

from casscade.core.limits import CONFLICTS_REMEMBERED_MAX
from casscade.core.mutation import ComplexColumn, PartitionUpdate, Row
from casscade.core.recent import Recent
from casscade.load.counters import BatchCounts
from casscade.load.letters import DeadLetter
from casscade.load.row_letters import row_letter
from casscade.load.tombstones import row_key
from casscade.merge.conflicts import Conflict
from casscade.merge.fold import Fold, TableFold
from casscade.schema.mapping import Target

STALE_WRITE: Final = "stale_write"
CONFLICTING_WRITE: Final = "conflicting_write"
_DIGEST_BYTES: Final = 16


class ConflictLedger:
    """What a writer remembers of conflicts."""

    def __init__(self) -> None:
        self._counted = Recent[bytes](CONFLICTS_REMEMBERED_MAX)
        self._new: dict[bytes, None] = {}

    def count(self, fold: Fold, facts: Callable[[bytes], tuple[Target, bool]], counts: BatchCounts) -> list[DeadLetter]:
        """Count what was found in a batch that is about to be committed; returns the dead letters that it asks for.

        `facts` gives a table by its id, and whether rules hide values of it.
        """
        self._new = {}
        letters: list[DeadLetter] = []
        for table_id, table in fold.tables.items():
            findings = table.findings
            if not findings.conflicts and not findings.stale:
                continue
            target, ruled = facts(table_id)
            name = target.table.full_name
            if findings.stale:
                counts.stale[name] += len(findings.stale)
            for conflict in findings.conflicts:
                identity = _identity(table_id, conflict)
                if identity not in self._counted and identity not in self._new:
                    self._new[identity] = None
                    counts.conflicts[name] += 1
            if target.conflicts.sets_aside:
                letters += _letters(table, target, ruled=ruled)
        return letters

    def committed(self) -> None:
        """The batch that was counted last is durable: its conflicts do not count again."""
        self._counted.add(*self._new)
        self._new = {}


def _identity(table_id: bytes, conflict: Conflict) -> bytes:
    timestamp, _, _, value = conflict.cell
    digest = hashlib.blake2b(table_id, digest_size=_DIGEST_BYTES)
    for part in (conflict.partition_key, conflict.clustering_key, conflict.path, value):
        digest.update(b"\xff\xff\xff\xff" if part is None else len(part).to_bytes(4, "big") + part)
    digest.update(conflict.column.to_bytes(4, "big") + timestamp.to_bytes(8, "big", signed=True))
    return digest.digest()


def _letters(table: TableFold, target: Target, *, ruled: bool) -> Iterator[DeadLetter]:
    name = target.table.full_name
    late_us = target.conflicts.late_s * 1_000_000
    for stale in table.findings.stale:
        if stale.row is None or stale.newest - stale.written <= late_us:
            continue
        message = (
            f"{_place(name, stale.partition_key, stale.row.key)} was written at {stale.written}, "
            f"but what is there at {stale.newest}: it changes nothing"
        )
        yield _letter(table, name, stale.partition_key, stale.row, STALE_WRITE, message, stale.static, ruled)
    columns = {column.index: column.name for column in target.table.columns}
    for conflict in table.findings.conflicts:
        message = (
            f"{_place(name, conflict.partition_key, conflict.clustering_key)}: column "
            f"{columns.get(conflict.column, conflict.column)} was written twice at {conflict.cell[0]}, "
            "with different values; this one lost"
        )
        row = Row(conflict.clustering_key, conflict.clustering)
        if conflict.simple:
            row.cells = {conflict.column: conflict.cell}
        else:
            lowest = -(1 << 63)
            row.complex = {conflict.column: ComplexColumn(lowest, {conflict.path: conflict.cell})}
        yield _letter(table, name, conflict.partition_key, row, CONFLICTING_WRITE, message, conflict.static, ruled)


def _place(table: str, partition_key: bytes, clustering_key: bytes) -> str:
    digest = hashlib.blake2b(row_key(partition_key, clustering_key), digest_size=8).hexdigest()
    return f"The row with key digest {digest} of {table}"


def _letter(
    table: TableFold, name: str, partition_key: bytes, row: Row, code: str, message: str, static: bool, ruled: bool
) -> DeadLetter:
    update = PartitionUpdate(table.table, partition_key)
    if static:
        update.static_row = row
    else:
        update.rows = [row]
    return row_letter(name, update, code, message, "", ruled=ruled)
