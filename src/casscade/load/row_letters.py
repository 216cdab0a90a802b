"""Rows that PostgreSQL can't hold as dead letters: merged already, so that they are encoded anew.

Invariant: applying such a letter again gives the row again, with what was known and not known of it.
"""

from __future__ import annotations

import uuid
from typing import Final

from casscade.commitlog.encoder import encode_mutation
from casscade.commitlog.observations import OBSERVING, encode_observing, has_observations
from casscade.core.mutation import PartitionUpdate
from casscade.load.isolation import Poison
from casscade.load.letters import DeadLetter, digest_of, stack_of
from casscade.load.relation_writer import RelationWriter
from casscade.merge.fold import TableFold

# They are encoded as Cassandra 5.0 writes mutations, or with their observations.
_ENCODING: Final = 8


def rejected_letters(writer: RelationWriter, fold: TableFold, source_name: str) -> list[DeadLetter]:
    """What `writer` rejected since it was asked last."""
    rejected, writer.rejected = writer.rejected, []
    letters: list[DeadLetter] = []
    for row in rejected:
        update = PartitionUpdate(fold.table, row.partition_key)
        if writer.layout.static:
            update.static_row = row.row
        else:
            update.rows = [row.row]
        letters.append(_letter(source_name, update, row.error.code, row.error.what, stack_of(row.error)))
    return letters


def poison_letter(poison: Poison, source_name: str) -> DeadLetter:
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
    return _letter(source_name, update, poison.code, poison.message, poison.stack)


def _letter(source_name: str, update: PartitionUpdate, code: str, message: str, stack: str) -> DeadLetter:
    encoding = OBSERVING if has_observations(update) else _ENCODING
    encoded = encode_observing(update) if encoding == OBSERVING else encode_mutation([update], encoding)
    event = f"row:{uuid.uuid5(uuid.NAMESPACE_OID, encoded.hex())}"
    # Only rows of which a read is all that is known come back as what a read showed.
    row = update.rows[0] if update.rows else update.static_row
    scanned = row is not None and row.liveness_unknown
    return DeadLetter(
        event, source_name, code, message, encoding, encoded, digest_of(update.key), stack, scanned=scanned
    )
