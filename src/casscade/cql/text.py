"""Any value as text for people: error reports, `verify`, keys of JSON objects.

Invariant: one value has one text; values of one type that Cassandra tells apart have different texts, except that the
empty value of a number or date and the empty string of a text are both the empty text.
"""

from __future__ import annotations

from casscade.cql.json_text import json_writer
from casscade.cql.scalar_text import SCALAR_TEXTS
from casscade.cql.types import CqlType
from casscade.cql.values import EMPTY_IS_A_VALUE

_NUL: str = "\x00"


def to_text(cql_type: CqlType, data: bytes) -> str:
    """The text of value bytes: simple types as in `casscade.cql.scalar_text`, nested ones as JSON text.

    Strings are not quoted; U+0000 stays in them and is \\u0000 inside JSON. Raises `BadDataError` (`value_malformed`,
    and `number_out_of_range` for numbers of more digits than can be written in bounded time).
    """
    scalar = SCALAR_TEXTS.get(cql_type.name)
    if scalar is None:
        return json_writer(cql_type, _NUL)(data) if data else ""
    return scalar(data) if data or cql_type.name in EMPTY_IS_A_VALUE else ""
