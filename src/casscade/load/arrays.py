"""Lists, sets and vectors of simple elements as PostgreSQL's arrays, and vectors as pgvector's type.

Invariant: as for every codec, what `encode` returns `decode` turns back into exactly the bytes it came from. An array
is encoded when each element is; else `show` puts the nearest thing in the place of each element that is not, or null.

An array in binary: int32 dimensions (0 for an empty one), int32 whether it has nulls, uint32 type of the elements,
then int32 count and int32 first index, then int32 length (-1: null) and bytes of each element (`array_recv`). A
pgvector: int16 dimension, int16 0, then its float4s, which must be finite (`vector_recv`).
"""

from __future__ import annotations

import struct
from typing import Final

from casscade.core.errors import BadDataError
from casscade.cql.elements import join_collection, join_vector, split_collection, split_vector
from casscade.load.transcode import Codec

_NULL: Final = b"\xff\xff\xff\xff"
_HEAD: Final = struct.Struct(">iiIii")
_EMPTY: Final = struct.Struct(">iiI")
_COUNT: Final = struct.Struct(">i")


class ArrayCodec(Codec):
    """A list, a set (`dimension` 0) or a vector; `fixed_length` is that of a vector's elements, -1 for none."""

    def __init__(self, element: Codec, element_oid: int, dimension: int = 0, fixed_length: int = -1) -> None:
        self.element: Codec = element
        self.oid: int = element_oid
        self.dimension: int = dimension
        self.fixed_length: int = fixed_length

    def encode(self, value: bytes) -> bytes | None:
        parts = self._split(value)
        if parts is None:
            return None
        element = self.element
        nulls = False
        fields: list[bytes | None] = []
        for part in parts:
            if part is None:
                nulls = True
                fields.append(None)
                continue
            field = element.encode(part)
            if field is None:
                return None
            fields.append(field)
        # a null or the length before an element can be written in several ways, of which only one comes back
        if (nulls or (self.dimension and self.fixed_length < 0)) and self._join(parts) != value:
            return None
        return self._field(fields)

    def show(self, value: bytes) -> bytes | None:
        parts = self._split(value)
        if parts is None:
            return None
        element = self.element
        fields: list[bytes | None] = []
        for part in parts:
            field: bytes | None = None
            if part is not None:
                field = element.encode(part)
                if field is None:
                    field = element.show(part)
            fields.append(field)
        return self._field(fields)

    def decode(self, field: bytes) -> bytes:
        parts: list[bytes | None] = []
        if int.from_bytes(field[:4], "big"):
            element = self.element
            count = int.from_bytes(field[12:16], "big")
            offset = 20
            for _ in range(count):
                length: int = _COUNT.unpack_from(field, offset)[0]
                offset += 4
                if length < 0:
                    parts.append(None)
                    continue
                parts.append(element.decode(field[offset : offset + length]))
                offset += length
        return self._join(parts)

    def _split(self, value: bytes) -> list[bytes | None] | None:
        try:
            if not self.dimension:
                return split_collection(value, 1, "list")
            elements: list[bytes | None] = []
            elements.extend(split_vector(value, self.dimension, self.fixed_length))
            return elements
        except BadDataError:
            return None

    def _join(self, parts: list[bytes | None]) -> bytes:
        if not self.dimension:
            return join_collection(parts, 1, "list")
        return join_vector([b"" if part is None else part for part in parts], self.fixed_length)

    def _field(self, fields: list[bytes | None]) -> bytes:
        if not fields:
            return _EMPTY.pack(0, 0, self.oid)
        out: list[bytes] = [_HEAD.pack(1, 1 if None in fields else 0, self.oid, len(fields), 1)]
        for field in fields:
            if field is None:
                out.append(_NULL)
            else:
                out.append(len(field).to_bytes(4, "big"))
                out.append(field)
        return b"".join(out)


class PgvectorCodec(Codec):
    """vector<float, n> as pgvector's vector(n), which has no NaN and no infinity: such a vector is shown as NULL."""

    def __init__(self, dimension: int) -> None:
        self.dimension: int = dimension
        self.head: bytes = struct.pack(">HH", dimension, 0)

    def encode(self, value: bytes) -> bytes | None:
        if len(value) != 4 * self.dimension:
            return None
        for offset in range(0, len(value), 4):
            # all bits of the exponent are set: infinite, or not a number
            if value[offset] & 0x7F == 0x7F and value[offset + 1] & 0x80:
                return None
        return self.head + value

    def decode(self, field: bytes) -> bytes:
        return field[4:]
