"""From the bytes of one mutation to partition updates.

Invariant: the whole input is understood or nothing is returned: any damage ends in CorruptionError, anything that the
schema does not describe in UnknownSchemaError, and no other exception leaves this module.

The format follows `Mutation.MutationSerializer`, `PartitionUpdate.PartitionUpdateSerializer` and
`UnfilteredSerializer` of Cassandra 3.11 to 5.0 (messaging versions 11 to 13).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from casscade.commitlog.cells import SHORT_MAX, read_deletion, read_values, wrap_timestamp
from casscade.commitlog.columns import read_columns
from casscade.commitlog.faults import corrupt_mutation
from casscade.commitlog.rows import ROW_EXTENDED, read_row
from casscade.core.errors import UnknownSchemaError
from casscade.core.mutation import (
    EXCL_END_BOUND,
    EXCL_END_INCL_START_BOUNDARY,
    EXCL_START_BOUND,
    INCL_END_BOUND,
    INCL_END_EXCL_START_BOUNDARY,
    INCL_START_BOUND,
    Bound,
    PartitionUpdate,
    RangeTombstone,
)
from casscade.core.table import ColumnList, TableShape
from casscade.cql.vint import read_unsigned

UPDATE_IS_EMPTY: Final = 0x01
UPDATE_HAS_DELETION: Final = 0x04
UPDATE_HAS_STATIC_ROW: Final = 0x08
UPDATE_HAS_ROW_ESTIMATE: Final = 0x10
_UPDATE_UNKNOWN: Final = 0xE2

END_OF_PARTITION: Final = 0x01
IS_MARKER: Final = 0x02
EXTENDED_STATIC: Final = 0x01

# 2015-09-22T00:00:00Z, from which `EncodingStats` counts.
EPOCH_SECONDS: Final = 1442880000
EPOCH_MICROS: Final = 1442880000000000

_UNSIGNED_EXPIRY_VERSION: Final = 8
# Id, empty key's length and flags.
_UPDATE_BYTES_MIN: Final = 18


def decode_mutation(data: bytes, version: int, tables: Mapping[bytes, TableShape]) -> list[PartitionUpdate]:
    """The updates of replicated tables in the mutation `data`, in its order.

    `version` is the format of the commit log (6, 7 or 8), `tables` holds every known table by its id (16 bytes).
    Updates of tables that are not replicated are stepped over. Raises CorruptionError and UnknownSchemaError only.
    """
    try:
        return _decode(data, version >= _UNSIGNED_EXPIRY_VERSION, tables)
    except (IndexError, ValueError, OverflowError, MemoryError, RecursionError):
        raise corrupt_mutation("it ends too early") from None


def _decode(data: bytes, wide: bool, tables: Mapping[bytes, TableShape]) -> list[PartitionUpdate]:
    count, pos = read_unsigned(data, 0)
    if count == 0 or count * _UPDATE_BYTES_MIN > len(data):
        raise corrupt_mutation("its number of updates cannot be right")
    updates: list[PartitionUpdate] = []
    mutation_key = b""
    for number in range(count):
        table_id = data[pos : pos + 16]
        shape = tables.get(table_id)
        if shape is None:
            if len(table_id) < 16:
                raise corrupt_mutation("it ends too early")
            raise UnknownSchemaError("no table with the id that a mutation writes to is known", table_id=table_id)
        if not shape.replicated and number == count - 1:
            return updates
        pos += 16
        length = data[pos]
        if length < 0x80:
            pos += 1
        else:
            length, pos = read_unsigned(data, pos)
        key = data[pos : pos + length]
        pos += length
        if number == 0:
            mutation_key = key
        elif key != mutation_key:
            raise corrupt_mutation("its updates have different partition keys")
        update = PartitionUpdate(shape, key)
        pos = _read_update(data, pos, update, wide)
        if shape.replicated:
            updates.append(update)
    if pos != len(data):
        raise corrupt_mutation("bytes are left behind its end")
    return updates


def _read_update(data: bytes, pos: int, update: PartitionUpdate, wide: bool) -> int:
    """Read what follows the partition key into `update`; returns the offset behind it."""
    flags = data[pos]
    pos += 1
    if flags & _UPDATE_UNKNOWN:
        raise corrupt_mutation("an update has flags that do not exist")
    if flags & UPDATE_IS_EMPTY:
        return pos
    shape = update.table
    min_ts, pos = read_unsigned(data, pos)
    min_ts += EPOCH_MICROS
    if min_ts > SHORT_MAX:
        min_ts = wrap_timestamp(min_ts)
    min_ldt = data[pos]
    if min_ldt < 0x80:
        pos += 1
    else:
        min_ldt, pos = read_unsigned(data, pos)
    min_ldt = (min_ldt + EPOCH_SECONDS) & 0xFFFFFFFF
    min_ttl = data[pos]
    if min_ttl < 0x80:
        pos += 1
    else:
        min_ttl, pos = read_unsigned(data, pos)
    statics: ColumnList | None = None
    if flags & UPDATE_HAS_STATIC_ROW:
        statics, pos = read_columns(data, pos, shape)
    regulars, pos = read_columns(data, pos, shape)
    if flags & UPDATE_HAS_DELETION:
        update.deletion, pos = read_deletion(data, pos, min_ts)
    if statics is not None:
        row_flags = data[pos]
        if row_flags & (ROW_EXTENDED | IS_MARKER | END_OF_PARTITION) != ROW_EXTENDED or not data[pos + 1] & 1:
            raise corrupt_mutation("the static row is not marked as one")
        update.static_row, pos = read_row(data, pos + 2, row_flags, [], statics, min_ts, min_ldt, min_ttl, wide)
    if flags & UPDATE_HAS_ROW_ESTIMATE:
        if data[pos] < 0x80:
            pos += 1
        else:
            _, pos = read_unsigned(data, pos)

    lengths = shape.clustering_lengths
    rows = update.rows
    open_bound: Bound | None = None
    open_deletion = 0
    while True:
        row_flags = data[pos]
        pos += 1
        if row_flags == END_OF_PARTITION:
            break
        if row_flags & END_OF_PARTITION:
            raise corrupt_mutation("the end of a partition has flags of a row")
        if row_flags & IS_MARKER:
            open_bound, open_deletion, pos = _read_marker(data, pos, update, open_bound, open_deletion, min_ts)
            continue
        if row_flags & ROW_EXTENDED:
            if data[pos] & EXTENDED_STATIC:
                raise corrupt_mutation("a static row stands among the rows")
            pos += 1
        row, pos = read_row(data, pos, row_flags, lengths, regulars, min_ts, min_ldt, min_ttl, wide)
        if row is not None:
            rows.append(row)
    if open_bound is not None:
        raise corrupt_mutation("a range tombstone has no end")
    return pos


def _read_marker(
    data: bytes, pos: int, update: PartitionUpdate, open_bound: Bound | None, open_deletion: int, min_ts: int
) -> tuple[Bound | None, int, int]:
    """Read a bound or boundary; returns the bound and the deletion that are open behind it, and the offset.

    A range that it closes is added to `update`; a boundary closes one range and opens the next.
    """
    kind = data[pos]
    count = (data[pos + 1] << 8) | data[pos + 2]
    pos += 3
    lengths = update.table.clustering_lengths
    if count > len(lengths):
        raise corrupt_mutation("a bound has more values than the table has clustering columns")
    values, pos = read_values(data, pos, lengths, count)
    deletion, pos = read_deletion(data, pos, min_ts)
    if kind in (INCL_START_BOUND, EXCL_START_BOUND):
        if open_bound is not None:
            raise corrupt_mutation("a range tombstone starts within another")
        return Bound(kind, values), deletion, pos
    if kind in (EXCL_END_BOUND, EXCL_END_INCL_START_BOUNDARY):
        end_kind = EXCL_END_BOUND
        start_kind = INCL_START_BOUND
    elif kind in (INCL_END_BOUND, INCL_END_EXCL_START_BOUNDARY):
        end_kind = INCL_END_BOUND
        start_kind = EXCL_START_BOUND
    else:
        raise corrupt_mutation("a bound is of a kind that does not exist")
    if open_bound is None or deletion != open_deletion:
        raise corrupt_mutation("a range tombstone ends that did not start")
    update.range_tombstones.append(RangeTombstone(open_bound, Bound(end_kind, values), deletion))
    if kind == end_kind:
        return None, 0, pos
    deletion, pos = read_deletion(data, pos, min_ts)
    return Bound(start_kind, values), deletion, pos
