"""The PostgreSQL type for each CQL type.

Invariant: a pure function of the CQL type; what it does not know is refused before work begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from casscade.core.errors import ConfigurationError
from casscade.cql.types import CqlType


@dataclass(frozen=True, slots=True)
class PgType:
    """A PostgreSQL type by the name that `format_type` prints.

    `native` tells that Cassandra's bytes of a value are PostgreSQL's binary format of it, unchanged. It says nothing
    of empty values (zero bytes, which Cassandra allows for every type), which only text and bytea know.
    """

    name: str
    native: bool


_TYPES: Final = {
    "ascii": PgType("text", native=True),
    "bigint": PgType("bigint", native=True),
    "blob": PgType("bytea", native=True),
    "boolean": PgType("boolean", native=True),
    "counter": PgType("bigint", native=False),
    "custom": PgType("bytea", native=True),
    "date": PgType("date", native=False),
    "decimal": PgType("numeric", native=False),
    "double": PgType("double precision", native=True),
    "duration": PgType("interval", native=False),
    "float": PgType("real", native=True),
    "inet": PgType("inet", native=False),
    "int": PgType("integer", native=True),
    "smallint": PgType("smallint", native=True),
    "text": PgType("text", native=True),
    "time": PgType("time without time zone", native=False),
    "timestamp": PgType("timestamp with time zone", native=False),
    "timeuuid": PgType("uuid", native=True),
    "tinyint": PgType("smallint", native=False),
    "uuid": PgType("uuid", native=True),
    "varint": PgType("numeric", native=False),
}
_JSONB: Final = PgType("jsonb", native=False)
_REAL_ARRAY: Final = PgType("real[]", native=False)
_COMPOSED: Final = frozenset({"list", "set", "map", "tuple", "udt", "vector"})


def map_column(type_: CqlType) -> PgType:
    """The PostgreSQL type for a CQL type.

    Collections, tuples, UDTs and vectors of anything but float become jsonb, custom types bytea. Raises
    `ConfigurationError` with code `type_unsupported` for `empty`, which has no values.
    """
    if type_.name == "vector" and type_.args[0].name == "float":
        return _REAL_ARRAY
    if type_.name in _COMPOSED:
        return _JSONB
    mapped = _TYPES.get(type_.name)
    if mapped is None:
        raise ConfigurationError(
            "type_unsupported",
            f"the CQL type {type_.cql()} has no counterpart in PostgreSQL",
            now="nothing was started",
            hint="exclude the column: columns: {exclude: [name]}",
        )
    return mapped
