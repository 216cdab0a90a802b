"""The errors of this package.

Invariant: no message holds a value, only the type's name, the length of the bytes and the rule that they break.
"""

from __future__ import annotations

from typing import Final

from casscade.core.errors import BadDataError

VALUE_MALFORMED: Final = "value_malformed"
VALUE_UNENCODABLE: Final = "value_unencodable"
NUL_IN_JSON: Final = "nul_in_json"
NUMBER_OUT_OF_RANGE: Final = "number_out_of_range"
TYPE_MALFORMED: Final = "type_malformed"
TYPE_UNKNOWN: Final = "type_unknown"

_SET_ASIDE: Final = "the record goes to the dead letters, the others go on"


def malformed(type_name: str, data: bytes, rule: str) -> BadDataError:
    """The error for `data` that is no value of the type `type_name`, because `rule`."""
    return BadDataError(
        VALUE_MALFORMED,
        f"{len(data)} bytes are not a {type_name}: {rule}",
        now=_SET_ASIDE,
        hint="read the row with cqlsh; if it fails there too, write it again",
    )


def bound_malformed(kind: int, value_count: int) -> BadDataError:
    """The error for a range bound whose kind is none or that has more values than there are clustering columns."""
    return BadDataError(
        VALUE_MALFORMED,
        f"no range bound has kind {kind} and {value_count} value(s)",
        now=_SET_ASIDE,
        hint="compare the table's clustering columns with its schema",
    )


def unencodable(type_name: str, rule: str) -> BadDataError:
    """The error for a Python value that the type `type_name` cannot hold, because `rule`."""
    return BadDataError(
        VALUE_UNENCODABLE,
        f"the value is not a {type_name}: {rule}",
        now=_SET_ASIDE,
        hint="compare the column's type with the value's source",
    )


def nul_in_json(type_name: str) -> BadDataError:
    """The error for U+0000 in a text that has to become JSONB, which cannot hold it."""
    return BadDataError(
        NUL_IN_JSON,
        f"a {type_name} holds the character U+0000, which PostgreSQL's jsonb cannot store",
        now=_SET_ASIDE,
        hint="configure a replacement for U+0000, or remove it at the source",
    )


def number_out_of_range(type_name: str) -> BadDataError:
    """The error for a number beyond PostgreSQL's numeric (131072 digits before the point, 16383 after it)."""
    return BadDataError(
        NUMBER_OUT_OF_RANGE,
        f"a {type_name} has more digits than PostgreSQL's numeric can hold",
        now=_SET_ASIDE,
        hint="correct the number at the source",
    )


def type_malformed(text: str, rule: str) -> BadDataError:
    """The error for a type string that cannot be read, because `rule`."""
    return BadDataError(
        TYPE_MALFORMED,
        f"the CQL type {text[:200]!r} cannot be read: {rule}",
        now="the column's table is not decoded until its schema can be read",
        hint="compare it with system_schema.columns",
    )


def type_unknown(text: str, name: str, keyspace: str) -> BadDataError:
    """The error for a type string that names the type `name`, which `keyspace` does not have."""
    return BadDataError(
        TYPE_UNKNOWN,
        f"the CQL type {text[:200]!r} names {name[:100]!r}, which is no type of keyspace {keyspace!r}",
        now="the column's table is not decoded until its schema is read again",
        hint="check that the type exists: DESCRIBE TYPES in cqlsh",
    )
