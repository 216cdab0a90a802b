"""Values as JSON text for PostgreSQL's jsonb, written straight from their bytes.

Invariant: the text is valid JSON that jsonb accepts and that keeps every number's digits; what jsonb cannot hold
raises `BadDataError` (`nul_in_json`, `number_out_of_range`), as do bytes that are no value (`value_malformed`).

- list, set, tuple, vector: array, in stored order; null fields and missing trailing fields of a tuple are null
- map: object; a key is the text of its value (`casscade.cql.text.to_text`), a nested key its JSON text
- UDT: object by field name, with all fields
- integers, varint, decimal, counter: number with all digits; float and double: shortest number that reads back to the
  same bits, or the strings "NaN", "Infinity", "-Infinity"
- boolean: true, false; all other types: string, in the form of `casscade.cql.scalar_text`
- the empty value of a type other than text, ascii, blob and custom: null
"""

from __future__ import annotations

from functools import lru_cache
from json.encoder import encode_basestring
from typing import Final

from casscade.cql.elements import split_collection, split_tuple, split_vector
from casscade.cql.faults import malformed, nul_in_json, number_out_of_range
from casscade.cql.scalar_text import SCALAR_TEXTS, TextFunction, varint_text
from casscade.cql.scalars import EXACT, decode_decimal
from casscade.cql.types import CqlType
from casscade.cql.values import EMPTY_IS_A_VALUE, TYPE_CACHE_SIZE

_PLAIN: Final = frozenset({"tinyint", "smallint", "int", "bigint", "counter", "boolean"})
_STRINGS: Final = frozenset({"text", "ascii"})
# The limits of PostgreSQL's numeric, which holds the numbers of jsonb.
_MAX_INTEGER_DIGITS: Final = 131_072
_MAX_SCALE: Final = 16_383


def to_json(cql_type: CqlType, data: bytes, *, nul_replacement: str | None = None) -> str:
    """The JSON text of value bytes.

    jsonb cannot hold U+0000: with `nul_replacement` None it raises `BadDataError` (`nul_in_json`), otherwise each is
    replaced; if two keys of a map then have one text, it raises `value_malformed`. A loop takes `json_writer` once
    instead.
    """
    return json_writer(cql_type, nul_replacement)(data)


@lru_cache(maxsize=TYPE_CACHE_SIZE)
def json_writer(cql_type: CqlType, nul_replacement: str | None = None) -> TextFunction:
    """The function from value bytes of `cql_type` to JSON text."""
    name = cql_type.name
    if name in _STRINGS:
        return _string_writer(name, nul_replacement)
    inner = _inner_writer(cql_type, nul_replacement)
    if name in EMPTY_IS_A_VALUE:
        return inner
    return lambda data: inner(data) if data else "null"


def _inner_writer(cql_type: CqlType, nul_replacement: str | None) -> TextFunction:
    name = cql_type.name
    if name in ("list", "set"):
        return _array_writer(name, json_writer(cql_type.args[0], nul_replacement))
    if name == "map":
        return _map_writer(cql_type, nul_replacement)
    if name == "vector":
        return _vector_writer(cql_type, nul_replacement)
    if name == "tuple":
        return _tuple_writer(cql_type, nul_replacement)
    if name == "udt":
        return _udt_writer(cql_type, nul_replacement)
    if name == "empty":
        return lambda _data: "null"
    if name in _PLAIN:
        return SCALAR_TEXTS[name]
    if name in ("float", "double"):
        return _float_writer(SCALAR_TEXTS[name])
    if name == "decimal":
        return _json_decimal
    if name == "varint":
        return _json_varint
    text = SCALAR_TEXTS[name]
    return lambda data: f'"{text(data)}"'


def _text_without_nul(name: str, nul_replacement: str | None) -> TextFunction:
    decode = SCALAR_TEXTS[name]

    def text_without_nul(data: bytes) -> str:
        text = decode(data)
        if "\x00" in text:
            if nul_replacement is None:
                raise nul_in_json(name)
            return text.replace("\x00", nul_replacement)
        return text

    return text_without_nul


