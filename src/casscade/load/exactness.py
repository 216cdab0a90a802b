"""Whether JSON or text says all of a composed value: what the row's state has to keep beside it, and what is counted.

Invariant: two values for which this says yes and which CQL shows differently have different JSON. (A tuple or UDT
without its last fields looks like one in which they are null, as it does in CQL.)
"""

from __future__ import annotations

from typing import Final

from casscade.cql.elements import split_collection, split_tuple, split_vector
from casscade.cql.types import CqlType
from casscade.cql.values import EMPTY_IS_A_VALUE

_TEXTS: Final = frozenset({"ascii", "text"})
_FLOATS: Final = frozenset({"double", "float"})


def says_all(type_: CqlType, value: bytes, *, numbers: bool) -> bool:
    """Whether nothing in `value`, which has a JSON form, is lost in it.

    Lost are empty values of types other than text and blob, which become null. With `numbers` the JSON goes into
    jsonb, where numbers have no sign at 0 and no negative scale, and text no U+0000. Raises BadDataError for bytes
    that are no value of the type.
    """
    if not value and type_.name not in EMPTY_IS_A_VALUE:
        return False
    if type_.name in _TEXTS:
        return not numbers or b"\x00" not in value
    if type_.name in _FLOATS:
        return not numbers or value[0] != 0x80 or value.count(0) != len(value) - 1
    if type_.name == "decimal":
        return not numbers or value[0] < 0x80
    if not type_.args:
        return True
    types, parts = _parts(type_, value)
    if type_.name == "map":
        keys = all(part is None or _key_says_all(types[0], part, numbers=numbers) for part in parts[::2])
        return keys and all(part is None or says_all(types[1], part, numbers=numbers) for part in parts[1::2])
    pairs = zip(types * len(parts) if len(types) == 1 else types, parts, strict=False)
    return all(part is None or says_all(inner, part, numbers=numbers) for inner, part in pairs)


def _key_says_all(type_: CqlType, value: bytes, *, numbers: bool) -> bool:
    """A key is text: simple ones have all of their value in it, U+0000 apart."""
    if type_.args:
        return says_all(type_, value, numbers=numbers)
    return type_.name not in _TEXTS or not numbers or b"\x00" not in value


def _parts(type_: CqlType, value: bytes) -> tuple[tuple[CqlType, ...], list[bytes | None]]:
    if type_.name == "vector":
        return type_.args, list(split_vector(value, type_.dimension, type_.args[0].fixed_length))
    if type_.name in ("tuple", "udt"):
        return type_.args, split_tuple(value, len(type_.args), type_.name)
    return type_.args, split_collection(value, len(type_.args), type_.name)
