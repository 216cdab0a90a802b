"""The numbers of PostgreSQL's types, which arrays and composite values name in their binary format.

Invariant: these numbers are part of PostgreSQL's catalogue (`pg_type.dat`) and the same on every server; only the
composite types that Casscade creates have others, which are read from the server.
"""

from __future__ import annotations

from typing import Final

OIDS: Final[dict[str, int]] = {
    "bigint": 20,
    "boolean": 16,
    "bytea": 17,
    "date": 1082,
    "double precision": 701,
    "inet": 869,
    "integer": 23,
    "interval": 1186,
    "jsonb": 3802,
    "numeric": 1700,
    "real": 700,
    "smallint": 21,
    "text": 25,
    "time without time zone": 1083,
    "timestamp with time zone": 1184,
    "uuid": 2950,
    "bigint[]": 1016,
    "boolean[]": 1000,
    "bytea[]": 1001,
    "date[]": 1182,
    "double precision[]": 1022,
    "inet[]": 1041,
    "integer[]": 1007,
    "interval[]": 1187,
    "numeric[]": 1231,
    "real[]": 1021,
    "smallint[]": 1005,
    "text[]": 1009,
    "time without time zone[]": 1183,
    "timestamp with time zone[]": 1185,
    "uuid[]": 2951,
}
"""By the names that `format_type` prints."""
