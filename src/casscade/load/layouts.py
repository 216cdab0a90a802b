"""The layout of a relation, made of the codecs of its columns.

Invariant: every column of the relation has exactly one codec or renderer, in the order of the relation.
"""

from __future__ import annotations

from casscade.load.codecs import JsonRenderer, codec_for
from casscade.load.key_codecs import key_codec_for
from casscade.load.layout import RowLayout, ValueColumn
from casscade.schema.mapping import Relation, Target
from casscade.schema.model import Column, ColumnKind


def _value_column(column: Column, pg_type: str) -> ValueColumn:
    if column.type.multi_cell:
        return ValueColumn(column.index, None, JsonRenderer(column.type))
    return ValueColumn(column.index, codec_for(column.type, pg_type), None)


def build_layout(target: Target, relation: Relation) -> RowLayout:
    """The layout of one relation of `target`; its table's columns must be numbered."""
    table = target.table
    columns = table.statics if relation.static else table.regulars
    indexed = {column.name for column in relation.indexed_key_columns}
    indexes = sorted(column.index for column in columns)
    return RowLayout(
        keys=[
            codec_for(key.column.type, key.pg_type.name)
            if relation.exact
            else key_codec_for(
                key.column.type,
                key.pg_type.name,
                partition_key=key.column.kind is ColumnKind.PARTITION_KEY,
            )
            for key in relation.key_columns
        ],
        partition_columns=len(table.partition_key),
        clustering_lengths=[] if relation.static else [column.type.fixed_length for column in table.clustering],
        loose_clusterings=[] if relation.static else list(table.loose_clusterings),
        values=[_value_column(value.column, value.pg_type.name) for value in relation.value_columns],
        indexed=[key.name in indexed for key in relation.key_columns],
        exact=relation.exact,
        loose_paths=table.loose_paths,
        older_ties=table.older_ties,
        simple_count=sum(not column.type.multi_cell for column in columns),
        complex_count=sum(column.type.multi_cell for column in columns),
        indexes=len(indexes) if indexes == list(range(len(indexes))) else 0,
        static=relation.static,
        observable=any(column.type.multi_cell or column.type.name == "counter" for column in columns),
    )
