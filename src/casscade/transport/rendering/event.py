"""An event of Debezium's Cassandra connector as plain values.

Invariant: pure; of columns and bounds the names and times are shown, what they hold only with `values`.
"""

from __future__ import annotations

import json
from typing import Any, Final

from casscade.core.errors import BadDataError
from casscade.debezium.envelope import (
    DELETE,
    INSERT,
    RANGE_DELETE,
    RANGE_END,
    RANGE_START,
    UPDATE,
    read_cell,
    read_event,
)
from casscade.debezium.faults import no_event

_OPERATIONS: Final = {INSERT: "insert", UPDATE: "update", DELETE: "delete", RANGE_DELETE: "range_delete"}
_METHODS: Final = frozenset({"INCL_START_BOUND", "EXCL_START_BOUND", "INCL_END_BOUND", "EXCL_END_BOUND"})
_BOUNDS: Final = ((RANGE_START, "start"), (RANGE_END, "end"))

Shown = dict[str, Any]


def render_event(value: bytes | None, *, values: bool) -> Shown:
    """What the event says; a message that only marks a key for compaction is a `marker`. Raises BadDataError."""
    event = None if value is None else read_event(value)
    if event is None:
        return {"format": "debezium", "marker": True}
    operation: Shown = {"kind": _OPERATIONS[event.op], "write_time": event.write_time}
    for name, end in _BOUNDS:
        if event.op == RANGE_DELETE:
            operation[end] = _bound(event.after.get(name), values)
    columns: Shown = {}
    for name in event.after:
        cell = None if name in (RANGE_START, RANGE_END) else read_cell(event.after, name)
        if cell is not None:
            shown: Shown = {} if cell.moment is None else {"deletion_ts": cell.moment}
            shown |= {"deleted": True} if cell.value is None else {}
            columns[name] = shown | ({"value": cell.value} if values and cell.value is not None else {})
    return {
        "format": "debezium",
        "kind": "snapshot" if event.snapshot else "stream",
        "updates": [{"table": f"{event.keyspace}.{event.table}", "operations": [operation | {"columns": columns}]}],
    }


def render_json(data: bytes) -> Any:
    """A key as its writer meant it, or its bytes in hexadecimal digits."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.hex()


def _bound(bound: Any, values: bool) -> Shown:
    if not isinstance(bound, dict) or not isinstance(bound.get("values"), list) or bound.get("method") not in _METHODS:
        raise _no_bound()
    shown: Shown = {"inclusive": bound["method"].startswith("INCL"), "columns": len(bound["values"])}
    return shown | ({"clustering": bound["values"]} if values and bound["values"] else {})


def _no_bound() -> BadDataError:
    return no_event("a range deletion has no bounds")
