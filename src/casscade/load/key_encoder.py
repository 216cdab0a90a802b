"""The key columns of a staged row, natural or exact.

Invariant: rows with different keys have different fields in the columns of the primary key, or are refused
(BadDataError): see `casscade.schema.key_form`.
"""

from __future__ import annotations

from typing import Final

from casscade.core.errors import BadDataError
from casscade.core.keys import (
    KEY_FIELD_BYTES_MAX,
    canonical_key,
    key_field,
    pack_values,
    split_partition_key,
    unpack_values,
)
from casscade.core.mutation import Row
from casscade.load.layout import RowLayout

NULL: Final = b"\xff\xff\xff\xff"
LENGTHS: Final = [length.to_bytes(4, "big") for length in range(1024)]
"""The length of a field as COPY writes it, for the many that are short."""

# Of the columns that show an exact key and are in an index: its entries have 2,704 bytes at most, of which padding and
# lengths of 32 columns take up to 400. What does not fit in is shown as NULL.
_SHOWN_KEY_BYTES_MAX: Final = 2000


def put_field(out: list[bytes], field: bytes | None) -> None:
    """Append a field with its length; None for NULL."""
    if field is None:
        out.append(NULL)
        return
    length = len(field)
    out.append(LENGTHS[length] if length < 1024 else length.to_bytes(4, "big"))
    out.append(field)


class KeyEncoder:
    """Appends the key columns of rows of one target."""

    def __init__(self, layout: RowLayout) -> None:
        self.layout: RowLayout = layout

    def put(self, out: list[bytes], partition_key: bytes, row: Row) -> None:
        """Append the key of `row`; raises BadDataError for one that PostgreSQL can't hold."""
        layout = self.layout
        if layout.exact:
            self._put_exact(out, partition_key, row)
            return
        position = 0
        for value in split_partition_key(partition_key, layout.partition_columns):
            put_field(out, self._natural_field(position, value))
            position += 1
        if not layout.static:
            for clustering_value in row.clustering:
                put_field(out, self._natural_field(position, clustering_value))
                position += 1
        if position != len(layout.keys):
            raise _malformed_key()

    def _natural_field(self, position: int, value: bytes | None) -> bytes:
        field = None if value is None else self.layout.keys[position].encode(value)
        if field is None:
            raise BadDataError(
                "key_not_representable",
                f"Key column {position + 1} has a value that PostgreSQL can't hold exactly, so two keys could collide",
                now="the row is set aside as a dead letter, the others go on",
                hint="set key: exact for this table in the configuration; docs/types.md lists such values",
            )
        return field

    def _put_exact(self, out: list[bytes], partition_key: bytes, row: Row) -> None:
        """The exact key, then what shows it (see `schema.key_form`)."""
        layout = self.layout
        packed = b""
        clustering: list[bytes | None] = []
        put_field(out, key_field(partition_key))
        if layout.exact_fields == 3:
            if layout.loose_clusterings:
                packed = canonical_key(row.clustering, layout.loose_clusterings)
                clustering = unpack_values(packed)
            else:
                packed = pack_values(row.clustering)
                clustering = row.clustering
            put_field(out, key_field(packed))
        is_long = len(partition_key) > KEY_FIELD_BYTES_MAX or len(packed) > KEY_FIELD_BYTES_MAX
        put_field(out, pack_values([partition_key, packed]) if is_long else None)
        shown: list[bytes | None] = list(split_partition_key(partition_key, layout.partition_columns))
        shown += clustering
        if len(shown) != len(layout.keys):
            raise _malformed_key()
        room = _SHOWN_KEY_BYTES_MAX
        for position, value in enumerate(shown):
            field: bytes | None = None
            if value is not None:
                codec = layout.keys[position]
                field = codec.encode(value)
                if field is None:
                    field = codec.show(value)
            if field is not None and layout.indexed[position]:
                if len(field) > room:
                    field = None
                else:
                    room -= len(field)
            put_field(out, field)


def _malformed_key() -> BadDataError:
    return BadDataError("key_malformed", "A key has another number of columns than its table")
