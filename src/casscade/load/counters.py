"""What the loader counts, as plain integers that the metrics read.

Invariant: counts of a batch are added only after its commit, so that retries are not counted twice.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # An agent counts without the loader's modules in its memory.
    from casscade.load.letters import Settled


@dataclass(slots=True)
class BatchCounts:
    """One batch: rows by what happened to them.

    `fast` were decided by SQL alone, `merged` needed their stored state, `upserted` and `removed` count what is
    visible afterwards and what is not, `inexact` counts values that PostgreSQL can't show exactly, by table
    (schema.table) and by what became of them (`load.layout.INEXACT_POLICIES`); `rereads` are rows that events of
    Debezium's did not determine; `replayed` are dead letters that were applied. `conflicts` counts writes of one time
    and different values, `stale` rows that came too late, by table (keyspace.table). `postponed` are tables that the
    reaper left for the next time, because somebody else held them.

    Of rules, by table (keyspace.table): `hidden` counts rows that were written and do not match its condition, `broken`
    those that became dead letters, also by the name of the transform or constraint; `waiting` is how many wait now for
    the row that their foreign key names.
    """

    rows: int = 0
    fast: int = 0
    merged: int = 0
    removed: int = 0
    inexact: Counter[tuple[str, str]] = field(default_factory=Counter)
    expired: int = 0
    postponed: int = 0
    deletions: int = 0
    rereads: int = 0
    replayed: int = 0
    conflicts: Counter[str] = field(default_factory=Counter)
    stale: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    hidden: Counter[str] = field(default_factory=Counter)
    broken: Counter[tuple[str, str]] = field(default_factory=Counter)
    waiting: dict[str, int] = field(default_factory=dict)

    def settled(self, letters: Settled) -> None:
        """Count what became of dead letters."""
        self.replayed += letters.replayed
        self.dead_letters.update(letters.new)
        self.broken.update(letters.broken)

    def add(self, other: BatchCounts) -> None:
        """Add another batch."""
        self.rows += other.rows
        self.fast += other.fast
        self.merged += other.merged
        self.removed += other.removed
        self.inexact.update(other.inexact)
        self.expired += other.expired
        self.postponed += other.postponed
        self.deletions += other.deletions
        self.rereads += other.rereads
        self.replayed += other.replayed
        self.conflicts.update(other.conflicts)
        self.stale.update(other.stale)
        self.dead_letters.update(other.dead_letters)
        self.hidden.update(other.hidden)
        self.broken.update(other.broken)
        self.waiting |= other.waiting
