"""Names on the PostgreSQL side.

Invariant: the same Cassandra name always gives the same identifier, and an identifier enters SQL text only through
`quote_identifier`.

PostgreSQL silently cuts identifiers at 63 bytes, so a longer name is shortened here: as much of its beginning as
fits (whole characters), an underscore, and the first 8 hexadecimal digits of the SHA-256 of the whole name. Names of
PostgreSQL's system columns (`ctid`, `xmin`, ...) can't be column names and get the same ending. Two names of one
table that end up equal are refused by `casscade.schema.mapping`.
"""

from __future__ import annotations

import hashlib
from typing import Final

from casscade.core.errors import ConfigurationError

IDENTIFIER_BYTES_MAX: Final = 63
"""`NAMEDATALEN - 1` of every PostgreSQL as it is distributed."""

_DIGITS: Final = 8
_SYSTEM_COLUMNS: Final = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})


def relation_identifier(name: str) -> str:
    """The PostgreSQL name of a table or view for `name`; raises `ConfigurationError` for an impossible name."""
    _refuse_impossible(name)
    return name if len(name.encode()) <= IDENTIFIER_BYTES_MAX else _shortened(name)


def column_identifier(name: str) -> str:
    """The PostgreSQL name of a column for `name`; raises `ConfigurationError` for an impossible name."""
    return _shortened(name) if name in _SYSTEM_COLUMNS else relation_identifier(name)


def quote_identifier(name: str) -> str:
    """`name` as a quoted SQL identifier; raises `ConfigurationError` for an empty name or one with a NUL."""
    _refuse_impossible(name)
    return '"' + name.replace('"', '""') + '"'


def quote_qualified(schema: str, name: str) -> str:
    """`"schema"."name"`."""
    return f"{quote_identifier(schema)}.{quote_identifier(name)}"


def _shortened(name: str) -> str:
    encoded = name.encode()
    room = IDENTIFIER_BYTES_MAX - 1 - _DIGITS
    start = encoded[:room].decode(errors="ignore")
    return f"{start}_{hashlib.sha256(encoded).hexdigest()[:_DIGITS]}"


def _refuse_impossible(name: str) -> None:
    if not name or "\0" in name:
        raise ConfigurationError(
            "name_impossible",
            f"{name!r} can't be a name in PostgreSQL",
            now="nothing was started",
            hint="exclude the column, or give the table another target in the configuration",
        )
