"""Which codec serves which column.

Invariant: every type that `schema.pg_types` maps has exactly one codec here; a new type without one fails at start,
not at its first value.
"""

from __future__ import annotations

from typing import Final

from casscade.core.cell import COUNTER_TTL, counter_total
from casscade.core.errors import BadDataError, InvariantError
from casscade.core.mutation import ComplexColumn
from casscade.cql.json_text import to_json
from casscade.cql.order import order_key
from casscade.cql.types import CqlType
from casscade.load.layout import Renderer
from casscade.load.numeric import DecimalCodec, VarintCodec
from casscade.load.transcode import (
    BlobCodec,
    BooleanCodec,
    Codec,
    DateCodec,
    DurationCodec,
    FixedCodec,
    FloatVectorCodec,
    InetCodec,
    TextCodec,
    TimeCodec,
    TimestampCodec,
    TinyintCodec,
)

_JSONB_VERSION: Final = b"\x01"
_NUL_SHOWN_AS: Final = "�"

_FIXED: Final = {"bigint": 8, "double": 8, "float": 4, "int": 4, "smallint": 2, "timeuuid": 16, "uuid": 16}
_CODECS: Final[dict[str, type[Codec]]] = {
    "ascii": TextCodec,
    "blob": BlobCodec,
    "boolean": BooleanCodec,
    "custom": BlobCodec,
    "date": DateCodec,
    "decimal": DecimalCodec,
    "duration": DurationCodec,
    "inet": InetCodec,
    "text": TextCodec,
    "time": TimeCodec,
    "timestamp": TimestampCodec,
    "tinyint": TinyintCodec,
    "varint": VarintCodec,
}


class JsonCodec(Codec):
    """Frozen collections, tuples, UDTs and vectors as jsonb; the state keeps the bytes, so a tie can be decided."""

    keeps_bytes = True

    def __init__(self, type_: CqlType) -> None:
        self.type: CqlType = type_

    def encode(self, value: bytes) -> bytes | None:  # noqa: ARG002 jsonb never holds the bytes
        return None

    def show(self, value: bytes) -> bytes | None:
        if not value:
            return None
        try:
            text = to_json(self.type, value, nul_replacement=_NUL_SHOWN_AS)
        except BadDataError:
            return None
        return _JSONB_VERSION + text.encode("utf-8", "replace")


class CounterCodec(Codec):
    """The sum of a counter's shards as bigint; the state keeps the shards."""

    keeps_bytes = True

    def encode(self, value: bytes) -> bytes | None:  # noqa: ARG002 a sum does not tell its parts
        return None

    def show(self, value: bytes) -> bytes | None:
        return counter_total(value).to_bytes(8, "big", signed=True)


class JsonRenderer(Renderer):
    """A multi-cell column as jsonb: its live cells are put together as the frozen value that CQL would show."""

    def __init__(self, type_: CqlType) -> None:
        self.type: CqlType = type_
        self.codec: JsonCodec = JsonCodec(type_)
        key_type = CqlType("timeuuid") if type_.name == "list" else type_.args[0]
        self.order = order_key(key_type) if type_.name != "udt" else None

    def render(self, column: ComplexColumn, now: int) -> bytes | None:
        live = [
            (path, cell[3])
            for path, cell in column.cells.items()
            if cell[3] is not None and cell[1] > now and cell[2] != COUNTER_TTL
        ]
        if not live:
            return None
        if self.type.name == "udt":
            return self.codec.show(self._fields(dict(live)))
        order = self.order
        assert order is not None
        live.sort(key=lambda item: order(item[0]))
        parts = [len(live).to_bytes(4, "big")]
        for path, value in live:
            if self.type.name != "list":
                parts.append(len(path).to_bytes(4, "big") + path)
            if self.type.name != "set":
                parts.append(len(value).to_bytes(4, "big") + value)
        return self.codec.show(b"".join(parts))

    def show(self, value: bytes) -> bytes | None:
        return self.codec.show(value)

    def _fields(self, live: dict[bytes, bytes]) -> bytes:
        parts: list[bytes] = []
        for index in range(len(self.type.args)):
            value = live.get(index.to_bytes(2, "big"))
            parts.append(b"\xff\xff\xff\xff" if value is None else len(value).to_bytes(4, "big") + value)
        return b"".join(parts)


def codec_for(type_: CqlType, pg_type: str) -> Codec:
    """The codec of a simple column; InvariantError for a type that the mapping should not have let through."""
    if pg_type == "jsonb":
        return JsonCodec(type_)
    if pg_type == "real[]":
        return FloatVectorCodec(type_.dimension)
    if type_.name == "counter":
        return CounterCodec()
    if type_.name in _FIXED:
        return FixedCodec(_FIXED[type_.name])
    factory = _CODECS.get(type_.name)
    if factory is None:
        raise InvariantError("codec_missing", f"No codec for {type_.cql()} as {pg_type}")
    return factory()
