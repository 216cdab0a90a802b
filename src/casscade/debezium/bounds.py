"""The ends of a range deletion: the connector writes their values as Cassandra's `AbstractType.getString` prints them.

Invariant: a bound has values of the first clustering columns without a gap, whatever the order in which the event
names them; a text that is not exactly what Cassandra prints for a value of its column is refused, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from casscade.core.errors import BadDataError
from casscade.core.mutation import EXCL_END_BOUND, EXCL_START_BOUND, INCL_END_BOUND, INCL_START_BOUND, Bound
from casscade.cql.faults import unencodable
from casscade.cql.scalars import CODECS
from casscade.cql.types import CqlType
from casscade.debezium.faults import no_event, no_value
from casscade.debezium.values import reader
from casscade.schema.model import Column, Table

_START_KINDS: Final = {"INCL_START_BOUND": INCL_START_BOUND, "EXCL_START_BOUND": EXCL_START_BOUND}
_END_KINDS: Final = {"INCL_END_BOUND": INCL_END_BOUND, "EXCL_END_BOUND": EXCL_END_BOUND}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}\Z")
_FLOATING: Final = re.compile(r"-?([0-9]+\.[0-9]+(E-?[0-9]+)?|Infinity)\Z|NaN\Z")
_TIME: Final = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})\.([0-9]{9})\Z")
_TIMESTAMP: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}(Z|[+-][0-9:]{2,5})\Z"
)


def read_bounds(start: Any, end: Any, table: Table) -> tuple[Bound, Bound]:
    """The bounds of `_range_start` and `_range_end`; raises BadDataError."""
    return _bound(start, _START_KINDS, table), _bound(end, _END_KINDS, table)


def _bound(given: Any, kinds: dict[str, int], table: Table) -> Bound:
    if not isinstance(given, dict) or not isinstance(given.get("values"), list):
        raise no_event("a range deletion has no bounds")
    kind = kinds.get(str(given.get("method")))
    if kind is None:
        raise no_event("a bound of a range deletion has an unknown method")
    texts: dict[str, str] = {}
    for entry in given["values"]:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(name), str) for name in ("name", "value")):
            raise no_event("a bound of a range deletion has a value without name or text")
        texts[_unquoted(entry["name"])] = entry["value"]
    columns = table.clustering[: len(texts)]
    if len(texts) != len(given["values"]) or {column.name for column in columns} != texts.keys():
        raise no_event("the values of a bound are not those of the first clustering columns")
    return Bound(kind, [_value(column, texts[column.name], table) for column in columns])


def _unquoted(name: str) -> str:
    """A column's name from CQL, where one that is not plain stands in double quotes."""
    return name[1:-1].replace('""', '"') if len(name) > 1 and name[0] == name[-1] == '"' else name


def _value(column: Column, text: str, table: Table) -> bytes:
    try:
        return _from_text(column.type, text)
    except (ValueError, OverflowError):
        rule = f"the bound of a range deletion is not the text of a {column.type.name}"
    except BadDataError as error:
        rule = error.what
    raise no_value(table.full_name, column.name, rule)


def _from_text(cql_type: CqlType, text: str) -> bytes:
    name = cql_type.name
    if not text and name not in ("text", "ascii", "blob"):
        return b""  # the empty value, whatever the type
    if name in _SAME_AS_JSON:
        return reader(cql_type)(text)
    parse = _PARSERS.get(name)
    if parse is not None:
        return CODECS[name][1](parse(text))
    if name in ("list", "set", "map", "blob"):
        return bytes.fromhex(text)
    raise unencodable(name, "ranges over this type are not read")


def _integer(text: str) -> int:
    if _INTEGER.match(text) is None:
        raise ValueError
    return int(text)


def _floating(text: str) -> float:
    if _FLOATING.match(text) is None:
        raise ValueError
    return float(text)


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


def _timestamp(text: str) -> int:
    if _TIMESTAMP.match(text) is None:
        raise ValueError
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)


def _date(text: str) -> int:
    if len(text) != len("2026-01-02"):
        raise ValueError
    return date.fromisoformat(text).toordinal() - _EPOCH.toordinal()


def _time(text: str) -> int:
    found = _TIME.match(text)
    if found is None:
        raise ValueError
    hours, minutes, seconds, nanoseconds = map(int, found.groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1_000_000_000 + nanoseconds


_SAME_AS_JSON: Final = frozenset({"text", "ascii", "decimal", "inet", "uuid", "timeuuid", "varint"})
_PARSERS: Final[dict[str, Callable[[str], Any]]] = {
    "bigint": _integer,
    "boolean": _boolean,
    "date": _date,
    "double": _floating,
    "float": _floating,
    "int": _integer,
    "smallint": _integer,
    "time": _time,
    "timestamp": _timestamp,
    "tinyint": _integer,
}
