"""`docs/types.md`: what each CQL type becomes in PostgreSQL, made from the mapping itself.

Invariant: a type that `schema.pg_types` or `load.codecs` does not know can't be in the table, and every simple type is.
"""

from __future__ import annotations

from typing import Final

from casscade.core.errors import ConfigurationError
from casscade.cql.types import SIMPLE_TYPES, CqlType
from casscade.load.codecs import codec_for
from casscade.load.key_codecs import key_codec_for
from casscade.schema.pg_types import map_column

_INT: Final = CqlType("int")
_TEXT: Final = CqlType("text")
_NOTES: Final = {
    "ascii": "U+0000 becomes U+FFFD",
    "boolean": "any byte but 0 and 1 becomes true",
    "date": "outside of 4713 BC to 5874897 AD: infinity or -infinity",
    "decimal": "a negative scale (1E+3) becomes the plain number; beyond 4,200 digits or 16,383 places: NULL",
    "duration": "nanoseconds are cut to microseconds",
    "text": "U+0000 becomes U+FFFD",
    "time": "nanoseconds are cut to microseconds",
    "timestamp": "outside of 4713 BC to 294276 AD: infinity or -infinity",
    "varint": "beyond 4,200 digits: NULL",
}
_KEY_NOTES: Final = {
    "decimal": "in a partition key, values that end in 0 behind the point are set aside (1.0 and 1.00 are two keys)",
    "double": "-0 is set aside",
    "float": "-0 is set aside",
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
        "(zero bytes) of a type other than text, ascii and blob is shown as NULL. In a *key*, a value that is not held",
        "exactly would let two keys collide: such a row is set aside as a dead letter with the code",
        "`key_not_representable`.",
        "",
        "| CQL type | PostgreSQL type | shown, where it is not the value itself | as a key |",
        "|---|---|---|---|",
    ]
    for name in sorted(SIMPLE_TYPES - {"empty", "counter"}):
        lines.append(_line(CqlType(name), _NOTES.get(name, "")))
    for type_, note in _COMPOSED:
        lines.append(_line(type_, note))
    lines += ["", 'Counters, and keys of the types without a "yes", are refused at start in this version.', ""]
    return "\n".join(lines)


def _line(type_: CqlType, note: str) -> str:
    pg_type = map_column(type_).name
    if not type_.multi_cell:
        codec_for(type_, pg_type)
    return f"| `{type_.cql()}` | `{pg_type}` | {note} | {_as_key(type_, pg_type)} |"


def _as_key(type_: CqlType, pg_type: str) -> str:
    if type_.name == "duration" or type_.multi_cell:
        return "not in Cassandra"
    try:
        key_codec_for(type_, pg_type)
    except ConfigurationError:
        return "no"
    note = _KEY_NOTES.get(type_.name, "")
    return f"yes; {note}" if note else "yes"


if __name__ == "__main__":
    print(render(), end="")
