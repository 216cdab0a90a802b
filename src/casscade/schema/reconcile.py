"""What an ALTER in Cassandra asks of relations that exist in PostgreSQL: renamed keys, wider types, columns that ended.

Invariant: pure, and nothing that is planned here loses a value: columns are renamed, widened or marked, never dropped.
What can't be reached so is a conflict, which concerns one column, or is left to `diff_target`, which refuses.

`reconcile` answers with statements and with the schema as it is behind them, from which `plan_target` goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from casscade.core.cell import NO_TIMESTAMP
from casscade.schema.ddl import (
    TABLE,
    TYPE,
    VIEW,
    DdlStatement,
    ExistingColumn,
    ExistingSchema,
    ExistingTable,
    view_columns,
)
from casscade.schema.mapping import RETYPED, Relation, Target, TargetColumn
from casscade.schema.model import Column
from casscade.schema.names import column_identifier, quote_identifier, quote_qualified

DEPRECATED: Final = "casscade: dropped in Cassandra"
"""How the comment of a column begins that takes no more values, because Cassandra does not have it."""
LEFT_OUT: Final = "casscade: left out"
"""The same because the configuration, or a rollback, leaves it out."""

_WIDER: Final[Mapping[str, frozenset[str]]] = {
    "smallint": frozenset({"integer", "bigint", "numeric", "real", "double precision"}),
    "integer": frozenset({"bigint", "numeric", "double precision"}),
    "bigint": frozenset({"numeric"}),
    "real": frozenset({"double precision"}),
}
# Their text in PostgreSQL is the text that Casscade writes.
_SAME_TEXT: Final = frozenset({"smallint", "integer", "bigint", "boolean", "uuid"})


@dataclass(frozen=True, slots=True)
class Conflict:
    """A column whose type in PostgreSQL can't become the one that is needed: `have` and `need` as PostgreSQL says."""

    relation: str
    column: TargetColumn
    have: str
    need: str

    @property
    def what(self) -> str:
        """For people: table, column, both types and the remedy."""
        name = self.column.column.name
        return (
            f"{self.relation}: the column {name!r} is {self.column.column.type.cql()} in Cassandra now, which becomes "
            f"{self.need}, and {self.have} in PostgreSQL. Set columns: {{retyped: {{{name}: new_column}}}} (a column "
            f"{name}__2) or {{{name}: text}}, restart, and replay the dead letters"
        )


@dataclass(slots=True)
class Reconciled:
    """The statements, the schema behind them, and what they can't reach."""

    statements: list[DdlStatement]
    existing: ExistingSchema
    conflicts: list[Conflict] = field(default_factory=list)


def widens(have: str, need: str, *, asked: bool) -> bool:
    """Whether each value of the type `have` can be shown by `need`; text only where it is `asked` for."""
    if have.endswith("[]") and need.endswith("[]"):
        return widens(have[:-2], need[:-2], asked=asked)
    if need == "text":
        return asked and have in _SAME_TEXT
    return need in _WIDER.get(have, frozenset())


def reconcile(target: Target, existing: ExistingSchema, renamed: Mapping[str, str]) -> Reconciled:
    """Bring what exists nearer to `target`; `renamed` has the new and old names of key columns in Cassandra."""
    statements: list[DdlStatement] = []
    conflicts: list[Conflict] = []
    relations = dict(existing.relations)
    for relation in target.relations:
        found = relations.get(relation.name)
        if found is not None and found.kind == TABLE:
            found = _rename(relation, found, renamed, statements)
            found = _retype(target, relation, found, statements, conflicts)
            ended = {conflict.column.name for conflict in conflicts}
            relations[relation.name] = _mark(target, relation, found, ended, statements)
    types = dict(existing.types)
    for type_ in target.composites:
        present = types.get(type_.composite[1])
        if present is not None and present.kind == TYPE:
            need = [(name, field_type.name) for name, field_type in type_.fields]
            types[type_.composite[1]] = _alter_type(type_.name, need, present, statements)
    view = relations.get(target.view_name) if target.view_name else None
    changes = any(not statement.sql.startswith("COMMENT") for statement in statements)
    if view is not None and view.kind == VIEW and (changes or _view_changes(target, view, relations)):
        # Before its tables are locked: whoever reads the view locks it first, too.
        name = quote_qualified(target.rows.schema, target.view_name)
        statements.insert(0, DdlStatement(f"DROP VIEW {name}", f"view {target.view_name}, which is made anew"))
        del relations[target.view_name]
    return Reconciled(statements, replace(existing, relations=relations, types=types), conflicts)


def without(target: Target, columns: Collection[str]) -> Target:
    """The target without some of Cassandra's columns."""
    if not columns:
        return target

    def left(relation: Relation) -> Relation:
        kept = tuple(column for column in relation.columns if column.key or column.column.name not in columns)
        return replace(relation, columns=kept)

    statics = None if target.statics is None else left(target.statics)
    return replace(target, rows=left(target.rows), statics=statics)


def was_dropped(column: Column) -> bool:
    """Whether the column was dropped at some time, also when it was added again."""
    return column.dropped_at != NO_TIMESTAMP


