"""What is asked of each update as it comes in.

Invariant: nothing that decides a merge is changed, but for what reading a table could not tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from casscade.commitlog.decoder import decode_mutation
from casscade.core.cell import NO_TIMESTAMP
from casscade.core.errors import BadDataError
from casscade.core.mutation import PartitionUpdate
from casscade.core.table import TableShape
from casscade.merge.fold import Fold
from casscade.merge.row import is_observed, newest_timestamp

# Compiled code keeps the interpreter to itself: so many mutations take a fifth of a millisecond.
RUN_MUTATIONS: Final = 64


class Run:
    """Mutations of a commit log that are folded as they are, for one batch.

    Replicas send the same bytes: a copy of what is in the batch already changes nothing in it, and is not decoded
    again. `seen` has the mutations by a write time of each that tells one, `write_times` those of all, copies included.
    """

    def __init__(self, version: int, seen: dict[bytes, int], write_times: list[int]) -> None:
        self.version: int = version
        self.seen: dict[bytes, int] = seen
        self.write_times: list[int] = write_times
        self.rows: int = 0

    def take(self, mutations: list[bytes], first: int, tables: Mapping[bytes, TableShape], fold: Fold) -> int:
        """Fold mutations from place `first` on, `RUN_MUTATIONS` at most and up to one that can't be decoded.

        Returns the place of the first that was not folded; `rows` counts those of the folded ones, copies apart.
        """
        last = min(len(mutations), first + RUN_MUTATIONS)
        seen = self.seen
        write_times = self.write_times
        version = self.version
        rows = 0
        place = first
        while place < last:
            mutation = mutations[place]
            known = seen.get(mutation)
            if known is None:
                try:
                    updates = decode_mutation(mutation, version, tables)
                except BadDataError:
                    break
                if updates:
                    known = write_time_of(updates[0])
                    for update in updates:
                        rows += len(update.rows) or 1
                    fold.add(updates)
                    if known != NO_TIMESTAMP:
                        seen[mutation] = known
                        write_times.append(known)
            else:
                write_times.append(known)
            place += 1
        self.rows += rows
        return place


def mark_scanned(update: PartitionUpdate) -> None:
    """CQL does not show the liveness of rows (see `casscade.snapshot.rows`)."""
    if update.static_row is not None:
        update.static_row.scanned = True
    for row in update.rows:
        shown = bool(row.cells) or row.complex is not None or is_observed(row)
        row.liveness_unknown = row.liveness_ts == NO_TIMESTAMP and shown
        row.scanned = True


def write_time_of(update: PartitionUpdate) -> int:
    """The newest write time of what the update says first; `NO_TIMESTAMP` when it says nothing."""
    if update.rows:
        row = update.rows[0]
        return row.liveness_ts if row.liveness_ts != NO_TIMESTAMP else newest_timestamp(row)
    if update.static_row is not None:
        return newest_timestamp(update.static_row)
    if update.range_tombstones:
        return update.range_tombstones[0].deletion
    return update.deletion
