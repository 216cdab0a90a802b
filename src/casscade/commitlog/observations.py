"""Mutations that carry observations: made by a snapshot or from a row of one, never by Cassandra.

Invariant: `decode_any(encode_observing(update), OBSERVING, tables)` gives the update again, its observations included;
and bytes of a real mutation are never taken for an observation, because the encoding's number says which they are.

The bytes are those of a mutation in format 8, then the observations, then the length of the observations (4 bytes).
Observations: vint n, n x row (u8: 1 static, 0 not, then its clustering); of each row vint n, n x (vint length, column
name, u8: 0 settled, 1 value, 2 unread; for a value vint turn, i64 read_at, i64 bound, i64 expires_at, vint length,
value).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from casscade.commitlog.cells import read_values
from casscade.commitlog.decoder import decode_mutation
from casscade.commitlog.encoder import clustering_key, encode_mutation
from casscade.commitlog.faults import corrupt_mutation
from casscade.core.errors import BadDataError, DroppedColumnError, UnknownSchemaError
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.observed import SETTLED, UNREAD, Observed, is_unread
from casscade.core.table import TableShape
from casscade.cql.vint import read_unsigned, write_unsigned

OBSERVING: Final = 108
"""The number of this encoding, where those of the commit log are 6, 7 and 8."""

WITHHELD: Final = 110
"""The number of notes that stand for mutations that were withheld: code and reason, UTF-8, with U+0000 between them."""

_FORMAT: Final = 8
_LENGTH_BYTES: Final = 4
_SETTLED: Final = 0
_SHOWN: Final = 1
_UNREAD: Final = 2


def has_observations(update: PartitionUpdate) -> bool:
    """Whether any row of `update` has observations, which only this encoding can hold."""
    static_row = update.static_row
    return any(row.observed is not None for row in update.rows) or (
        static_row is not None and static_row.observed is not None
    )


def encode_observing(update: PartitionUpdate) -> bytes:
    """A mutation of `update` with the observations of its rows; raises what `encode_mutation` raises."""
    shape = update.table
    names = {column.index: column.name for column in shape.columns.values()}
    entries: list[bytes] = []
    if update.static_row is not None and update.static_row.observed is not None:
        entries.append(b"\x01" + _columns(update.static_row.observed, names))
    for row in update.rows:
        if row.observed is not None:
            key = clustering_key(row.clustering, shape.clustering_lengths)
            entries.append(b"\x00" + key + _columns(row.observed, names))
    notes = write_unsigned(len(entries)) + b"".join(entries)
    return encode_mutation([update], _FORMAT) + notes + len(notes).to_bytes(_LENGTH_BYTES, "big")


def _columns(observed: Mapping[int, Observed], names: Mapping[int, bytes]) -> bytes:
    out = bytearray(write_unsigned(len(observed)))
    for index, seen in observed.items():
        turn, read_at, bound, expires_at, value = seen
        name = names[index]
        out += write_unsigned(len(name)) + name
        if value is None:
            out.append(_UNREAD if is_unread(seen) else _SETTLED)
            continue
        out.append(_SHOWN)
        out += write_unsigned(turn)
        for number in (read_at, bound, expires_at):
            out += number.to_bytes(8, "big", signed=True)
        out += write_unsigned(len(value)) + value
    return bytes(out)


def withheld_note(code: str, what: str) -> bytes:
    """What stands for a mutation that was withheld; decoding it raises a BadDataError of that code."""
    return f"{code}\x00{what}".encode()


def _withheld(data: bytes) -> BadDataError:
    code, _, what = data.decode("utf-8", "replace").partition("\x00")
    return BadDataError(
        code or "withheld",
        f"{what or 'It was withheld'} (withheld where it was captured)",
        now="the note is set aside as a dead letter, the others go on",
        hint="read the row in Cassandra",
    )


def decode_any(data: bytes, version: int, tables: Mapping[bytes, TableShape]) -> list[PartitionUpdate]:
    """Decode a mutation of a commit log or of a snapshot; raises what `decode_mutation` raises."""
    if version != OBSERVING:
        if version == WITHHELD:
            raise _withheld(data)
        return decode_mutation(data, version, tables)
    end = len(data) - _LENGTH_BYTES
    start = end - int.from_bytes(data[max(end, 0) :], "big")
    if start <= 0:
        raise corrupt_mutation("its observations are longer than itself")
    updates = decode_mutation(data[:start], _FORMAT, tables)
    if not updates or (end - start == 1 and data[start] == 0):
        return updates
    try:
        pos = _read_rows(data, start, updates[0])
    except (IndexError, ValueError, OverflowError):
        raise corrupt_mutation("its observations end too early") from None
    if pos != end:
        raise corrupt_mutation("its observations have another length than they say")
    return updates


def decode_without_dropped(
    error: DroppedColumnError, data: bytes, version: int, tables: Mapping[bytes, TableShape]
) -> list[PartitionUpdate]:
    """As `decode_any`, without the cells of dropped columns in the table that `error` names and in others."""
    known = dict(tables)
    while True:
        known[error.table_id] = known[error.table_id].lenient()
        try:
            return decode_any(data, version, known)
        except DroppedColumnError as other:
            if other.table_id == error.table_id:
                raise
            error = other


def _read_rows(data: bytes, pos: int, update: PartitionUpdate) -> int:
    shape = update.table
    lengths = shape.clustering_lengths
    rows = {row.key: row for row in update.rows}
    count, pos = read_unsigned(data, pos)
    for _ in range(count):
        static = data[pos] == 1
        pos += 1
        clustering: list[bytes | None] = []
        start = pos
        if not static and lengths:
            clustering, pos = read_values(data, pos, lengths, len(lengths))
        key = data[start:pos]
        observed, pos = _read_columns(data, pos, shape)
        if not observed:
            continue
        # A row that says nothing else is not among the decoded ones.
        row = update.static_row if static else rows.get(key)
        if row is None:
            row = Row(key, clustering)
            if static:
                update.static_row = row
            else:
                rows[key] = row
                update.rows.append(row)
        row.observed = observed
    return pos


def _read_columns(data: bytes, pos: int, shape: TableShape) -> tuple[dict[int, Observed], int]:
    observed: dict[int, Observed] = {}
    count, pos = read_unsigned(data, pos)
    for _ in range(count):
        length, pos = read_unsigned(data, pos)
        name = data[pos : pos + length]
        pos += length
        kind = data[pos]
        pos += 1
        seen = UNREAD if kind == _UNREAD else SETTLED
        if kind == _SHOWN:
            turn, pos = read_unsigned(data, pos)
            read_at, bound, expires_at = (
                int.from_bytes(data[pos + 8 * i : pos + 8 * i + 8], "big", signed=True) for i in range(3)
            )
            length, pos = read_unsigned(data, pos + 24)
            seen = (turn, read_at, bound, expires_at, data[pos : pos + length])
            pos += length
        column = shape.columns.get(name)
        if column is None:
            raise UnknownSchemaError("a column that a mutation writes to is not known", table_id=shape.id)
        if not column.dropped:
            observed[column.index] = seen
    return observed, pos
