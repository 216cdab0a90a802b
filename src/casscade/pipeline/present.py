"""What of a target PostgreSQL has just now: a change of its schema may not have come yet, or may not be allowed.

Invariant: nothing is changed here, and what is left of the target can be read and written in PostgreSQL as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from psycopg import Connection

from casscade.load.catalog import read_existing
from casscade.schema.ddl import ExistingTable
from casscade.schema.mapping import Relation, Target
from casscade.schema.names import column_identifier
from casscade.schema.reconcile import without


@dataclass(frozen=True, slots=True)
class Present:
    """`target` has no column that PostgreSQL lacks, or has with another type: those are `missing`, name -> index.

    It is None where the rows of the table have no relation yet, or one with another key.
    """

    target: Target | None
    missing: Mapping[str, int]


def present_part(connection: Connection[Any], target: Target, renamed: Mapping[str, str]) -> Present:
    """Look what is there; `renamed` has the new and old names of key columns, which may have the old ones still.

    Raises psycopg's exceptions.
    """
    relations = read_existing(connection, target).relations
    missing: dict[str, int] = {}
    for relation in target.relations:
        types = _types(relations.get(relation.name))
        for column in relation.value_columns:
            if types.get(column.name) != column.pg_type.name:
                missing[column.column.name] = column.column.index
    left = without(target, missing)
    rows = _keyed(left.rows, relations.get(left.rows.name), renamed)
    statics = None if left.statics is None else _keyed(left.statics, relations.get(left.statics.name), renamed)
    if rows is None:
        return Present(None, missing)
    return Present(replace(left, rows=rows, statics=statics, view_name=left.view_name if statics else ""), missing)


def _types(found: ExistingTable | None) -> dict[str, str]:
    return {} if found is None else {column.name: column.type for column in found.columns}


def _keyed(relation: Relation, found: ExistingTable | None, renamed: Mapping[str, str]) -> Relation | None:
    """The relation with the names that its key has; None where its key is not there."""
    types = _types(found)
    columns = []
    for column in relation.columns:
        if column.key and column.name not in types:
            old = column_identifier(renamed.get(column.column.name, column.column.name))
            column = replace(column, name=old)  # noqa: PLW2901 the same column under the name that it has
        if column.key and types.get(column.name) != column.pg_type.name:
            return None
        columns.append(column)
    if any(types.get(exact.name) != exact.pg_type for exact in relation.exact_columns):
        return None
    return replace(relation, columns=tuple(columns))
