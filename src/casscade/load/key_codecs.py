"""Codecs of the columns of a natural key, where equality decides: two keys of Cassandra must never become one.

Invariant: a key codec refuses (None) every value that PostgreSQL would hold to be equal to another one, unless
Cassandra does so too.
"""

from __future__ import annotations

from typing import Final

from casscade.core.errors import InvariantError
from casscade.core.keys import Canonical, canonical_decimal
from casscade.cql.canonical import canonical_of
from casscade.cql.types import CqlType
from casscade.load.codecs import simple_codec
from casscade.load.numeric import DecimalCodec
from casscade.load.transcode import Codec, FixedCodec
from casscade.schema.key_form import can_be_natural

_FLOATS: Final = {"double": 8, "float": 4}


class FloatKeyCodec(FixedCodec):
    """float and double in keys: for PostgreSQL -0 equals 0, and NaN every NaN; -0 is refused, and all NaNs but one."""

    def __init__(self, length: int, nan: Canonical) -> None:
        super().__init__(length)
        self.nan: Canonical = nan

    def encode(self, value: bytes) -> bytes | None:
        if len(value) != self.length or value == b"\x80" + bytes(self.length - 1):
            return None
        return value if self.nan.of(value) == value else None


class DecimalKeyCodec(DecimalCodec):
    """decimal in a partition key: PostgreSQL holds 1.0 and 1.00 to be equal, for Cassandra they are two partitions."""

    def encode(self, value: bytes) -> bytes | None:
        ambiguous = value[:4] != bytes(4) and int.from_bytes(value[4:], "big", signed=True) % 10 == 0
        return None if ambiguous else super().encode(value)


class CanonicalKeyCodec(Codec):
    """A clustering column of a type of which equal values may differ in their bytes: the canonical bytes are taken."""

    def __init__(self, codec: Codec, canonical: Canonical) -> None:
        self.codec: Codec = codec
        self.canonical: Canonical = canonical

    def encode(self, value: bytes) -> bytes | None:
        field = self.codec.encode(value)
        return self.codec.encode(self.canonical.of(value)) if field is None else field

    def decode(self, field: bytes) -> bytes:
        return self.codec.decode(field)


class WholeDecimalCodec(DecimalCodec):
    """decimal in a clustering: 1E+3 is the same row as 1000."""

    def encode(self, value: bytes) -> bytes | None:
        field = super().encode(value)
        if field is not None or len(value) < 5:
            return field
        value = canonical_decimal(value)
        return self.show(value) if value[0] & 0x80 else super().encode(value)


def key_codec_for(type_: CqlType, *, partition_key: bool = False) -> Codec:
    """The codec of a column of a natural key.

    Raises InvariantError for a type that can't be natural (`casscade.schema.key_form` refuses it before).
    """
    if not can_be_natural(type_):
        raise InvariantError("codec_missing", f"No codec for {type_.cql()} in a natural key")
    if type_.name == "decimal":
        return DecimalKeyCodec() if partition_key else WholeDecimalCodec()
    canonical = canonical_of(type_)
    if canonical is None:
        return simple_codec(type_)
    length = _FLOATS.get(type_.name)
    codec = simple_codec(type_) if length is None else FloatKeyCodec(length, canonical)
    return codec if partition_key else CanonicalKeyCodec(codec, canonical)
