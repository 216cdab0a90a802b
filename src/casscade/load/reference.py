"""`docs/types.md`: what each CQL type becomes in PostgreSQL, made from the mapping itself.

Invariant: a type that `schema.pg_types` or `load.codecs` does not know can't be in the table, and every simple type is.
"""

from __future__ import annotations

import uuid
from typing import Final

from casscade.core.errors import InvariantError
from casscade.cql.types import SIMPLE_TYPES, CqlType
from casscade.load.codecs import codec_for
from casscade.load.key_codecs import key_codec_for
from casscade.schema.key_form import AUTO, EXACT, NATURAL, can_be_natural, is_exact
from casscade.schema.model import Column, ColumnKind, Table
from casscade.schema.pg_types import Form, allowed_forms, map_column, map_column_as

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
_ADDRESS: Final = CqlType("udt", (_INT,), frozen=True, udt_keyspace="k", udt_name="address", field_names=("zip",))
_COMPOSED: Final = (
    (CqlType("list", (_INT,)), "NULL where no element is alive, else these in their order"),
    (CqlType("set", (_TEXT,)), "NULL where no element is alive, else these in Cassandra's order"),
    (CqlType("map", (_TEXT, _INT)), "NULL where no element is alive, else an object; keys are the text of the key"),
    (CqlType("list", (_INT,), frozen=True), "lists and sets of simple elements; `{}` when it is empty"),
    (CqlType("list", (CqlType("tuple", (_INT,), frozen=True),), frozen=True), "lists and sets of other elements"),
    (CqlType("map", (_TEXT, _INT), frozen=True), "an object; keys are the text of the key"),
    (CqlType("tuple", (_INT, _TEXT), frozen=True), "an array, null where a field is null"),
    (_ADDRESS, "frozen or not: an object by field name"),
    (CqlType("vector", (CqlType("float"),), dimension=3), "all elements; of other simple elements likewise"),
)

