"""Elements of multi-cell collections that Cassandra holds to be one although the bytes of their paths differ.

Invariant: afterwards a column has at most one cell for all paths that are equal: the one that reconciling chooses,
under the path it was written with. The order in which rows were merged before makes no difference.
"""

from __future__ import annotations

from casscade.core.cell import Cell, reconcile, reconcile_older
from casscade.core.keys import Canonical
from casscade.core.mutation import Row


def unify_paths(row: Row, loose: dict[int, Canonical], older_ties: bool = False) -> None:
    """Reconcile the cells of equal paths in the columns of `loose` (see `TableShape.loose_paths`).

    Mirrors `Cells.reconcileComplex`, which compares paths with the type of the elements: `set<decimal>` has 1.0 or
    1.00, whichever was written last. At a tie of everything Cassandra keeps the one that it met first; here it is
    the greater path, so that all replicas and orders lead to one.
    """
    columns = row.complex
    if columns is None:
        return
    for index, canonical in loose.items():
        column = columns.get(index)
        if column is None or len(column.cells) < 2:
            continue
        cells = column.cells
        chosen: dict[bytes, bytes] = {}
        for path in list(cells):
            key = canonical.of(path)
            other = chosen.get(key)
            if other is None:
                chosen[key] = path
                continue
            if _wins(path, cells[path], other, cells[other], older_ties):
                del cells[other]
                chosen[key] = path
            else:
                del cells[path]


def _wins(path: bytes, cell: Cell, other_path: bytes, other: Cell, older_ties: bool) -> bool:
    if cell == other:
        return path > other_path
    return (reconcile_older(cell, other) if older_ties else reconcile(cell, other)) == cell
