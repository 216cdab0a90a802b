"""Binary fields in and out of psycopg without converting them.

Invariant: what is read as a field can be sent back as a field of the same type, byte for byte.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import Connection, Cursor
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format


class Raw(bytes):
    """A field in PostgreSQL's binary format; the server takes its type from where it is used."""


class _RawDumper(Dumper):
    format = Format.BINARY
    oid = 0

    def dump(self, obj: Any) -> Buffer | None:
        return bytes(obj)


def register(connection: Connection[Any]) -> None:
    """Teach a connection to send `Raw` parameters."""
    connection.adapters.register_dumper(Raw, _RawDumper)


def int8(value: int) -> Raw:
    """A bigint field."""
    return Raw((value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big"))


def bytea_array(values: Sequence[bytes]) -> Raw:
    """A bytea[] parameter, many times quicker than one of which psycopg dumps each element."""
    return _array(17, [len(value).to_bytes(4, "big") + value for value in values])


def int8_array(values: Sequence[int]) -> Raw:
    """A bigint[] parameter."""
    return _array(20, [b"\x00\x00\x00\x08" + int8(value) for value in values])


def _array(element_oid: int, elements: list[bytes]) -> Raw:
    if not elements:
        return Raw(struct.pack(">iiI", 0, 0, element_oid))
    return Raw(struct.pack(">iiIii", 1, 0, element_oid, len(elements), 1) + b"".join(elements))


def fields(cursor: Cursor[Any]) -> Iterator[list[bytes | None]]:
    """The rows of a result that was asked for in binary, as lists of fields."""
    result = cursor.pgresult
    if result is None:
        return
    columns = range(result.nfields)
    for row in range(result.ntuples):
        yield [result.get_value(row, column) for column in columns]
