"""Which codec serves which column.

Invariant: every type and form that `schema.pg_types` maps has exactly one codec here; a new one without a codec fails
at start, not at its first value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from casscade.core.cell import COUNTER_TTL, counter_total
from casscade.core.errors import BadDataError, InvariantError
from casscade.core.mutation import ComplexColumn
from casscade.cql.json_text import to_json
from casscade.cql.order import order_key
from casscade.cql.text import to_text
from casscade.cql.types import CqlType
from casscade.cql.values import EMPTY_IS_A_VALUE
from casscade.load.arrays import ArrayCodec, PgvectorCodec
from casscade.load.composite import CompositeCodec
from casscade.load.exactness import says_all
from casscade.load.layout import Renderer
from casscade.load.numeric import DecimalCodec, VarintCodec
from casscade.load.oids import OIDS
from casscade.load.transcode import (
    BlobCodec,
    BooleanCodec,
    Codec,
    DateCodec,
    DurationCodec,
    FixedCodec,
    InetCodec,
    TextCodec,
    TimeCodec,
    TimestampCodec,
    TinyintCodec,
)
from casscade.schema.pg_types import PgType

_JSONB_VERSION: Final = b"\x01"
_NUL_SHOWN_AS: Final = "\ufffd"
_NO_OIDS: Final[dict[str, int]] = {}

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
    """Composed values as jsonb; the state keeps the bytes, so a tie can be decided."""

    reads_back = False

    def __init__(self, type_: CqlType) -> None:
        self.type: CqlType = type_
        self._value: bytes = b""
        self._written: str | None = None

    def encode(self, value: bytes) -> bytes | None:  # noqa: ARG002 jsonb never holds the bytes
        return None

    def show(self, value: bytes) -> bytes | None:
        text = self._text(value)
        return None if text is None else _JSONB_VERSION + text.encode("utf-8", "replace")

    def says_all(self, value: bytes) -> bool:
        text = self._text(value)
        if text is None:
            return False
        # Whatever is lost leaves one of these in the text: an empty value, U+0000, a negative 0, a negative scale.
        if "null" in text or _NUL_SHOWN_AS in text or "-0" in text or "E+" in text:
            return says_all(self.type, value, numbers=True)
        return True

    def _text(self, value: bytes) -> str | None:
        """The JSON text; that of the last value is remembered, for it is shown and then judged."""
        if value is not self._value:
            self._value = value
            try:
                self._written = to_json(self.type, value, nul_replacement=_NUL_SHOWN_AS) if value else None
            except BadDataError:
                self._written = None
        return self._written


class TextFormCodec(Codec):
    """Any value as its text in `casscade.cql.text`; the state keeps the bytes, so a tie can be decided."""

    reads_back = False

    def __init__(self, type_: CqlType) -> None:
        self.type: CqlType = type_

    def encode(self, value: bytes) -> bytes | None:  # noqa: ARG002 the text is not read back
        return None

    def show(self, value: bytes) -> bytes | None:
        if not value and self.type.name not in EMPTY_IS_A_VALUE:
            return None
        try:
            return to_text(self.type, value).encode("utf-8", "replace")
        except BadDataError:
            return None

    def says_all(self, value: bytes) -> bool:
        return self.show(value) is not None and says_all(self.type, value, numbers=False)


class CounterCodec(Codec):
    """The sum of a counter's shards as bigint; the state keeps the shards."""

    reads_back = False

    def encode(self, value: bytes) -> bytes | None:  # noqa: ARG002 a sum does not tell its parts
        return None

    def show(self, value: bytes) -> bytes | None:
        return counter_total(value).to_bytes(8, "big", signed=True)

    def says_all(self, value: bytes) -> bool:  # noqa: ARG002 CQL shows the sum alone, too
        return True


class CellsRenderer(Renderer):
    """A multi-cell column: its live cells are put together as the frozen value that CQL would show, for `codec`."""

    def __init__(self, type_: CqlType, codec: Codec) -> None:
        super().__init__()
        self.type: CqlType = type_
        self.codec: Codec = codec
        key_type = CqlType("timeuuid") if type_.name == "list" else type_.args[0]
        self.order = order_key(key_type) if type_.name != "udt" else None

    def render(self, column: ComplexColumn, now: int) -> bytes | None:
        self.exact = True
        live = [
            (path, cell[3])
            for path, cell in column.cells.items()
            if cell[3] is not None and cell[1] > now and cell[2] != COUNTER_TTL
        ]
        if not live:
            return None
        return self.show(self._fields(dict(live)) if self.type.name == "udt" else self._elements(live))

    def _elements(self, live: list[tuple[bytes, bytes]]) -> bytes:
        order = self.order
        assert order is not None
        live.sort(key=lambda item: order(item[0]))
        parts = [len(live).to_bytes(4, "big")]
        for path, value in live:
            if self.type.name != "list":
                parts.append(len(path).to_bytes(4, "big") + path)
            if self.type.name != "set":
                parts.append(len(value).to_bytes(4, "big") + value)
        return b"".join(parts)

    def show(self, value: bytes) -> bytes | None:
        codec = self.codec
        field = codec.encode(value)
        self.exact = field is not None or codec.says_all(value)
        return codec.show(value) if field is None else field

    def _fields(self, live: dict[bytes, bytes]) -> bytes:
        parts: list[bytes] = []
        for index in range(len(self.type.args)):
            value = live.get(index.to_bytes(2, "big"))
            parts.append(b"\xff\xff\xff\xff" if value is None else len(value).to_bytes(4, "big") + value)
        return b"".join(parts)


def codec_for(type_: CqlType, pg: PgType, oids: Mapping[str, int] = _NO_OIDS) -> Codec:
    """The codec for values of `type_`; for a multi-cell type, for the frozen value that its cells make.

    `oids` are the numbers of composite types by the names of their `PgType`. Raises InvariantError for a type that the
    mapping should not have let through.
    """
    if pg.form == "plain":
        return simple_codec(type_)
    if pg.form == "jsonb":
        return JsonCodec(type_)
    if pg.form == "array":
        assert pg.element is not None
        element = type_.args[0]
        return ArrayCodec(simple_codec(element), OIDS[pg.element.name], type_.dimension, element.fixed_length)
    if pg.form == "composite":
        codecs = [codec_for(arg, field, oids) for arg, (_, field) in zip(type_.args, pg.fields, strict=True)]
        return CompositeCodec(codecs, [_oid(field, oids) for _, field in pg.fields])
    if pg.form == "vector":
        return PgvectorCodec(type_.dimension)
    if pg.form == "bigint":
        return FixedCodec(8)
    return BlobCodec() if pg.form == "bytea" else TextFormCodec(type_)


def simple_codec(type_: CqlType) -> Codec:
    """The codec of a simple type as the PostgreSQL type that it has by default."""
    if type_.name == "counter":
        return CounterCodec()
    if type_.name in _FIXED:
        return FixedCodec(_FIXED[type_.name])
    factory = _CODECS.get(type_.name)
    if factory is None:
        raise InvariantError("codec_missing", f"No codec for {type_.cql()}")
    return factory()


def _oid(pg: PgType, oids: Mapping[str, int]) -> int:
    oid = OIDS.get(pg.name) or oids.get(pg.name)
    if oid is None:
        raise InvariantError("type_oid_missing", f"The number of the type {pg.name} was not read from PostgreSQL")
    return oid
