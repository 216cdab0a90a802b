"""The samples of Debezium's Cassandra connector, the tables they come from, and what decoding makes of them as text."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any, Final, NamedTuple

from casscade.core.cell import NO_EXPIRY, NO_TIMESTAMP, Cell
from casscade.core.keys import split_partition_key
from casscade.core.mutation import EXCL_END_BOUND, EXCL_START_BOUND, INCL_START_BOUND, Bound, Row
from casscade.cql.types import UdtDefinition, parse_type
from casscade.cql.values import decode
from casscade.debezium.decoder import Decoded, EventDecoder
from casscade.debezium.message import ConnectMessage, pack
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes, ordered_columns

DIRECTORY: Final = Path(__file__).resolve().parents[1] / "golden" / "debezium"
UDTS: Final = {"addr": UdtDefinition("shop", "addr", ("street", "zip"), ("text", "int"))}
_KINDS: Final = {
    "p": ColumnKind.PARTITION_KEY,
    "c": ColumnKind.CLUSTERING,
    "d": ColumnKind.CLUSTERING,
    "s": ColumnKind.STATIC,
    "r": ColumnKind.REGULAR,
}


def make_table(name: str, columns: str, **options: Any) -> Table:
    """A table of keyspace shop from `name kind type; …`; kind p, c, d (descending), s or r."""
    built = []
    for place, text in enumerate(columns.split(";")):
        column, kind, type_ = text.split(maxsplit=2)
        position = place if kind in "pcd" else -1
        built.append(
            Column(column, _KINDS[kind], position, parse_type(type_.strip(), "shop", UDTS), reversed=kind == "d")
        )
    table_id = uuid.uuid5(uuid.NAMESPACE_OID, name)
    return assign_indexes(Table(table_id, "shop", name, ordered_columns(built), cdc=True, **options), {})


ORDERS: Final = make_table(
    "orders",
    "id p uuid; line c int; sku r text; qty r int; price r decimal; tags r set<text>; at r timestamp; note r text",
)
KINDS: Final = make_table(
    "kinds",
    "pk p text; ck c int; ck2 c text; s_note s text; txt r text; n r bigint; fudt r frozen<addr>; l r list<int>; "
    "m r map<text, int>; st r set<text>; fl r frozen<list<int>>; tup r tuple<int, text>; ts r timestamp; d r date; "
    "tm r time; u r uuid; tu r timeuuid; ip r inet; bl r blob; vi r varint; dec r decimal; dbl r double; b r boolean; "
    "si r smallint; ti r tinyint; dur r duration",
)
TABLES: Final = (ORDERS, KINDS)


class Sample(NamedTuple):
    """A statement and the messages that it caused, as chunk entries."""

    name: str
    cql: str
    messages: list[bytes]
    write_times: list[int]


def samples(folder: str = ".") -> list[Sample]:
    """The samples of a folder below `DIRECTORY`, in the order of the statements."""
    found = []
    for path in sorted((DIRECTORY / folder).glob("*.json")):
        content = json.loads(path.read_text("utf-8"))
        events = content["events"]
        messages = [message(event["topic"], event["key"], event["value"]) for event in events]
        times = [unwrapped(event["value"])["source"]["ts_us"] for event in events]
        found.append(Sample(path.stem, content["cql"], messages, times))
    return found


def unwrapped(value: Any) -> Any:
    """The content of a value without the converter's schema."""
    return value.get("payload", value)


def message(topic: str, key: Any, value: Any) -> bytes:
    """A chunk entry of JSON documents; a None as value is a null."""
    return pack(ConnectMessage(topic, json.dumps(key).encode(), None if value is None else json.dumps(value).encode()))


def event(op: str = "u", table: Table = ORDERS, ts_us: Any = 1_700_000_000_000_000, **after: Any) -> bytes:
    """An event of `table`; a column is given as a value, as (value, deletion_ts), or as its whole frame."""
    source = {"connector": "cassandra", "keyspace": table.keyspace, "table": table.name, "ts_us": ts_us}
    frames = {name: _frame(value) for name, value in after.items()}
    return message(f"cdc.shop.{table.name}", {}, {"op": op, "source": source, "after": frames})


def _frame(value: Any) -> Any:
    if isinstance(value, dict) and ("set" in value or "method" in value):
        return value
    value, moment = value if isinstance(value, tuple) else (value, None)
    return {"value": value, "deletion_ts": moment, "set": True}


def decoder() -> EventDecoder:
    """A decoder of the tables of the samples."""
    return EventDecoder(TABLES, {ORDERS.id.bytes: 4})


def say(decoded: Decoded, write_time: int, table: Table) -> list[str]:
    """One line for each thing that was decoded; everything must have been written at `write_time`."""
    lines = [decoded.skipped] if decoded.skipped else []
    for update in decoded.updates:
        key = ",".join(str(value) for value in _decoded(table.partition_key, split_partition_key(update.key, 1)))[-4:]
        if update.deletion != NO_TIMESTAMP:
            assert update.deletion == write_time
            lines.append(f"{key}: delete partition")
        for tombstone in update.range_tombstones:
            assert tombstone.deletion == write_time
            lines.append(f"{key}: delete {_bound(tombstone.start, table)} .. {_bound(tombstone.end, table)}")
        lines += [f"{key}/{_row(row, write_time, table)}" for row in update.rows]
        assert update.static_row is None
    for row in decoded.rereads:
        names = sorted(column.name for column in table.columns if column.index in row.columns)
        lines.append("read again: " + (" ".join(names) or "row"))
    return lines


def _decoded(columns: tuple[Column, ...], values: Any) -> list[Any]:
    return [
        None if value is None else decode(column.type, value) for column, value in zip(columns, values, strict=False)
    ]


def _bound(bound: Bound, table: Table) -> str:
    values = ",".join(map(str, _decoded(table.clustering, bound.values)))
    inclusive = bound.kind not in (EXCL_START_BOUND, EXCL_END_BOUND)
    if bound.kind in (INCL_START_BOUND, EXCL_START_BOUND):
        return ("[" if inclusive else "(") + values
    return values + ("]" if inclusive else ")")


def _row(row: Row, write_time: int, table: Table) -> str:
    words = [",".join(map(str, _decoded(table.clustering, row.clustering)))]
    if row.deletion != NO_TIMESTAMP:
        assert row.deletion == write_time
        words.append("delete")
    if row.liveness_ts != NO_TIMESTAMP:
        assert row.liveness_ts == write_time
        words.append("insert" + _end(row.liveness_expires_at, row.liveness_ttl, write_time))
    elif row.liveness_unknown:
        words.append("maybe insert")
    names = {column.index: column for column in table.columns if column.index >= 0}
    words += sorted(_cell(names[index], cell, write_time) for index, cell in row.cells.items())
    return " ".join(words)


def _cell(column: Column, cell: Cell, write_time: int) -> str:
    assert cell[0] == write_time
    if cell[3] is None:
        assert cell[1:3] == (0, 0)
        return f"{column.name}=null"
    return f"{column.name}={decode(column.type, cell[3])!s}{_end(cell[1], cell[2], write_time)}"


def _end(expires_at: int, ttl: int, write_time: int) -> str:
    if expires_at == NO_EXPIRY:
        assert ttl == 0
        return ""
    assert ttl == expires_at - write_time // 1_000_000
    return f"!{ttl}"
