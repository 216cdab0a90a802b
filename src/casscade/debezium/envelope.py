"""The connector's envelope: JSON of a key and a value becomes an `Event`, with or without the converter's schema.

Invariant: what comes out has the types that `Event` promises; any other input raises `BadDataError`, whatever it is.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from casscade.debezium.faults import no_event, not_json

INSERT: Final = "i"
UPDATE: Final = "u"
DELETE: Final = "d"
RANGE_DELETE: Final = "r"
_OPERATIONS: Final = frozenset({INSERT, UPDATE, DELETE, RANGE_DELETE})
_CONNECTOR: Final = "cassandra"
_SAMPLED: Final = frozenset({None, False, "false"})

RANGE_START: Final = "_range_start"
RANGE_END: Final = "_range_end"


class Event(NamedTuple):
    """One event: `write_time` in microseconds; `snapshot` marks a row that the connector has read from the table.

    `after` has an entry for each column of the table, null where the statement did not touch it, and the bounds of a
    range deletion.
    """

    keyspace: str
    table: str
    op: str
    write_time: int
    snapshot: bool
    after: dict[str, Any]


class CellValue(NamedTuple):
    """What an event says of a column; `moment` (microseconds, or None) is when it ends or was deleted."""

    value: Any
    moment: int | None


def read_event(value: bytes) -> Event | None:
    """The event of a message's value; None for a wrapped null, which marks a key for compaction.

    Raises BadDataError: `debezium_json` or `debezium_envelope`.
    """
    document = _loads(value, "value")
    if isinstance(document, dict) and "op" not in document and "payload" in document:
        document = document["payload"]
        if document is None:
            return None
    if not isinstance(document, dict):
        raise no_event("its value is no object")
    source, after, op = (document.get(name) for name in ("source", "after", "op"))
    if not isinstance(source, dict) or source.get("connector") != _CONNECTOR:
        raise no_event("its source is another connector")
    if not isinstance(op, str) or op not in _OPERATIONS:
        raise no_event("its operation is none of i, u, d and r")
    if not isinstance(after, dict):
        raise no_event("it has no content (after)")
    keyspace, table, write_time = (source.get(name) for name in ("keyspace", "table", "ts_us"))
    if not isinstance(keyspace, str) or not isinstance(table, str):
        raise no_event("its source names no table")
    if write_time is None or not _is_long(write_time):
        raise no_event("its source has no time in microseconds (ts_us), which the connector writes since 2.6")
    snapshot = source.get("snapshot")
    if not isinstance(snapshot, str | bool | None):
        raise no_event("its source does not say whether it is from a snapshot")
    return Event(keyspace, table, op, write_time, snapshot not in _SAMPLED, after)


def read_cell(after: dict[str, Any], name: str) -> CellValue | None:
    """What `after` says of a column, None where it was not touched; raises BadDataError (`debezium_envelope`)."""
    cell = after.get(name)
    if cell is None:
        return None
    if not isinstance(cell, dict) or "value" not in cell:
        raise no_event("a column has a value without its frame (value, deletion_ts, set)")
    if cell.get("set") is False:
        return None
    moment = cell.get("deletion_ts")
    if moment is not None and not _is_long(moment):
        raise no_event("a column's deletion_ts is no time in microseconds")
    return CellValue(cell["value"], moment)


def _is_long(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and -(1 << 63) < number < 1 << 63


def _loads(data: bytes, part: str) -> Any:
    if data[:1] == b"\x00":
        raise not_json(part, "it begins as Avro, Protobuf or JSON of a schema registry does")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        # The error's own text may quote the message.
        raise not_json(part, "it can't be parsed") from None
