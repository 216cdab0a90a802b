"""Which codec serves which column, and the layout of a relation made of them.

Invariant: every type that `schema.mapping` maps has exactly one codec here; a new type without one fails at start,
not at its first value.
"""

from __future__ import annotations

from typing import Final

from casscade.core.cell import COUNTER_TTL, counter_total
from casscade.core.errors import BadDataError, ConfigurationError, InvariantError
from casscade.core.mutation import ComplexColumn
from casscade.cql.json_text import to_json
from casscade.cql.order import order_key
from casscade.cql.types import CqlType
from casscade.load.layout import Renderer, RowLayout, ValueColumn
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
from casscade.schema.mapping import Relation, Target
from casscade.schema.model import Column, ColumnKind

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

    def _fields(self, live: dict[bytes, bytes]) -> bytes:
        parts: list[bytes] = []
        for index in range(len(self.type.args)):
            value = live.get(index.to_bytes(2, "big"))
            parts.append(b"\xff\xff\xff\xff" if value is None else len(value).to_bytes(4, "big") + value)
        return b"".join(parts)


def codec_for(type_: CqlType, pg_type: str, *, key: bool = False, partition_key: bool = False) -> Codec:
    """The codec of a simple column.

    Raises ConfigurationError for a key of a type whose equality in PostgreSQL is not Cassandra's, and InvariantError
    for a type that the mapping should not have let through.
    """
    if key and pg_type in {"jsonb", "real[]"}:
        raise ConfigurationError(
            "key_type_unsupported",
            f"This version can't replicate a table with a key column of type {type_.cql()}",
            now="nothing was started",
            hint="leave the table out of the configuration",
        )
    if pg_type == "jsonb":
        return JsonCodec(type_)
    if pg_type == "real[]":
        return FloatVectorCodec(type_.dimension)
    if partition_key and type_.name == "decimal":
        return DecimalKeyCodec()
    if type_.name == "counter":
        return CounterCodec()
    if type_.name in _FIXED:
        if key and type_.name in {"float", "double"}:
            return FloatKeyCodec(_FIXED[type_.name])
        return FixedCodec(_FIXED[type_.name])
    factory = _CODECS.get(type_.name)
    if factory is None:
        raise InvariantError("codec_missing", f"No codec for {type_.cql()} as {pg_type}")
    return factory()


def _value_column(column: Column, pg_type: str) -> ValueColumn:
    if column.type.multi_cell:
        return ValueColumn(column.index, None, JsonRenderer(column.type))
    return ValueColumn(column.index, codec_for(column.type, pg_type), None)


def build_layout(target: Target, relation: Relation) -> RowLayout:
    """The layout of one relation of `target`; its table's columns must be numbered."""
    table = target.table
    columns = table.statics if relation.static else table.regulars
    indexes = sorted(column.index for column in columns)
    return RowLayout(
        keys=[
            codec_for(
                key.column.type,
                key.pg_type.name,
                key=True,
                partition_key=key.column.kind is ColumnKind.PARTITION_KEY,
            )
            for key in relation.key_columns
        ],
        partition_columns=len(table.partition_key),
        clustering_lengths=[] if relation.static else [column.type.fixed_length for column in table.clustering],
        loose_clusterings=[] if relation.static else list(table.loose_clusterings),
        values=[_value_column(value.column, value.pg_type.name) for value in relation.value_columns],
        simple_count=sum(not column.type.multi_cell for column in columns),
        complex_count=sum(column.type.multi_cell for column in columns),
        indexes=len(indexes) if indexes == list(range(len(indexes))) else 0,
        static=relation.static,
    )
