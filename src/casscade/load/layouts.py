"""The layout of a relation, made of the codecs of its columns.

Invariant: every column of the relation has exactly one codec or renderer, in the order of the relation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from casscade.core.cell import NO_TIMESTAMP
from casscade.core.table import FOR_EVER
from casscade.load.codecs import CellsRenderer, codec_for
from casscade.load.key_codecs import key_codec_for
from casscade.load.layout import INEXACT_POLICIES, RowLayout, ValueColumn
from casscade.load.presenting import EmptyIsNullCodec, NullCodec, NullRenderer, RuleCodec
from casscade.load.transcode import Codec
from casscade.rules.table import TableRules
from casscade.schema.mapping import Relation, Target, TargetColumn
from casscade.schema.model import NO_INDEX, Column, ColumnKind, Table


def _value_column(value: TargetColumn, oids: Mapping[str, int], rules: TableRules | None) -> ValueColumn:
    column = value.column
    nulled = rules is not None and column.name in rules.nulled
    policy = INEXACT_POLICIES.index(value.inexact)
    if column.type.multi_cell:
        codec = codec_for(column.type, value.pg_type, oids)
        renderer = NullRenderer() if nulled else CellsRenderer(column.type, codec)
        return ValueColumn(column.index, None, renderer, policy)
    if nulled:
        return ValueColumn(column.index, NullCodec(), None, policy)
    return ValueColumn(column.index, _codec(value, oids, rules), None, policy)


def _codec(value: TargetColumn, oids: Mapping[str, int], rules: TableRules | None) -> Codec:
    codec = codec_for(value.type, value.pg_type, oids)
    chain = None if rules is None else rules.chains.get(value.column.name)
    if chain is None:
        return codec
    if not chain.hides:
        return RuleCodec(chain, codec)
    return EmptyIsNullCodec(codec) if chain.nulls else codec


def build_layout(
    target: Target,
    relation: Relation,
    oids: Mapping[str, int] = MappingProxyType({}),
    rules: TableRules | None = None,
) -> RowLayout:
    """The layout of one relation of `target`; its table's columns must be numbered.

    `oids` are the numbers of the composite types that it uses, by the names of their `PgType`.
    """
    table = target.table
    columns = table.statics if relation.static else table.regulars
    indexed = {column.name for column in relation.indexed_key_columns}
    indexes = sorted(column.index for column in columns)
    return RowLayout(
        keys=[
            codec_for(key.type, key.pg_type)
            if relation.exact
            else key_codec_for(key.type, partition_key=key.column.kind is ColumnKind.PARTITION_KEY)
            for key in relation.key_columns
        ],
        partition_columns=len(table.partition_key),
        clustering_lengths=[] if relation.static else [column.type.fixed_length for column in table.clustering],
        loose_clusterings=[] if relation.static else list(table.loose_clusterings),
        values=[_value_column(value, oids, rules) for value in relation.value_columns],
        indexed=[key.name in indexed for key in relation.key_columns],
        exact=relation.exact,
        loose_paths=table.loose_paths,
        older_ties=table.older_ties,
        simple_count=sum(not column.type.multi_cell for column in columns),
        complex_count=sum(column.type.multi_cell for column in columns),
        indexes=len(indexes) if indexes == list(range(len(indexes))) else 0,
        static=relation.static,
        observable=any(column.type.multi_cell or column.type.name == "counter" for column in columns),
        counters=any(column.type.name == "counter" for column in columns),
        ended=_ended(table) | _left_out(relation, columns),
    )


def _left_out(relation: Relation, columns: Sequence[Column]) -> dict[int, int]:
    """Columns that the relation does not take (any more), of which stored rows may hold cells from before."""
    taken = {column.column.index for column in relation.value_columns}
    return {column.index: FOR_EVER for column in columns if column.index not in taken}


def _ended(table: Table) -> dict[int, int]:
    """The columns that were dropped, of which stored rows may still hold cells; those that are back, up to then."""
    return {
        column.index: FOR_EVER if column.dropped else column.dropped_at
        for column in table.columns
        if column.dropped_at != NO_TIMESTAMP and column.index != NO_INDEX
    }
