"""One serialization for all values that Cassandra holds to be equal: in clusterings, set elements and map keys.

Invariant: `canonical_of(t).of(a) == canonical_of(t).of(b)` exactly if `order_key(t)(a) == order_key(t)(b)`; the result
is itself a value of the type that equals what it was made of. Types of which equal values have equal bytes have none.

Sources: `compareCustom` of DecimalType (1.0 and 1.00), IntegerType (padding), FloatType and DoubleType (every NaN; -0.0
and 0.0 differ), BooleanType (any byte but 0), TupleType (trailing nulls), and of the types that nest them.
"""

from __future__ import annotations

from casscade.core.errors import BadDataError
from casscade.core.keys import Canonical, canonical_decimal
from casscade.cql.elements import (
    join_collection,
    join_tuple,
    join_vector,
    split_collection,
    split_tuple,
    split_vector,
)
from casscade.cql.types import CqlType


class DecimalCanonical(Canonical):
    """Without trailing zeros."""

    def of(self, value: bytes) -> bytes:
        return canonical_decimal(value)


class VarintCanonical(Canonical):
    """Without padding."""

    def of(self, value: bytes) -> bytes:
        first = 0
        last = len(value) - 1
        while first < last and value[first] == (0xFF if value[first + 1] & 0x80 else 0):
            first += 1
        return value[first:] if first else value


class BooleanCanonical(Canonical):
    """1 for true."""

    def of(self, value: bytes) -> bytes:
        return b"\x01" if len(value) == 1 and value != b"\x00" else value


class FloatCanonical(Canonical):
    """Java's own NaN for every NaN; `infinity` is the positive infinity of the type, big-endian."""

    def __init__(self, infinity: bytes, nan: bytes) -> None:
        self.infinity: bytes = infinity
        self.nan: bytes = nan

    def of(self, value: bytes) -> bytes:
        if len(value) != len(self.infinity):
            return value
        return self.nan if bytes((value[0] & 0x7F,)) + value[1:] > self.infinity else value


class CollectionCanonical(Canonical):
    """Frozen list, set and map: part by part."""

    def __init__(self, name: str, parts: list[Canonical | None]) -> None:
        self.name: str = name
        self.parts: list[Canonical | None] = parts

    def of(self, value: bytes) -> bytes:
        each = len(self.parts)
        try:
            found = split_collection(value, each, self.name)
        except BadDataError:
            return value
        return join_collection([_part(self.parts[i % each], part) for i, part in enumerate(found)], each, self.name)


class FieldsCanonical(Canonical):
    """tuple and frozen UDT: field by field, without nulls at the end."""

    def __init__(self, name: str, fields: list[Canonical | None]) -> None:
        self.name: str = name
        self.fields: list[Canonical | None] = fields

    def of(self, value: bytes) -> bytes:
        try:
            found = split_tuple(value, len(self.fields), self.name)
        except BadDataError:
            return value
        # One null stays: without any byte it would be the empty value, which is another one.
        while len(found) > 1 and found[-1] is None:
            found.pop()
        return join_tuple([_part(self.fields[i], part) for i, part in enumerate(found)], self.name)


class VectorCanonical(Canonical):
    """vector: element by element."""

    def __init__(self, dimension: int, element_length: int, element: Canonical) -> None:
        self.dimension: int = dimension
        self.element_length: int = element_length
        self.element: Canonical = element

    def of(self, value: bytes) -> bytes:
        try:
            found = split_vector(value, self.dimension, self.element_length)
        except BadDataError:
            return value
        return join_vector([self.element.of(part) for part in found], self.element_length)


def _part(canonical: Canonical | None, value: bytes | None) -> bytes | None:
    return value if canonical is None or value is None else canonical.of(value)


def canonical_of(type_: CqlType) -> Canonical | None:
    """The canonical serialization of a simple or frozen type; None where equal values have equal bytes."""
    name = type_.name
    if name == "decimal":
        return DecimalCanonical()
    if name == "varint":
        return VarintCanonical()
    if name == "boolean":
        return BooleanCanonical()
    if name == "float":
        return FloatCanonical(b"\x7f\x80\x00\x00", b"\x7f\xc0\x00\x00")
    if name == "double":
        return FloatCanonical(b"\x7f\xf0" + bytes(6), b"\x7f\xf8" + bytes(6))
    parts = [canonical_of(arg) for arg in type_.args]
    if name in ("tuple", "udt"):
        return FieldsCanonical(name, parts)
    if all(part is None for part in parts):
        return None
    if name in ("list", "set", "map"):
        return CollectionCanonical(name, parts)
    element = parts[0]
    assert element is not None
    return VectorCanonical(type_.dimension, type_.args[0].fixed_length, element)
