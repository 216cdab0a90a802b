"""Order of arrival instead of write times, for the tables that ask for it.

Invariant: a mutation that is decoded later gets times above those of all that were decoded before, in this process
and in those that had its sources earlier. The time of capture gives the numbers their meaning, not their order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from psycopg import Connection, sql

from casscade.core.cell import NO_TIMESTAMP
from casscade.core.mutation import PartitionUpdate, Row
from casscade.load.control import ControlStore
from casscade.schema.conflict_rules import ARRIVAL_ORDER
from casscade.schema.mapping import Target

# What a read shows was there before it ended: no page takes longer than cassandra.request_timeout_ms may be.
READ_US_MAX: Final = 600 * 1_000_000


def arrival_tables(targets: Iterable[Target]) -> frozenset[bytes]:
    """Ids of the tables in which the order of arrival decides."""
    return frozenset(t.table.id.bytes for t in targets if t.conflicts.strategy == ARRIVAL_ORDER)


class Arrivals:
    """Gives times to what arrives. `newest` is the highest one given, 0 before the first.

    `stamp` belongs to the decoding thread; `resume` may be called by another one before anything of its source comes.
    """

    def __init__(self, tables: Collection[bytes] = ()) -> None:
        self.tables = frozenset(tables)
        self.newest = 0
        self._floor = 0

    def resume(self, newest: int) -> None:
        """Go on above `newest`, which was given out before."""
        self._floor = max(self._floor, newest)

    def stamp(self, updates: list[PartitionUpdate], captured_at: float, *, scanned: bool) -> None:
        """Replace the write times in the updates of one mutation; within it their order stays.

        What was `scanned` keeps its write times, or has one before its reading where these lie in the future.
        """
        mine = [update for update in updates if update.table.id in self.tables]
        if not mine:
            return
        captured = int(captured_at * 1e6)
        written = sorted({time for update in mine for time in _times(update)})
        if scanned:
            times = {time: min(time, captured - READ_US_MAX) for time in written}
        else:
            first = max(captured, self.newest + 1, self._floor + 1)
            times = {time: first + place for place, time in enumerate(written)}
            if written:
                self.newest = first + len(written) - 1
        times[NO_TIMESTAMP] = NO_TIMESTAMP
        for update in mine:
            _replace(update, times)


def _rows(update: PartitionUpdate) -> Iterator[Row]:
    yield from update.rows
    if update.static_row is not None:
        yield update.static_row


def _times(update: PartitionUpdate) -> set[int]:
    found = {update.deletion}
    found.update(tombstone.deletion for tombstone in update.range_tombstones)
    for row in _rows(update):
        found.add(row.liveness_ts)
        found.add(row.deletion)
        found.update(cell[0] for cell in row.cells.values())
    found.discard(NO_TIMESTAMP)
    return found


def _replace(update: PartitionUpdate, times: dict[int, int]) -> None:
    update.deletion = times[update.deletion]
    for tombstone in update.range_tombstones:
        tombstone.deletion = times[tombstone.deletion]
    for row in _rows(update):
        row.liveness_ts = times[row.liveness_ts]
        row.deletion = times[row.deletion]
        for index, (time, expires_at, ttl, value) in row.cells.items():
            row.cells[index] = (times[time], expires_at, ttl, value)


def save_arrival(control: ControlStore, connection: Connection[Any], sources: Iterable[str], newest: int) -> None:
    """Keep the newest time given to what came from `sources`, in the transaction that makes it durable; 0 is none."""
    if not newest:
        return
    statement = sql.SQL(
        "INSERT INTO {} AS a (pipeline, source, newest) VALUES (%s, %s, %s) "
        "ON CONFLICT (pipeline, source) DO UPDATE SET newest = greatest(a.newest, EXCLUDED.newest)"
    ).format(control.name("arrivals"))
    # In one order in all processes, so that two of them never wait for each other.
    for source in sorted(sources):
        connection.execute(statement, (control.pipeline, source, newest))


def newest_arrival(control: ControlStore, connection: Connection[Any]) -> int:
    """The newest time that was given out and is durable, whatever the source: a key may have moved to another."""
    row = connection.execute(
        sql.SQL("SELECT coalesce(max(newest), 0) FROM {} WHERE pipeline = %s").format(control.name("arrivals")),
        (control.pipeline,),
    ).fetchone()
    assert row is not None
    return int(row[0])
