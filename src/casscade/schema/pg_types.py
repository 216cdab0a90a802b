"""The PostgreSQL type for each CQL type, and the other types that a configuration may ask for instead.

Invariant: a pure function of the CQL type and of the form asked for; what it does not know is refused before work
begins.

The *form* of a column says how values are represented: `plain` (a type of its own), `array`, `jsonb`, `composite`,
`text` (the text of `casscade.cql.text`), `bytea` (Cassandra's own bytes), `bigint` (the number inside a time or
timestamp), `vector` (pgvector's type).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from casscade.core.errors import ConfigurationError
from casscade.cql.types import CqlType
from casscade.schema.names import column_identifier, quote_qualified, relation_identifier

Form = Literal["plain", "array", "jsonb", "composite", "text", "bytea", "bigint", "vector"]

PGVECTOR_DIMENSIONS_MAX: Final = 16_000
"""`VECTOR_MAX_DIM` of pgvector."""


@dataclass(frozen=True, slots=True)
class PgType:
    """A PostgreSQL type by the name that `format_type` prints; that of a composite type is quoted and qualified.

    `native` tells that Cassandra's bytes of a value are PostgreSQL's binary format of it, unchanged. It says nothing
    of empty values (zero bytes, which Cassandra allows for every type), which only text and bytea know. `element` is
    the type of an array's elements; `composite` names a composite type: schema, name; `fields` are its fields.
    """

    name: str
    native: bool
    form: Form = "plain"
    element: PgType | None = None
    composite: tuple[str, str] = ("", "")
    fields: tuple[tuple[str, PgType], ...] = ()

    def composites(self) -> list[PgType]:
        """The composite types that it needs, itself among them, each after those that it needs itself."""
        found: list[PgType] = []
        for _, inner in self.fields:
            found += [each for each in inner.composites() if each not in found]
        if self.form == "composite":
            found.append(self)
        return found


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
_JSONB: Final = PgType("jsonb", native=False, form="jsonb")
_BIGINT: Final = PgType("bigint", native=True, form="bigint")
_BYTEA: Final = PgType("bytea", native=True, form="bytea")
_TEXT: Final = PgType("text", native=False, form="text")
_COMPOSED: Final = frozenset({"list", "set", "map", "tuple", "udt", "vector"})
_SEQUENCES: Final = frozenset({"list", "set", "vector"})
_NUMBERED: Final = frozenset({"time", "timestamp"})


def map_column(type_: CqlType) -> PgType:
    """The PostgreSQL type for a CQL type by default.

    Lists, sets and vectors of simple elements become arrays, other composed types jsonb, custom types bytea. Raises
    `ConfigurationError` with code `type_unsupported` for `empty`, which has no values.
    """
    if type_.name in _COMPOSED:
        return _array(type_) if _is_array(type_) else _JSONB
    mapped = _TYPES.get(type_.name)
    if mapped is None:
        raise ConfigurationError(
            "type_unsupported",
            f"the CQL type {type_.cql()} has no counterpart in PostgreSQL",
            now="nothing was started",
            hint="exclude the column: columns: {exclude: [name]}",
        )
    return mapped


def allowed_forms(type_: CqlType) -> tuple[Form, ...]:
    """What `columns: as:` may ask for, for a column of this type; the first is the default (`plain`: nothing)."""
    default = map_column(type_).form
    if type_.name == "counter":
        return (default,)
    forms: list[Form] = [default]
    if type_.name in _COMPOSED:
        forms.append("jsonb")
    if _is_array(type_):
        forms.append("array")
    if type_.name == "udt":
        forms.append("composite")
    if _is_float_vector(type_) and type_.dimension <= PGVECTOR_DIMENSIONS_MAX:
        forms.append("vector")
    if type_.name in _NUMBERED:
        forms.append("bigint")
    forms += ["text", "bytea"]
    return tuple(dict.fromkeys(forms))


def map_column_as(type_: CqlType, form: Form, schema: str) -> PgType:
    """The PostgreSQL type for a CQL type in one of its `allowed_forms`; composite types are made in `schema`."""
    default = map_column(type_)
    if form == default.form:
        return default
    if form == "composite":
        return _composite(type_, schema)
    if form == "vector":
        return PgType(f"vector({type_.dimension})", native=False, form="vector")
    if form == "text":
        return default if default.name == "text" else _TEXT
    if form == "bytea":
        return default if default.name == "bytea" else _BYTEA
    return _BIGINT if form == "bigint" else _JSONB


def _is_array(type_: CqlType) -> bool:
    return type_.name in _SEQUENCES and type_.args[0].name in _TYPES


def _is_float_vector(type_: CqlType) -> bool:
    return type_.name == "vector" and type_.args[0].name == "float"


def _array(type_: CqlType) -> PgType:
    element = _TYPES[type_.args[0].name]
    return PgType(f"{element.name}[]", native=False, form="array", element=element)


def _composite(type_: CqlType, schema: str) -> PgType:
    """A UDT as a composite type of its own name; the fields that are UDTs become composite types too."""
    fields = tuple(
        (column_identifier(name), _composite(arg, schema) if arg.name == "udt" else map_column(arg))
        for name, arg in zip(type_.field_names, type_.args, strict=True)
    )
    name = relation_identifier(type_.udt_name)
    return PgType(
        quote_qualified(schema, name), native=False, form="composite", composite=(schema, name), fields=fields
    )