def is_void(column: ExistingColumn) -> bool:
    """Whether it took no values for a time, so that what is in it is not what Cassandra shows."""
    return column.comment.startswith((DEPRECATED, LEFT_OUT))


def _names(column: Column) -> tuple[str, str]:
    """The names that a column may have had in PostgreSQL."""
    return column_identifier(column.name), column_identifier(f"{column.name}{RETYPED}")


def _view_changes(target: Target, view: ExistingTable, relations: Mapping[str, ExistingTable]) -> bool:
    missing = any(
        column.name not in {present.name for present in found.columns}
        for relation in target.relations
        if (found := relations.get(relation.name)) is not None
        for column in relation.value_columns
    )
    return missing or [column.name for column in view.columns] != view_columns(target)


def _rename(
    relation: Relation, found: ExistingTable, renamed: Mapping[str, str], statements: list[DdlStatement]
) -> ExistingTable:
    present = {column.name for column in found.columns}
    names: dict[str, str] = {}
    for key in relation.key_columns:
        old = column_identifier(renamed.get(key.column.name, key.column.name))
        if old != key.name and key.name not in present and old in present:
            names[old] = key.name
            text = (
                f"ALTER TABLE {quote_qualified(relation.schema, relation.name)} RENAME COLUMN {quote_identifier(old)} "
                f"TO {quote_identifier(key.name)}"
            )
            statements.append(DdlStatement(text, f"key column {old} of {relation.name} is {key.name} now"))
    columns = tuple(replace(column, name=names.get(column.name, column.name)) for column in found.columns)
    return replace(found, columns=columns, primary_key=tuple(names.get(name, name) for name in found.primary_key))


def _retype(
    target: Target,
    relation: Relation,
    found: ExistingTable,
    statements: list[DdlStatement],
    conflicts: list[Conflict],
) -> ExistingTable:
    wanted = {column.name: column for column in relation.value_columns}
    columns: list[ExistingColumn] = []
    for present in found.columns:
        column = wanted.get(present.name)
        if column is None or present.type == column.pg_type.name:
            columns.append(present)
            continue
        need = column.pg_type.name
        if widens(present.type, need, asked=column.pg_type.form == "text"):
            name = quote_identifier(present.name)
            text = (
                f"ALTER TABLE {quote_qualified(relation.schema, relation.name)} ALTER COLUMN {name} TYPE {need} "
                f"USING {name}::{need}"
            )
            statements.append(DdlStatement(text, f"column {present.name} of {relation.name}: {present.type} to {need}"))
            columns.append(replace(present, type=need))
            continue
        if was_dropped(column.column):
            conflicts.append(Conflict(target.table.full_name, column, present.type, need))
        columns.append(present)
    return replace(found, columns=tuple(columns))


def _mark(
    target: Target, relation: Relation, found: ExistingTable, conflicts: set[str], statements: list[DdlStatement]
) -> ExistingTable:
    """Comments on the columns that take no more values, and none on those that take them again."""
    wanted = {column.name for column in relation.columns} - conflicts
    ended = {column_identifier(column.name) for column in target.table.columns if was_dropped(column)}
    known = {name for column in target.table.columns for name in _names(column)}
    columns: list[ExistingColumn] = []
    for present in found.columns:
        comment = present.comment
        if present.name in wanted:
            comment = "" if is_void(present) else comment
        elif present.name in ended and not comment.startswith(DEPRECATED):
            comment = f"{DEPRECATED}; takes no more values"
        elif present.name in known and not is_void(present):
            comment = f"{LEFT_OUT}; takes no more values"
        if comment != present.comment:
            place = f"{quote_qualified(relation.schema, relation.name)}.{quote_identifier(present.name)}"
            value = "NULL" if not comment else "'" + comment.replace("'", "''") + "'"
            what = "takes values again" if not comment else "takes no more values"
            text = f"COMMENT ON COLUMN {place} IS {value}"
            statements.append(DdlStatement(text, f"column {present.name} of {relation.name} {what}"))
        columns.append(replace(present, comment=comment))
    return replace(found, columns=tuple(columns))


def _alter_type(
    name: str, need: list[tuple[str, str]], found: ExistingTable, statements: list[DdlStatement]
) -> ExistingTable:
    """Fields that were renamed and fields that were added at the end, which is all that Cassandra allows."""
    have = [(column.name, column.type) for column in found.columns]
    if len(have) > len(need) or any(old[1] != new[1] for old, new in zip(have, need, strict=False)):
        return found
    for (old, _), (new, _) in zip(have, need, strict=False):
        if old != new:
            text = f"ALTER TYPE {name} RENAME ATTRIBUTE {quote_identifier(old)} TO {quote_identifier(new)}"
            statements.append(DdlStatement(text, f"field {old} of {name} is {new} now"))
    for new, type_ in need[len(have) :]:
        text = f"ALTER TYPE {name} ADD ATTRIBUTE {quote_identifier(new)} {type_}"
        statements.append(DdlStatement(text, f"field {new} of {name}"))
    return replace(found, columns=tuple(ExistingColumn(new, type_, nullable=True) for new, type_ in need))
