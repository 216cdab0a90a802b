"""UDTs as PostgreSQL's composite types.

Invariant: as for every codec, what `encode` returns `decode` turns back into exactly the bytes it came from; a UDT
that is shorter than its type (written before a field was added) is shown with nulls and keeps its bytes.

A composite value in binary: int32 count of fields, then uint32 type, int32 length (-1: null) and bytes of each
(`record_recv`).
"""

from __future__ import annotations

import struct
from typing import Final

from casscade.core.errors import BadDataError
from casscade.cql.elements import join_tuple, split_tuple
from casscade.load.transcode import Codec

_NULL: Final = b"\xff\xff\xff\xff"
_INT: Final = struct.Struct(">i")


class CompositeCodec(Codec):
    """A UDT, field by field; `oids` are the numbers of the fields' types."""

    def __init__(self, fields: list[Codec], oids: list[int]) -> None:
        self.fields: list[Codec] = fields
        for codec in fields:
            if not codec.reads_back:
                self.reads_back = False
        self.count: bytes = len(fields).to_bytes(4, "big")
        self.oids: list[bytes] = [oid.to_bytes(4, "big") for oid in oids]

    def encode(self, value: bytes) -> bytes | None:
        parts = self._split(value)
        if parts is None or len(parts) != len(self.fields):
            return None
        nulls = False
        out: list[bytes] = [self.count]
        for index in range(len(parts)):
            part = parts[index]
            out.append(self.oids[index])
            if part is None:
                nulls = True
                out.append(_NULL)
                continue
            field = self.fields[index].encode(part)
            if field is None:
                return None
            out.append(len(field).to_bytes(4, "big"))
            out.append(field)
        if nulls and join_tuple(parts, "udt") != value:
            return None
        return b"".join(out)

    def show(self, value: bytes) -> bytes | None:
        parts = self._split(value)
        if parts is None:
            return None
        out: list[bytes] = [self.count]
        for index in range(len(self.fields)):
            field: bytes | None = None
            part = parts[index] if index < len(parts) else None
            if part is not None:
                codec = self.fields[index]
                field = codec.encode(part)
                if field is None:
                    field = codec.show(part)
            out.append(self.oids[index])
            if field is None:
                out.append(_NULL)
            else:
                out.append(len(field).to_bytes(4, "big"))
                out.append(field)
        return b"".join(out)

    def says_all(self, value: bytes) -> bool:
        parts = self._split(value)
        if parts is None:
            return False
        for index in range(len(parts)):
            part = parts[index]
            if part is not None:
                codec = self.fields[index]
                if codec.encode(part) is None and not codec.says_all(part):
                    return False
        return True

    def decode(self, field: bytes) -> bytes:
        parts: list[bytes | None] = []
        offset = 4
        for codec in self.fields:
            length: int = _INT.unpack_from(field, offset + 4)[0]
            offset += 8
            if length < 0:
                parts.append(None)
                continue
            parts.append(codec.decode(field[offset : offset + length]))
            offset += length
        return join_tuple(parts, "udt")

    def _split(self, value: bytes) -> list[bytes | None] | None:
        if not value:
            return None
        try:
            return split_tuple(value, len(self.fields), "udt")
        except BadDataError:
            return None
