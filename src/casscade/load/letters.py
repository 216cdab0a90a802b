"""Dead letters made from rows.

Invariant: whatever a row became on its way, its dead letter can be written and decoded again.
"""

from __future__ import annotations

import uuid

from casscade.commitlog.encoder import encode_mutation
from casscade.commitlog.observations import OBSERVING, encode_observing, has_observations
from casscade.core.cell import Cell, tombstone_cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.table import TableShape
from casscade.load.control import DeadLetter
from casscade.load.isolation import Poison
from casscade.load.relation_writer import RejectedRow
from casscade.rules.rewriter import RULED

# As Cassandra 5.0 writes mutations, or with their observations.
_ENCODING = 8


def letter_of(update: PartitionUpdate, name: str, code: str, message: str, *, ruled: bool) -> DeadLetter:
    """The dead letter of one row of the table `name`; `ruled`: its values are those behind rules that hide."""
    for row in [*update.rows, *([] if update.static_row is None else [update.static_row])]:
        _make_writable(row)
    encoding = OBSERVING if has_observations(update) else _ENCODING
    encoded = encode_observing(update) if encoding == OBSERVING else encode_mutation([update], encoding)
    event = f"row:{uuid.uuid5(uuid.NAMESPACE_OID, encoded.hex())}"
    return DeadLetter(event, name, code, message, encoding | RULED if ruled else encoding, encoded)


def poison_update(poison: Poison) -> PartitionUpdate:
    """What PostgreSQL refused, as an update."""
    table = poison.table
    update = PartitionUpdate(table.table, b"")
    for (partition_key, _), row in table.rows.items():
        update.key, update.rows = partition_key, [row]
    for partition_key, static in table.statics.items():
        update.key, update.static_row = partition_key, static
    for partition_key, deletions in table.deletions.items():
        update.key, update.deletion = partition_key, deletions.deletion
        update.range_tombstones = deletions.ranges
    return update


def rejected_update(rejected: RejectedRow, table: TableShape, *, static: bool) -> PartitionUpdate:
    """A rejected row as an update of `table`."""
    update = PartitionUpdate(table, rejected.partition_key)
    if static:
        update.static_row = rejected.row
    else:
        update.rows = [rejected.row]
    return update


def _make_writable(row: Row) -> None:
    """Cells of which only the end is known are written as tombstones: a mutation has no other form for them."""
    _settle(row.cells)
    if row.complex is not None:
        for column in row.complex.values():
            _settle(column.cells)


def _settle(cells: dict[int, Cell] | dict[bytes, Cell]) -> None:
    ended = {place: tombstone_cell(cell[0]) for place, cell in cells.items() if cell[2] > 0 and cell[3] is None}
    cells.update(ended)  # type: ignore[arg-type] # the places are those of `cells`
