"""Rows that PostgreSQL can't hold as dead letters: merged already, so that they are encoded anew.

Invariant: applying such a letter again gives the row again, with what was known and not known of it.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Final

from casscade.commitlog.encoder import encode_mutation
from casscade.commitlog.observations import OBSERVING, encode_observing, has_observations
from casscade.core.cell import Cell, tombstone_cell
from casscade.core.errors import BadDataError
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.table import TableShape
from casscade.load.integrity import Violation
from casscade.load.isolation import Poison
from casscade.load.letters import DeadLetter, digest_of, stack_of, version_of
from casscade.load.staged import RejectedRow
from casscade.rules.faults import RuleFailed
from casscade.rules.rewriter import RULED

# They are encoded as Cassandra 5.0 writes mutations, or with their observations.
_ENCODING: Final = 8


def rejected_letter(
    row: RejectedRow, table: TableShape, source_name: str, *, static: bool, ruled: bool = False
) -> DeadLetter:
    """A row that a writer rejected; `ruled`: its values are those behind rules that hide."""
    update = PartitionUpdate(table, row.partition_key)
    if static:
        update.static_row = row.row
    else:
        update.rows = [row.row]
    letter = row_letter(source_name, update, row.error.code, row.error.what, stack_of(row.error), ruled=ruled)
    return replace(letter, rule=rule_of(row.error))


def rule_of(error: BadDataError) -> str:
    """The name of the transform that failed, or of the constraint that a row breaks; empty for other errors."""
    if isinstance(error, RuleFailed):
        return error.rule.partition(" ")[0]  # python stands before its function, which may have any name
    return error.constraint if isinstance(error, Violation) else ""


def poison_letter(poison: Poison, source_name: str, *, ruled: bool = False) -> DeadLetter:
    """One item that PostgreSQL refused."""
    table = poison.table
    update = PartitionUpdate(table.table, b"")
    for (partition_key, _), row in table.rows.items():
        update.key, update.rows = partition_key, [row]
    for partition_key, static in table.statics.items():
        update.key, update.static_row = partition_key, static
    for partition_key, deletions in table.deletions.items():
        update.key, update.deletion = partition_key, deletions.deletion
        update.range_tombstones = deletions.ranges
    return row_letter(source_name, update, poison.code, poison.message, poison.stack, ruled=ruled)


def row_letter(
    source_name: str, update: PartitionUpdate, code: str, message: str, stack: str, *, ruled: bool
) -> DeadLetter:
    """A letter of the one row in `update`."""
    for each in [*update.rows, *([] if update.static_row is None else [update.static_row])]:
        _make_writable(each)
    encoding = OBSERVING if has_observations(update) else _ENCODING
    encoded = encode_observing(update) if encoding == OBSERVING else encode_mutation([update], encoding)
    event = f"row:{uuid.uuid5(uuid.NAMESPACE_OID, encoded.hex())}"
    # Only rows of which a read is all that is known come back as what a read showed.
    row = update.rows[0] if update.rows else update.static_row
    scanned = row is not None and row.liveness_unknown
    if ruled:
        encoding |= RULED
    return DeadLetter(
        event,
        source_name,
        code,
        message,
        encoding,
        encoded,
        digest_of(update.key),
        stack,
        scanned=scanned,
        schema_version=version_of(update.table),
    )


def _make_writable(row: Row) -> None:
    """Cells of which only the end is known are written as tombstones: a mutation has no other form for them."""
    _settle(row.cells)
    if row.complex is not None:
        for column in row.complex.values():
            _settle(column.cells)


def _settle(cells: dict[int, Cell] | dict[bytes, Cell]) -> None:
    ended = {place: tombstone_cell(cell[0]) for place, cell in cells.items() if cell[2] > 0 and cell[3] is None}
    cells.update(ended)  # type: ignore[arg-type] # the places are those of `cells`
