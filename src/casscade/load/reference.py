"""`docs/types.md`: what each CQL type becomes in PostgreSQL, made from the mapping itself.

Invariant: a type that `schema.pg_types` or `load.codecs` does not know can't be in the table, and every simple type is.
"""

from __future__ import annotations

import uuid
from typing import Final

from casscade.cql.types import SIMPLE_TYPES, CqlType
from casscade.load.codecs import codec_for
from casscade.load.key_codecs import key_codec_for
from casscade.schema.key_form import AUTO, EXACT, NATURAL, can_be_natural, is_exact
from casscade.schema.model import Column, ColumnKind, Table
from casscade.schema.pg_types import map_column

_INT: Final = CqlType("int")
_TEXT: Final = CqlType("text")
_NOTES: Final = {
    "ascii": "U+0000 becomes U+FFFD",
    "boolean": "any byte but 0 and 1 becomes true",
    "counter": "the sum of the shards",
    "date": "outside of 4713 BC to 5874897 AD: infinity or -infinity",
    "decimal": "a negative scale (1E+3) becomes the plain number; beyond 4,200 digits or 16,383 places: NULL",
    "duration": "nanoseconds are cut to microseconds",
    "text": "U+0000 becomes U+FFFD",
    "time": "nanoseconds are cut to microseconds",
    "timestamp": "outside of 4713 BC to 294276 AD: infinity or -infinity",
    "varint": "beyond 4,200 digits: NULL",
}
_NOTHING: Final = "every value"
# What a natural key refuses.
_KEY_NOTES: Final = {
    "ascii": "no U+0000",
    "bigint": "not empty",
    "blob": _NOTHING,
    "boolean": "not empty; in a partition key only the bytes 0 and 1",
    "custom": _NOTHING,
    "date": "4713 BC to 5874897 AD",
    "decimal": "at most 4,200 digits; as partition key no 0 at the end of a fraction, and no exponent (1.00, 1E+3)",
    "double": "no -0; in a partition key one NaN only",
    "float": "no -0; in a partition key one NaN only",
    "inet": "not empty",
    "int": "not empty",
    "smallint": "not empty",
    "text": "no U+0000",
    "time": "whole microseconds",
    "timestamp": "4713 BC to 294276 AD",
    "timeuuid": "not empty",
    "tinyint": "not empty",
    "uuid": "not empty",
    "varint": "at most 4,200 digits; in a partition key without padding",
}
_COMPOSED: Final = (
    (CqlType("list", (_INT,)), "non-frozen: an array of the live elements in their order"),
    (CqlType("set", (_TEXT,)), "non-frozen: an array of the live elements in Cassandra's order"),
    (CqlType("map", (_TEXT, _INT)), "non-frozen: an object; keys are the text form of the key"),
    (CqlType("list", (_INT,), frozen=True), "frozen list and set: an array"),
    (CqlType("map", (_TEXT, _INT), frozen=True), "frozen map: an object; keys are the text form of the key"),
    (CqlType("tuple", (_INT, _TEXT), frozen=True), "an array, null where a field is null"),
    (
        CqlType("udt", (_INT,), frozen=True, udt_keyspace="k", udt_name="address", field_names=("zip",)),
        "frozen or not: an object by field name",
    ),
    (CqlType("vector", (CqlType("float"),), dimension=3), "an array of float4"),
    (CqlType("vector", (_INT,), dimension=3), "other vectors: an array"),
)

_KEYS: Final = """\
## Keys

With a *natural* key the primary key in PostgreSQL is Cassandra's key, column by column. A value that a column does
not hold exactly would let two keys collide: such a row is set aside as a dead letter (`key_not_representable`; the
last column of the table says what is taken). So is a key that is too long for PostgreSQL's index, 2,704 bytes when
compressed (`key_too_long`). `key: exact` has neither limit.

With an *exact* key the primary key is `_cdc_partition` (the serialized partition key) and `_cdc_clustering` (each
clustering value behind its length as int32; not there without clustering columns). Where Cassandra holds different
bytes to be one clustering value (the decimals 1.0 and 1.00, padded varints, NaNs, true as any byte but 0, nulls at
the end of a tuple), one of them stands for all. A key of more than 1,024 bytes is there with its first 1,024 and
its BLAKE2b digest of 32 bytes, and is whole in `_cdc_long_key`, which is NULL for all others. The key columns stay
beside it: nullable, showing each value as any other column does, with an index (not unique) over those that are
not jsonb or an array. Of these, values beyond 2,000 bytes of a row together are shown as NULL. The views
`<table>_with_static` join on the exact key.

The setting is `key` in the configuration of a table. In a `set<decimal>`, or any other non-frozen set or map whose
elements or keys may be equal with different bytes, equal ones are one element, as in Cassandra: shown is the one
that was written last.
"""


def render() -> str:
    """The whole page as Markdown."""
    lines = [
        "# Types",
        "",
        "Made by `python -m casscade.load.reference > docs/types.md`; change the code, not this page.",
        "",
        "A value that its PostgreSQL type can't hold exactly is *shown* as the nearest thing (the third column says",
        "how) and counted (`casscade_load_inexact_values_total`); its bytes are kept in the row's `_cdc_state`, so",
        "nothing is lost and later writes merge as in Cassandra. (For jsonb the bytes are always kept.) An empty value",
        "(zero bytes) of a type other than text, ascii and blob is shown as NULL.",
        "",
        "| CQL type | PostgreSQL type | shown, where it is not the value itself | `key: auto` | in a natural key |",
        "|---|---|---|---|---|",
    ]
    for name in sorted(SIMPLE_TYPES - {"empty"}):
        lines.append(_line(CqlType(name), _NOTES.get(name, "")))
    for type_, note in _COMPOSED:
        lines.append(_line(type_, note))
    return "\n".join([*lines, "", _KEYS])


def _line(type_: CqlType, note: str) -> str:
    pg_type = map_column(type_).name
    if not type_.multi_cell:
        codec_for(type_, map_column(type_))
    return f"| `{type_.cql()}` | `{pg_type}` | {note} | {_as_key(type_, pg_type)} |"


def _as_key(type_: CqlType, pg_type: str) -> str:
    if type_.name in ("counter", "duration") or type_.multi_cell:
        return "no key in Cassandra | –"
    forms = [
        EXACT if is_exact(_table(type_, kind), AUTO) else NATURAL
        for kind in (ColumnKind.PARTITION_KEY, ColumnKind.CLUSTERING)
    ]
    form = forms[0] if len(set(forms)) == 1 else f"{forms[0]} in a partition key, {forms[1]} in a clustering"
    if not can_be_natural(type_):
        return f"{form} | refused"
    key_codec_for(type_)
    return f"{form} | {_KEY_NOTES[type_.name]}"


def _table(type_: CqlType, kind: ColumnKind) -> Table:
    return Table(uuid.UUID(int=0), "", "", (Column("", kind, 0, type_),))


if __name__ == "__main__":
    print(render(), end="")