def _string_writer(name: str, nul_replacement: str | None) -> TextFunction:
    text = _text_without_nul(name, nul_replacement)
    return lambda data: encode_basestring(text(data))


def _float_writer(text: TextFunction) -> TextFunction:
    def write_float(data: bytes) -> str:
        number = text(data)
        return f'"{number}"' if number[-1] in "Ny" else number

    return write_float


def _json_decimal(data: bytes) -> str:
    number = decode_decimal(data)
    scale = int.from_bytes(data[:4], "big", signed=True)
    if not number and scale < 0:
        return "0"
    if scale > _MAX_SCALE or number.adjusted() >= _MAX_INTEGER_DIGITS:
        raise number_out_of_range("decimal")
    return EXACT.to_sci_string(number)


def _json_varint(data: bytes) -> str:
    text = varint_text(data)
    if len(text.lstrip("-")) > _MAX_INTEGER_DIGITS:
        raise number_out_of_range("varint")
    return text


def _array_writer(name: str, element: TextFunction) -> TextFunction:
    def write_array(data: bytes) -> str:
        parts = split_collection(data, 1, name)
        return "[" + ",".join(["null" if part is None else element(part) for part in parts]) + "]"

    return write_array


def _vector_writer(cql_type: CqlType, nul_replacement: str | None) -> TextFunction:
    element = json_writer(cql_type.args[0], nul_replacement)
    dimension, length = cql_type.dimension, cql_type.args[0].fixed_length

    def write_vector(data: bytes) -> str:
        return "[" + ",".join([element(part) for part in split_vector(data, dimension, length)]) + "]"

    return write_vector


def _key_writer(cql_type: CqlType, nul_replacement: str | None) -> TextFunction:
    if cql_type.name in _STRINGS:
        return _string_writer(cql_type.name, nul_replacement)
    text = SCALAR_TEXTS.get(cql_type.name)
    if text is None:
        nested = json_writer(cql_type, nul_replacement)
        return lambda data: encode_basestring(nested(data))
    scalar = text
    if cql_type.name in EMPTY_IS_A_VALUE:
        return lambda data: f'"{scalar(data)}"'
    return lambda data: f'"{scalar(data)}"' if data else '""'


def _map_writer(cql_type: CqlType, nul_replacement: str | None) -> TextFunction:
    key = _key_writer(cql_type.args[0], nul_replacement)
    value = json_writer(cql_type.args[1], nul_replacement)

    def write_map(data: bytes) -> str:
        parts = split_collection(data, 2, "map")
        keys = ['""' if part is None else key(part) for part in parts[::2]]
        if nul_replacement is not None and len(set(keys)) < len(keys):
            raise malformed("map", data, "two of its keys have one text")
        values = ["null" if part is None else value(part) for part in parts[1::2]]
        return "{" + ",".join([f"{k}:{v}" for k, v in zip(keys, values, strict=True)]) + "}"

    return write_map


def _fields(cql_type: CqlType, nul_replacement: str | None) -> list[TextFunction]:
    return [json_writer(arg, nul_replacement) for arg in cql_type.args]


def _tuple_writer(cql_type: CqlType, nul_replacement: str | None) -> TextFunction:
    writers = _fields(cql_type, nul_replacement)
    count = len(writers)

    def write_tuple(data: bytes) -> str:
        parts = split_tuple(data, count, "tuple")
        texts = ["null"] * count
        for i, part in enumerate(parts):
            if part is not None:
                texts[i] = writers[i](part)
        return "[" + ",".join(texts) + "]"

    return write_tuple


def _udt_writer(cql_type: CqlType, nul_replacement: str | None) -> TextFunction:
    writers = _fields(cql_type, nul_replacement)
    count = len(writers)
    names = [encode_basestring(name) + ":" for name in cql_type.field_names]

    def write_udt(data: bytes) -> str:
        parts = split_tuple(data, count, "udt")
        texts = [name + "null" for name in names]
        for i, part in enumerate(parts):
            if part is not None:
                texts[i] = names[i] + writers[i](part)
        return "{" + ",".join(texts) + "}"

    return write_udt
