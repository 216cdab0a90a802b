"""The DDL that a target needs, as data: compared with what PostgreSQL has, never executed here.

Invariant: planning is pure and a plan never drops, narrows or rewrites a column; what can't be reached by adding is
reported as differences and left to a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from casscade.core.errors import ConfigurationError
from casscade.schema.mapping import EXPIRY_COLUMN, META_COLUMNS, PARTITION_COLUMN, Relation, Target
from casscade.schema.names import quote_identifier, quote_qualified, relation_identifier
from casscade.schema.pg_types import PgType

FILLFACTOR: Final = 80
"""Percent of a page that inserts fill: the rest lets an update stay on its page without touching indexes (HOT)."""

TABLE: Final = "table"
TYPE: Final = "type"
VIEW: Final = "view"


@dataclass(frozen=True, slots=True)
class ExistingColumn:
    """A column in PostgreSQL: `type` as `format_type` prints it, `collation` the one in effect (`C` where the
    database's default is C), empty for types without one; `comment` is empty without one."""

    name: str
    type: str
    nullable: bool
    has_default: bool = False
    collation: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class ExistingTable:
    """A relation in PostgreSQL: `kind` is `table`, `view` or what else took the name; `primary_key` in key order."""

    columns: tuple[ExistingColumn, ...]
    primary_key: tuple[str, ...] = ()
    kind: str = TABLE
    expiry_index: bool = False


@dataclass(frozen=True, slots=True)
class ExistingSchema:
    """What PostgreSQL has in the target's schema: relations by name (only those of the target matter), and what stands
    under the names of its composite types (`kind` is `type` for one)."""

    exists: bool = False
    relations: Mapping[str, ExistingTable] = field(default_factory=dict)
    types: Mapping[str, ExistingTable] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DdlStatement:
    """One statement without parameters, and what it is for."""

    sql: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Why an existing relation can't be used: `column` is empty when it concerns the whole relation. `remedy` is SQL
    that would end it, for a person to judge: a column is altered, a whole relation renamed aside."""

    relation: str
    column: str
    what: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.relation}, column {self.column!r}" if self.column else self.relation
        return f"{place}: {self.what}"


def plan_target(target: Target, existing: ExistingSchema) -> list[DdlStatement]:
    """The statements that bring PostgreSQL to what the target needs, in order; empty when nothing is missing.

    Missing composite types and relations are created, missing value columns added, the view made anew when its columns
    changed. Raises `ConfigurationError` with code `target_mismatch` when `diff_target` finds anything else.
    """
    differences = diff_target(target, existing)
    if differences:
        shown = "; ".join(str(difference) for difference in differences[:5])
        more = f"; and {len(differences) - 5} more" if len(differences) > 5 else ""
        remedies = " ".join(f"{text};" for text in dict.fromkeys(difference.remedy for difference in differences))
        raise ConfigurationError(
            "target_mismatch",
            f"PostgreSQL has something else where {target.table.full_name} should go: {shown}{more}",
            where=target.rows.full_name,
            now="nothing was changed",
            hint=f"give another target in the configuration (target: schema.table), or reconcile it: {remedies}",
        )
    statements = []
    if not existing.exists:
        schema = target.rows.schema
        statements.append(DdlStatement(f"CREATE SCHEMA {quote_identifier(schema)}", f"schema {schema}"))
    statements.extend(_create_type(type_) for type_ in target.composites if type_.composite[1] not in existing.types)
    view_changes = False
    for relation in target.relations:
        found = existing.relations.get(relation.name)
        added = _create(relation) if found is None else _complete(relation, found)
        view_changes = view_changes or bool(added)
        statements.extend(added)
    if target.view_name:
        statements.extend(_plan_view(target, existing.relations.get(target.view_name), view_changes))
    return statements


def diff_target(target: Target, existing: ExistingSchema) -> list[Difference]:
    """What stands in the way of the target and can't be added: kinds, keys, types, nullability, collations.

    Columns that Casscade does not know may stay when they are nullable or have a default.
    """
    differences: list[Difference] = []
    for relation in target.relations:
        found = existing.relations.get(relation.name)
        if found is not None:
            differences.extend(_diff_relation(relation, found))
    for type_ in target.composites:
        present = existing.types.get(type_.composite[1])
        if present is not None:
            differences.extend(_diff_type(type_, present))
    view = existing.relations.get(target.view_name) if target.view_name else None
    if view is not None and view.kind != VIEW:
        name = f"{target.rows.schema}.{target.view_name}"
        aside = _aside(quote_qualified(target.rows.schema, target.view_name), target.view_name, view.kind)
        differences.append(Difference(name, "", f"is a {view.kind}, a view is needed", aside))
    return differences


def _diff_relation(relation: Relation, found: ExistingTable) -> list[Difference]:
    name = relation.full_name
    quoted = quote_qualified(relation.schema, relation.name)
    aside = _aside(quoted, relation.name, found.kind)
    if found.kind != TABLE:
        return [Difference(name, "", f"is a {found.kind}, a table is needed", aside)]
    differences: list[Difference] = []
    columns = {column.name: column for column in found.columns}
    natural = tuple(column.name for column in relation.key_columns)
    exact = PARTITION_COLUMN in found.primary_key
    if exact != relation.exact and (exact or found.primary_key == natural):
        forms = ("exact", "natural") if exact else ("natural", "exact")
        what = "its key is {0}, needed is {1}: set key: {0} for this table, or make it anew".format(*forms)
        return [Difference(name, "", what, aside)]
    if found.primary_key != relation.primary_key:
        have = ", ".join(found.primary_key) or "none"
        differences.append(
            Difference(name, "", f"the primary key is {have}, needed is {', '.join(relation.primary_key)}", aside)
        )
    for column in relation.columns:
        present = columns.pop(column.name, None)
        if present is None:
            if column.key:
                differences.append(Difference(name, column.name, "is missing", aside))
            continue
        # NOT NULL of a column that is not in the key is a constraint, which the loader asks rows for.
        nullable = column.nullable and present.nullable
        differences.extend(_diff_column(relation, present, column.pg_type.name, nullable=nullable))
        if column.collation and present.collation != column.collation:
            what = f"the collation is {present.collation or 'none'}, needed is {column.collation}"
            remedy = f'{_altered(relation, column.name)} TYPE text COLLATE "{column.collation}"'
            differences.append(Difference(name, column.name, what, remedy))
    for meta in (*META_COLUMNS, *relation.exact_columns):
        present = columns.pop(meta.name, None)
        if present is None:
            differences.append(Difference(name, meta.name, "is missing: Casscade did not make this table", aside))
        else:
            differences.extend(_diff_column(relation, present, meta.pg_type, nullable=meta.nullable))
    differences.extend(
        Difference(
            name,
            extra.name,
            "is unknown, NOT NULL and has no default",
            f"{_altered(relation, extra.name)} DROP NOT NULL",
        )
        for extra in columns.values()
        if not extra.nullable and not extra.has_default
    )
    if any(difference.remedy == aside for difference in differences):
        return [replace(difference, remedy=aside) for difference in differences]
    return differences


def _diff_type(type_: PgType, found: ExistingTable) -> list[Difference]:
    name = ".".join(type_.composite)
    aside = _aside(type_.name, type_.composite[1], found.kind)
    if found.kind != TYPE:
        return [Difference(name, "", f"is a {found.kind}, a composite type is needed", aside)]
    have = [(column.name, column.type) for column in found.columns]
    need = [(field_name, field_type.name) for field_name, field_type in type_.fields]
    if have == need:
        return []
    listed = [", ".join(f"{field_name} {field_type}" for field_name, field_type in fields) for fields in (have, need)]
    return [Difference(name, "", f"the fields are ({listed[0]}), needed are ({listed[1]})", aside)]


def _create_type(type_: PgType) -> DdlStatement:
    fields = ", ".join(f"{quote_identifier(name)} {field_type.name}" for name, field_type in type_.fields)
    return DdlStatement(f"CREATE TYPE {type_.name} AS ({fields})", f"composite type {'.'.join(type_.composite)}")


def _diff_column(relation: Relation, present: ExistingColumn, type_: str, *, nullable: bool) -> list[Difference]:
    name, alter = present.name, _altered(relation, present.name)
    found: list[tuple[str, str]] = []
    if present.type != type_:
        found.append((f"the type is {present.type}, needed is {type_}", _converted(name, type_)))
    if present.nullable and not nullable:
        found.append(("is nullable, needed is NOT NULL", "SET NOT NULL"))
    if nullable and not present.nullable:
        found.append(("is NOT NULL, but Cassandra may have no value", "DROP NOT NULL"))
    return [Difference(relation.full_name, name, what, f"{alter} {remedy}") for what, remedy in found]


def _converted(column: str, type_: str) -> str:
    return f"TYPE {type_} USING {quote_identifier(column)}::{type_}"


def _altered(relation: Relation, column: str) -> str:
    return f"ALTER TABLE {quote_qualified(relation.schema, relation.name)} ALTER COLUMN {quote_identifier(column)}"


def _aside(quoted: str, name: str, kind: str) -> str:
    """What gives way keeps its rows under another name."""
    return f"ALTER {kind.upper()} {quoted} RENAME TO {quote_identifier(relation_identifier(name + '_before'))}"


def _create(relation: Relation) -> list[DdlStatement]:
    columns = [column.definition() for column in relation.columns]
    for meta in (*META_COLUMNS, *relation.exact_columns):
        columns.append(f"{quote_identifier(meta.name)} {meta.pg_type}{'' if meta.nullable else ' NOT NULL'}")
    key = ", ".join(quote_identifier(column) for column in relation.primary_key)
    name = quote_qualified(relation.schema, relation.name)
    text = f"CREATE TABLE {name} ({', '.join(columns)}, PRIMARY KEY ({key})) WITH (fillfactor = {FILLFACTOR})"
    return [DdlStatement(text, f"table {relation.full_name}"), _expiry_index(relation), *_shown_key_index(relation)]


def _shown_key_index(relation: Relation) -> list[DdlStatement]:
    """The index by which rows with an exact key are found by what is shown of it.

    Only made together with the table: whoever does without it may drop it.
    """
    columns = ", ".join(quote_identifier(column.name) for column in relation.indexed_key_columns)
    if not columns:
        return []
    name = quote_qualified(relation.schema, relation.name)
    return [DdlStatement(f"CREATE INDEX ON {name} ({columns})", f"index of the key columns of {relation.name}")]


def _complete(relation: Relation, found: ExistingTable) -> list[DdlStatement]:
    present = {column.name for column in found.columns}
    name = quote_qualified(relation.schema, relation.name)
    statements = [
        DdlStatement(f"ALTER TABLE {name} ADD COLUMN {column.definition()}", f"column {column.name} of {relation.name}")
        for column in relation.value_columns
        if column.name not in present
    ]
    if not found.expiry_index:
        statements.append(_expiry_index(relation))
    return statements


def _expiry_index(relation: Relation) -> DdlStatement:
    """The index by which expired rows are found; it holds only rows that expire, so others stay HOT."""
    column = quote_identifier(EXPIRY_COLUMN)
    name = quote_qualified(relation.schema, relation.name)
    return DdlStatement(
        f"CREATE INDEX ON {name} ({column}) WHERE {column} IS NOT NULL", f"index of expiring rows of {relation.name}"
    )


def _plan_view(target: Target, found: ExistingTable | None, changes: bool) -> list[DdlStatement]:
    columns = view_columns(target)
    if found is not None and not changes and [column.name for column in found.columns] == columns:
        return []
    assert target.statics is not None
    view = quote_qualified(target.rows.schema, target.view_name)
    partition = ", ".join(quote_identifier(column) for column in target.statics.primary_key)
    shown = ", ".join(quote_identifier(column) for column in columns)
    if target.rows.exact:
        # The columns that show the partition key are in both relations, and are no part of the join.
        both = [quote_identifier(column.name) for column in target.statics.key_columns]
        others = ", ".join(quote_identifier(column) for column in columns[len(both) :])
        shown = ", ".join(f"COALESCE(r.{name}, s.{name}) AS {name}" for name in both) + f", {others}"
    rows = quote_qualified(target.rows.schema, target.rows.name)
    statics = quote_qualified(target.statics.schema, target.statics.name)
    aliases = (" AS r", " AS s") if target.rows.exact else ("", "")
    source = f"{rows}{aliases[0]} FULL JOIN {statics}{aliases[1]} USING ({partition})"
    text = " ".join(["CREATE VIEW", view, "AS SELECT", shown, "FROM", source])
    create = DdlStatement(text, f"view {target.rows.schema}.{target.view_name}")
    if found is None:
        return [create]
    return [DdlStatement(f"DROP VIEW {view}", f"view {target.view_name} with other columns"), create]


def view_columns(target: Target) -> list[str]:
    """The columns of the view over rows and statics, in the order of CQL's `SELECT *`: key, statics, regulars."""
    assert target.statics is not None
    columns = (*target.rows.key_columns, *target.statics.value_columns, *target.rows.value_columns)
    return [column.name for column in columns]
