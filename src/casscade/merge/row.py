"""Two versions of a row become one.

Invariant: `merge_rows` is a join in a lattice: commutative, associative and idempotent on normal rows (rows in which
nothing is shadowed by a deletion of the same row; `normalise` makes them so). Mirrors `Row.Merger` and
`LivenessInfo.supersedes` of Cassandra 4.0 and later.
"""

from __future__ import annotations

from casscade.core.cell import NO_EXPIRY, NO_TIMESTAMP, Cell, reconcile, reconcile_older
from casscade.core.mutation import EXPIRED_LIVENESS_TTL, ComplexColumn, Row
from casscade.core.observed import NOTHING, SETTLED, UNBOUNDED, Observed, end_by_deletion, join_observed


def _liveness_supersedes(row: Row, other: Row) -> bool:
    """Whether the liveness of `row` beats that of `other`; both have the same timestamp."""
    row_expired = row.liveness_ttl == EXPIRED_LIVENESS_TTL
    if row_expired != (other.liveness_ttl == EXPIRED_LIVENESS_TTL):
        return row_expired
    row_expiring = row.liveness_ttl > 0
    if row_expiring != (other.liveness_ttl > 0):
        return row_expiring
    if row.liveness_expires_at != other.liveness_expires_at:
        return row.liveness_expires_at > other.liveness_expires_at
    return row.liveness_ttl < other.liveness_ttl


def merge_rows(row: Row, other: Row, older_ties: bool = False) -> None:
    """Merge `other` into `row`, both normal and of the same key; `other` must not be used afterwards.

    `older_ties`: cells of one timestamp are told apart by the rules of Cassandra 3.11.
    """
    if other.liveness_ts > row.liveness_ts or (
        other.liveness_ts == row.liveness_ts and _liveness_supersedes(other, row)
    ):
        row.liveness_ts = other.liveness_ts
        row.liveness_ttl = other.liveness_ttl
        row.liveness_expires_at = other.liveness_expires_at
    if other.liveness_unknown:
        row.liveness_unknown = True
    if other.scanned:
        row.scanned = True
    cells = row.cells
    for index, cell in other.cells.items():
        mine = cells.get(index)
        if mine is None:
            cells[index] = cell
        else:
            cells[index] = reconcile_older(mine, cell) if older_ties else reconcile(mine, cell)
    if other.complex is not None:
        if row.complex is None:
            row.complex = other.complex
        else:
            _merge_complex(row.complex, other.complex, older_ties)
    if other.observed is not None:
        row.observed = other.observed if row.observed is None else _merge_observed(row.observed, other.observed)
    if row.observed is not None:
        _settle(row, row.observed)
    if row.deletion != NO_TIMESTAMP or other.deletion != NO_TIMESTAMP:
        row.deletion = max(row.deletion, other.deletion)
        shadow(row, row.deletion)


def _merge_complex(columns: dict[int, ComplexColumn], others: dict[int, ComplexColumn], older_ties: bool) -> None:
    for index, other in others.items():
        column = columns.get(index)
        if column is None:
            columns[index] = other
            continue
        cells = column.cells
        for path, cell in other.cells.items():
            mine = cells.get(path)
            if mine is None:
                cells[path] = cell
            else:
                cells[path] = reconcile_older(mine, cell) if older_ties else reconcile(mine, cell)
        deletion = column.deletion if column.deletion >= other.deletion else other.deletion
        if deletion != NO_TIMESTAMP:
            column.deletion = deletion
            _shadow_cells(cells, deletion)


def _merge_observed(columns: dict[int, Observed], others: dict[int, Observed]) -> dict[int, Observed]:
    for index, other in others.items():
        mine = columns.get(index)
        columns[index] = other if mine is None else join_observed(mine, other)
    return columns


def _settle(row: Row, observed: dict[int, Observed]) -> None:
    """Apply the deletions of whole columns to what was observed of them."""
    columns = row.complex
    if columns is None:
        return
    for index, column in columns.items():
        seen = observed.get(index)
        if seen is not None and seen[4] is not None and seen[2] <= column.deletion:
            observed[index] = SETTLED


def _shadow_cells(cells: dict[bytes, Cell], deletion: int) -> None:
    shadowed = [path for path, cell in cells.items() if cell[0] <= deletion]
    for path in shadowed:
        del cells[path]


def shadow(row: Row, deletion: int) -> None:
    """Drop everything in `row` that a deletion at timestamp `deletion` covers (`DeletionTime.deletes`: at or below).

    The deletion is that of the row itself or of a range or partition around it; a row deletion that an outer
    deletion covers goes as well, since the outer one is kept elsewhere.
    """
    if row.liveness_ts <= deletion:
        row.liveness_ts = NO_TIMESTAMP
        row.liveness_ttl = 0
        row.liveness_expires_at = NO_EXPIRY
    if row.observed is not None:
        end_by_deletion(row.observed, deletion)
    cells = row.cells
    for index in [index for index, cell in cells.items() if cell[0] <= deletion]:
        del cells[index]
    columns = row.complex
    if columns is not None:
        for index in list(columns):
            column = columns[index]
            if column.deletion <= deletion:
                column.deletion = NO_TIMESTAMP
            _shadow_cells(column.cells, deletion)
            if not column.cells and column.deletion == NO_TIMESTAMP:
                del columns[index]
        if not columns:
            row.complex = None


