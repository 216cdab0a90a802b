"""Codecs of key columns, where equality decides: two keys of Cassandra must never become one in PostgreSQL.

Invariant: a key codec refuses (None) every value that PostgreSQL would hold to be equal to another one.
"""

from __future__ import annotations

from typing import Final

from casscade.core.errors import ConfigurationError
from casscade.cql.types import CqlType
from casscade.load.codecs import codec_for
from casscade.load.numeric import DecimalCodec
from casscade.load.transcode import Codec, FixedCodec

_FLOATS: Final = {"double": 8, "float": 4}


class FloatKeyCodec(FixedCodec):
    """float and double as keys: PostgreSQL holds -0 and 0, and all NaNs, to be equal, Cassandra does not."""

    def encode(self, value: bytes) -> bytes | None:
        if len(value) != self.length or value == b"\x80" + bytes(self.length - 1):
            return None
        return value


class DecimalKeyCodec(DecimalCodec):
    """decimal in a partition key: PostgreSQL holds 1.0 and 1.00 to be equal, for Cassandra they are two partitions.

    (In a clustering they are one row for both, see `casscade.core.keys.canonical_key`.)
    """

    def encode(self, value: bytes) -> bytes | None:
        ambiguous = value[:4] != bytes(4) and int.from_bytes(value[4:], "big", signed=True) % 10 == 0
        return None if ambiguous else super().encode(value)


def key_codec_for(type_: CqlType, pg_type: str, *, partition_key: bool = False) -> Codec:
    """The codec of a key column.

    Raises ConfigurationError (`key_type_unsupported`) for a type whose equality in PostgreSQL is not Cassandra's.
    """
    if pg_type in {"jsonb", "real[]"}:
        raise ConfigurationError(
            "key_type_unsupported",
            f"This version can't replicate a table with a key column of type {type_.cql()}",
            now="nothing was started",
            hint="leave the table out of the configuration",
        )
    if partition_key and type_.name == "decimal":
        return DecimalKeyCodec()
    if type_.name in _FLOATS:
        return FloatKeyCodec(_FLOATS[type_.name])
    return codec_for(type_, pg_type)
