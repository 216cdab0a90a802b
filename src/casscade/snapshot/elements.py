"""Multi-cell values as CQL returns them, back into the cells they are made of.

Invariant: an element has the path, the value and the write time that its cell has in Cassandra.

From 5.0 on, WRITETIME and TTL of a non-frozen set, map or UDT are lists with an entry for each element or field, in
the order of the value (`ColumnTimestamps.MultipleTimestamps`). The cells of a list can't be made: their paths are
timeuuids that CQL does not show. They, and whatever shows no write times, are observed as a whole.
"""

from __future__ import annotations

from casscade.core.cell import NO_EXPIRY, Cell
from casscade.core.errors import InvariantError
from casscade.core.observed import UNBOUNDED, Observed


def split_fields(data: bytes, offset: int) -> list[bytes | None]:
    """The `[int]`-prefixed fields from `offset` to the end; a negative length is a null."""
    fields: list[bytes | None] = []
    while offset < len(data):
        length = int.from_bytes(data[offset : offset + 4], "big", signed=True)
        offset += 4
        if length < 0:
            fields.append(None)
        else:
            fields.append(data[offset : offset + length])
            offset += length
    return fields


def read_complex_cells(
    kind: str, value: bytes, write_times: bytes | None, ttls: bytes | None, now: int
) -> dict[bytes, Cell]:
    """The cells by path of a set, map or UDT column.

    `value`, `write_times` and `ttls` are serialized as in the native protocol from version 3 on; `now` is the second
    at which the remaining TTLs were computed. Raises `InvariantError` when the three do not fit together.
    """
    if kind == "udt":
        fields = split_fields(value, 0)
        paths: list[bytes | None] = [i.to_bytes(2, "big") for i in range(len(fields))]
    elif kind == "map":
        entries = split_fields(value, 4)
        paths, fields = entries[0::2], entries[1::2]
    else:
        paths = split_fields(value, 4)
        fields = [b""] * len(paths)
    times = split_fields(write_times, 4) if write_times is not None else []
    left = split_fields(ttls, 4) if ttls is not None else [None] * len(times)
    if len(times) < len(fields) or len(left) < len(fields):
        raise InvariantError(
            "snapshot_elements", f"Cassandra returned {len(times)} write times for {len(fields)} elements of a {kind}"
        )
    cells: dict[bytes, Cell] = {}
    for path, field, time, ttl in zip(paths, fields, times, left, strict=False):
        if path is not None and field is not None and time is not None:
            cells[path] = read_cell(field, time, ttl, now)
    return cells


def read_cell(value: bytes, write_time: bytes, ttl: bytes | None, now: int) -> Cell:
    """The cell of a value with its WRITETIME and the TTL that was left at second `now`."""
    timestamp = int.from_bytes(write_time, "big", signed=True)
    if ttl is None:
        return (timestamp, NO_EXPIRY, 0, value)
    remaining = int.from_bytes(ttl, "big", signed=True)
    return (timestamp, now + remaining, remaining, value)


def observe(
    value: bytes, write_times: bytes | None, ttls: bytes | None, now: int, turn: int, read_at: int, expires_at: int
) -> Observed:
    """What a read that began at `read_at` showed of a column whose cells are hidden; `turn` as in `Observed`.

    `write_times` and `ttls` are those of a collection or not shown (None): then the bound is not known, and
    `expires_at` is taken for the first end of an element.
    """
    if write_times is None:
        return (turn, read_at, UNBOUNDED, expires_at, value)
    known = [int.from_bytes(time, "big", signed=True) for time in split_fields(write_times, 4) if time is not None]
    ends = [] if ttls is None else [ttl for ttl in split_fields(ttls, 4) if ttl is not None]
    first = min([expires_at, *(now + int.from_bytes(ttl, "big", signed=True) for ttl in ends)])
    return (turn, read_at, max(known, default=UNBOUNDED), first, value)