def shadow_from_outside(row: Row, deletion: int) -> None:
    """As `shadow`, for a deletion that is kept outside of the row: a row deletion at or below it is redundant."""
    if row.deletion <= deletion:
        row.deletion = NO_TIMESTAMP
    shadow(row, deletion)


def normalise(row: Row) -> None:
    """Apply the deletions that `row` itself carries to its own cells."""
    columns = row.complex
    if row.observed is not None:
        _settle(row, row.observed)
    if columns is not None:
        for index in list(columns):
            column = columns[index]
            if column.deletion != NO_TIMESTAMP:
                _shadow_cells(column.cells, column.deletion)
            elif not column.cells:
                del columns[index]
        if not columns:
            row.complex = None
    if row.deletion != NO_TIMESTAMP:
        shadow(row, row.deletion)


def is_empty(row: Row) -> bool:
    """Whether nothing is known of the row: no liveness, deletion, cell or observation."""
    return (
        row.liveness_ts == NO_TIMESTAMP
        and row.deletion == NO_TIMESTAMP
        and not row.cells
        and row.complex is None
        and row.observed is None
    )


def is_visible(row: Row, now: int) -> bool:
    """Whether CQL shows the row at second `now`: its liveness or any cell is alive (`Row.hasLiveData`).

    A value that a read showed counts as alive until it is settled; where a read showed `NOTHING`, no cell counts.
    """
    if row.liveness_ts != NO_TIMESTAMP and row.liveness_expires_at > now and row.liveness_ttl != EXPIRED_LIVENESS_TTL:
        return True
    observed = row.observed
    if observed is not None and is_observed(row):
        return True
    for index, cell in row.cells.items():
        if cell[3] is not None and cell[1] > now and (observed is None or not _shows_nothing(observed, index)):
            return True
    if row.complex is not None:
        for column in row.complex.values():
            for cell in column.cells.values():
                if cell[3] is not None and cell[1] > now:
                    return True
    return False


def _shows_nothing(columns: dict[int, Observed], index: int) -> bool:
    seen = columns.get(index)
    return seen is not None and seen[4] == NOTHING


def is_observed(row: Row) -> bool:
    """Whether any column of the row shows a value that a read showed of it."""
    observed = row.observed
    if observed is not None:
        for seen in observed.values():
            if seen[4]:
                return True
    return False


def newest_timestamp(row: Row) -> int:
    """The newest write time in the row, tombstones and deletions included; `NO_TIMESTAMP` if it is empty.

    Where a read could not tell write times, they are taken to be its own.
    """
    newest = row.liveness_ts if row.liveness_ts >= row.deletion else row.deletion
    if row.observed is not None:
        for seen in row.observed.values():
            if seen[4] is not None:
                newest = max(newest, seen[1] if seen[2] == UNBOUNDED else seen[2])
    for cell in row.cells.values():
        newest = max(newest, cell[0])
    if row.complex is not None:
        for column in row.complex.values():
            newest = max(newest, column.deletion)
            for cell in column.cells.values():
                newest = max(newest, cell[0])
    return newest


def next_expiry(row: Row, now: int) -> int:
    """The first second after `now` at which something alive in the row ends; `NO_EXPIRY` when nothing does."""
    first = NO_EXPIRY
    if row.liveness_ttl > 0 and row.liveness_expires_at > now:
        first = row.liveness_expires_at
    for cell in row.cells.values():
        if cell[2] > 0 and cell[3] is not None and now < cell[1] < first:
            first = cell[1]
    if row.complex is not None:
        for column in row.complex.values():
            for cell in column.cells.values():
                if cell[2] > 0 and cell[3] is not None and now < cell[1] < first:
                    first = cell[1]
    if row.observed is not None:
        for seen in row.observed.values():
            if seen[4] is not None and now < seen[3] < first:
                first = seen[3]
    return first


def drop_expired_values(row: Row, now: int) -> None:
    """Forget the values of cells that ended by `now`; their timestamps go on shadowing older cells."""
    cells = row.cells
    for index, cell in cells.items():
        if cell[2] > 0 and cell[1] <= now and cell[3] is not None:
            cells[index] = (cell[0], cell[1], cell[2], None)
    if row.complex is not None:
        for column in row.complex.values():
            for path, cell in column.cells.items():
                if cell[2] > 0 and cell[1] <= now and cell[3] is not None:
                    column.cells[path] = (cell[0], cell[1], cell[2], None)
