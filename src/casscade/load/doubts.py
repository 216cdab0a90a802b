"""Rows of one relation that have to be read again from Cassandra, as a batch collects them.

Invariant: a row is there once, however often it was doubted; its columns are those of all doubts.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import Connection, sql

from casscade.core import failpoints
from casscade.core.cell import NO_TIMESTAMP
from casscade.core.keys import pack_values
from casscade.core.mutation import Row
from casscade.core.observed import Observed
from casscade.debezium.decoder import Reread
from casscade.load.control import ControlStore
from casscade.load.tombstones import row_key
from casscade.merge.doubt import contested_columns, doubtful_columns, ended_columns, still_observed


@dataclass(slots=True)
class Doubt:
    """A row to be read again.

    - `key`: identifies it within the relation (`tombstones.row_key`).
    - `columns`: the indexes of the columns that show what an earlier read showed, and have changed since; none where
      only the liveness of the row is in doubt.
    """

    key: bytes
    partition_key: bytes
    clustering: list[bytes | None]
    columns: set[int] = field(default_factory=set)


class Doubts:
    """Collects doubts until `take`."""

    def __init__(self) -> None:
        self._rows: dict[bytes, Doubt] = {}

    def take(self) -> list[Doubt]:
        """The rows doubted since the last time."""
        doubts = list(self._rows.values())
        self._rows = {}
        return doubts

    def liveness(self, partition_key: bytes, row: Row) -> None:
        """Doubt a row that is not visible any more, because a snapshot could not see its liveness."""
        self._find(partition_key, row)

    def changed(self, partition_key: bytes, row: Row) -> None:
        """Doubt all that a row still shows of earlier reads: a deletion reached into it."""
        if row.observed is not None:
            self._add(partition_key, row, still_observed(row, row.observed))

    def contested(self, partition_key: bytes, row: Row, *, covered: bool) -> None:
        """Doubt the counters of a merged row that deletions reached and that no read showed yet."""
        columns = contested_columns(row, covered=covered)
        if columns:
            self._find(partition_key, row).columns.update(columns)

    def hidden(self, partition_key: bytes, row: Row) -> None:
        """Doubt all columns of a row, not visible, that are read: a deletion reached what hides it."""
        if row.observed:
            self._find(partition_key, row).columns.update(row.observed)

    def ended(self, partition_key: bytes, row: Row, now: int) -> None:
        """Doubt what a row shows of earlier reads and what has ended by second `now`."""
        if row.observed is not None:
            self._add(partition_key, row, still_observed(row, ended_columns(row, now)))

    def columns(self, partition_key: bytes, row: Row, columns: list[int]) -> None:
        """Doubt `columns` of a merged row, so far as they still show what a read showed."""
        self._add(partition_key, row, still_observed(row, columns))

    def met(self, new: Row, stored: Row | None, now: int, *, covered: bool = False) -> list[int]:
        """The columns to be doubted once `new` and `stored` are merged (`merge.doubt.doubtful_columns`)."""
        if new.observed is None and (stored is None or stored.observed is None):
            return []
        return doubtful_columns(new, stored, now, covered=covered)

    def _add(self, partition_key: bytes, row: Row, observed: Mapping[int, Observed]) -> None:
        if not observed:
            return
        doubt = self._find(partition_key, row)
        doubt.columns.update(observed)

    def _find(self, partition_key: bytes, row: Row) -> Doubt:
        key = row_key(partition_key, row.key)
        return self._rows.setdefault(key, Doubt(key, partition_key, row.clustering))


def doubts_of(rereads: Sequence[Reread]) -> dict[bytes, list[Doubt]]:
    """The rows that events could not determine, by table id and in the order of their keys, so that no two batches lock
    them crosswise.
    """
    found: dict[bytes, dict[bytes, Doubt]] = {}
    for table_id, partition_key, clustering_key, clustering, columns in rereads:
        key = row_key(partition_key, clustering_key)
        doubts = found.setdefault(table_id, {})
        doubts.setdefault(key, Doubt(key, partition_key, clustering)).columns.update(columns)
    return {table_id: [doubts[key] for key in sorted(doubts)] for table_id, doubts in found.items()}


def request_rechecks(
    control: ControlStore, connection: Connection[Any], table_id: uuid.UUID, doubts: Sequence[Doubt], *, static: bool
) -> None:
    """Ask that rows be read again from Cassandra.

    A request that waits for its answer gets a new number: a read that began before does not answer it any more.
    """
    table = control.name("rechecks")
    with connection.cursor() as cursor:
        cursor.executemany(
            sql.SQL(
                "INSERT INTO {table} AS r "
                "(pipeline, table_id, static, row_key, partition_key, clustering, columns) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (pipeline, table_id, static, row_key) DO UPDATE SET recheck_id = DEFAULT, "
                "columns = ARRAY(SELECT DISTINCT unnest(r.columns || EXCLUDED.columns)), "
                "claimed_until = DEFAULT, requested_at = now()"
            ).format(table=table),
            [
                (
                    control.pipeline,
                    table_id,
                    static,
                    doubt.key,
                    doubt.partition_key,
                    pack_values(doubt.clustering),
                    sorted(doubt.columns),
                )
                for doubt in doubts
            ],
        )
    if failpoints.ARMED:
        failpoints.reach("rechecks_requested")


def only_read(row: Row) -> bool:
    """Whether `row` is the answer to a request that holds nothing but what the read showed of columns.

    There was no row then, or none with other values: asking for its liveness again would give the same answer, for
    ever. (What a scan showed, turn 0, answers no request.)
    """
    return (
        row.observed is not None
        and all(seen[0] > 0 for seen in row.observed.values())
        and not row.cells
        and row.complex is None
        and row.deletion == NO_TIMESTAMP
        and row.liveness_ts == NO_TIMESTAMP
    )