_FORMS: Final = """\
## Other types for a column

`columns: {types: {tags: jsonb, home: composite}}` in the configuration of a table chooses by column; the table above
says under *may be* what fits a type, and anything else is refused at start. Key columns have no choice.

- `array`: an array of the type that the element has as a column. An element that it can't hold is shown as the
  nearest thing or null.
- `jsonb`: numbers with all digits, everything else that is not text or boolean as a string in the form of `text`.
- `composite`: a UDT as a composite type of its name, which is created in the schema of the table (`CREATE TYPE`, after
  those of the UDTs within it; names as for columns). Its fields have the types that columns have by default; fields
  that are UDTs become composite types too. Tables of one schema share such a type. It is never altered: when the UDT
  gets another field, the type in PostgreSQL must be made anew.
- `text`: the text of the value, without loss: `1.50`, `08:12:54.123456789`, `1mo2d3ns`, `0xcafe`, and JSON for
  composed types.
- `bytea`: Cassandra's own bytes, as the native protocol has them; of a collection or UDT that is not frozen, those of
  the same value frozen.
- `bigint`: nanoseconds since midnight for a `time`, milliseconds since 1970 for a `timestamp`; exact.
- `vector`: `vector(n)` of the extension pgvector, for `vector<float, n>` up to 16,000 elements. The extension must be
  there (`CREATE EXTENSION vector`), in a schema of the role's search_path.
"""
_POLICIES: Final = """\
## Inexact values

A value that its column can't show exactly is *inexact*. `inexact` in the configuration of a table, or of a column
under `columns`, says what becomes of it. `casscade_load_inexact_values_total` counts all of them by table and policy.

- `keep`, the default: the nearest thing is shown, the original bytes stay in the row's `_cdc_state`. Nothing is lost:
  ties are decided as in Cassandra.
- `convert`: the nearest thing is all that is stored. Where two writes have the same time, the converted value takes
  part in the comparison. The bytes stay all the same where what is shown can't be read back (jsonb, text, composite
  types with such fields) and of collections and UDTs that are not frozen, which are merged element by element.
- `dead_letter`: the whole row of the batch becomes a dead letter (`value_not_representable`), deletions in it
  included; the others go on. What a row held before stays. Elements are looked at when they are written, not again
  with those that are there already.

| Type | as | inexact is | shown | `convert` stores |
|---|---|---|---|---|
"""
_UTF8_NUL: Final = b"a\x00"
_LIST: Final = CqlType("list", (_TEXT,), frozen=True)
# Type, form, what is inexact, a value that is, what is shown.
_INEXACT: Final[tuple[tuple[CqlType, Form, str, bytes, str], ...]] = (
    (_TEXT, "plain", "U+0000, also in ascii", _UTF8_NUL, "U+FFFD in its place"),
    (CqlType("boolean"), "plain", "any byte but 0 and 1", b"\x02", "true"),
    (CqlType("date"), "plain", "outside of 4713 BC to 5874897 AD", bytes(4), "-infinity, infinity"),
    (CqlType("timestamp"), "plain", "outside of 4713 BC to 294276 AD", b"\x7f" + bytes(7), "-infinity, infinity"),
    (CqlType("time"), "plain", "nanoseconds", bytes(7) + b"\x01", "cut to microseconds"),
    (CqlType("duration"), "plain", "nanoseconds", b"\x00\x00\x02", "cut to microseconds"),
    (CqlType("decimal"), "plain", "a negative scale (1E+3)", b"\xff\xff\xff\xfd\x01", "the plain number"),
    (CqlType("decimal"), "plain", "beyond 4,200 digits or 16,383 places", b"\x00\x00\x40\x00\x01", "NULL"),
    (CqlType("varint"), "plain", "beyond 4,200 digits", b"\x01" * 1751, "NULL"),
    (CqlType("varint"), "plain", "bytes before the number that say nothing", b"\x00\x01", "the number"),
    (_INT, "plain", "an empty value, also of any other type but text, ascii and blob", b"", "NULL"),
    (_LIST, "array", "any element that is inexact by itself", b"\0\0\0\1\0\0\0\2a\0", "as by itself, or null"),
    (_LIST, "jsonb", "U+0000 in text", b"\0\0\0\1\0\0\0\2a\0", "U+FFFD in its place"),
    (
        CqlType("list", (_INT,), frozen=True),
        "jsonb",
        "an empty value of any type but text, ascii and blob",
        b"\0\0\0\1\0\0\0\0",
        "null",
    ),
    (
        CqlType("vector", (CqlType("float"),), frozen=True, dimension=1),
        "jsonb",
        "the negative zero, a decimal with a negative scale",
        b"\x80\0\0\0",
        "the number without it",
    ),
    (
        CqlType("list", (CqlType("varint"),), frozen=True),
        "jsonb",
        "a number beyond 131,072 digits or 16,383 places; two keys of a map that become one text",
        b"\0\0\0\1\0\1\0\0" + b"\1" * 65_536,
        "NULL",
    ),
    (_ADDRESS, "composite", "any field that is inexact by itself", b"\0\0\0\0", "as by itself, or null"),
    (_LIST, "text", "bytes that are no value of the type", b"\0", "NULL"),
    (CqlType("time"), "bigint", "an empty value", b"", "NULL"),
    (
        CqlType("vector", (CqlType("float"),), frozen=True, dimension=1),
        "vector",
        "an element that is NaN or infinite",
        b"\x7f\xc0\0\0",
        "NULL",
    ),
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
        "What each type of Cassandra becomes, and what else it may be. What is *shown* where it is not the value",
        "itself is counted and kept (see Inexact values).",
        "",
        "| CQL type | PostgreSQL type | may be | shown, if not the value | `key: auto` | natural key |",
        "|---|---|---|---|---|---|",
    ]
    for name in sorted(SIMPLE_TYPES - {"empty"}):
        lines.append(_line(CqlType(name), _NOTES.get(name, "")))
    for type_, note in _COMPOSED:
        lines.append(_line(type_, note))
    inexact = "\n".join(_inexact_line(*each) for each in _INEXACT)
    return "\n".join([*lines, "", _FORMS, f"{_POLICIES}{inexact}\n", _KEYS])


def _line(type_: CqlType, note: str) -> str:
    pg_type = map_column(type_)
    codec_for(type_, pg_type)
    others = ", ".join(f"`{form}`" for form in allowed_forms(type_) if form != pg_type.form)
    return f"| `{type_.cql()}` | `{pg_type.name}` | {others} | {note} | {_as_key(type_)} |"


def _inexact_line(type_: CqlType, form: Form, what: str, sample: bytes, shown: str) -> str:
    """A line of the table of inexact values; InvariantError when the codec disagrees with it."""
    codec = codec_for(type_, map_column_as(type_, form, "s"))
    near = codec.show(sample)
    if codec.encode(sample) is not None or codec.says_all(sample) or (near is None) != (shown == "NULL"):
        raise InvariantError("reference_wrong", f"{type_.cql()} as {form}: {what}")
    stored = "what is shown" if near is not None else "that there was a value"
    name = map_column_as(type_, form, "s").name if form == "plain" else form
    return f"| {_family(type_)} | `{name}` | {what} | {shown} | {stored if codec.reads_back else 'as `keep`'} |"


def _family(type_: CqlType) -> str:
    """The type; for composed ones all types of the kind."""
    words = {"list": "lists, sets, vectors", "udt": "UDTs", "vector": "`vector<float, n>`"}
    return words.get(type_.name, f"`{type_.cql()}`")


def _as_key(type_: CqlType) -> str:
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
