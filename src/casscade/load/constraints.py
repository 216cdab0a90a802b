"""The constraints of a relation that others made: NOT NULL, UNIQUE, CHECK and FOREIGN KEY, from the catalogue.

Invariant: what is read here can be asked of staged rows. A constraint that can't (over columns that Casscade does not
write, exclusion constraints, unique indexes of expressions) is left to PostgreSQL, which refuses the row itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection

from casscade.schema.mapping import Relation

NOT_NULL: Final = "not_null"
UNIQUE: Final = "unique"
CHECK: Final = "check"
FOREIGN_KEY: Final = "foreign_key"

_NOT_NULL = """
SELECT a.attname FROM pg_attribute a
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull ORDER BY a.attnum
"""
_UNIQUE = """
SELECT c.relname, ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, n)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE k.n <= i.indnkeyatts ORDER BY k.n),
  coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND NOT i.indisprimary AND i.indisvalid
  AND i.indpred IS NULL AND i.indexprs IS NULL ORDER BY c.relname
"""
# What older servers lack in the catalogue is looked up by name: NULLS NOT DISTINCT (15), NOT ENFORCED (18).
_CHECKS = """
SELECT c.conname, ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY AS k (attnum, n)
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum ORDER BY k.n),
  pg_get_expr(c.conbin, c.conrelid), 0 = ANY(coalesce(c.conkey, ARRAY[]::smallint[]))
FROM pg_constraint c WHERE c.conrelid = to_regclass(%s) AND c.contype = 'c'
  AND coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true) ORDER BY c.conname
"""
_FOREIGN_KEYS = """
SELECT c.conname, ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY AS k (attnum, n)
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum ORDER BY k.n),
  ARRAY(SELECT a.attname::text FROM unnest(c.confkey) WITH ORDINALITY AS k (attnum, n)
    JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.attnum ORDER BY k.n), n.nspname, p.relname
FROM pg_constraint c JOIN pg_class p ON p.oid = c.confrelid JOIN pg_namespace n ON n.oid = p.relnamespace
WHERE c.conrelid = to_regclass(%s) AND c.contype = 'f' AND c.confmatchtype = 's' AND c.conparentid = 0
  AND coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true) ORDER BY c.conname
"""


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint: `kind` is one of those above, `columns` are its columns.

    `expression` is that of a CHECK, as PostgreSQL writes it; `parent` and `parent_columns` are what a FOREIGN KEY
    names; `nulls_equal` is NULLS NOT DISTINCT of a UNIQUE.
    """

    kind: str
    name: str
    columns: tuple[str, ...]
    expression: str = ""
    parent: tuple[str, str] = ("", "")
    parent_columns: tuple[str, ...] = ()
    nulls_equal: bool = False


def read_constraints(connection: Connection[Any], relation: Relation) -> list[Constraint]:
    """The constraints of `relation` that can be asked of staged rows; none while it does not exist."""
    place = f'"{relation.schema.replace(chr(34), chr(34) * 2)}"."{relation.name.replace(chr(34), chr(34) * 2)}"'
    keys = set(relation.primary_key)
    written = {column.name for column in relation.columns} | {column.name for column in relation.exact_columns}
    values = {column.name for column in relation.columns if column.name not in keys}
    found: list[Constraint] = []
    for (name,) in connection.execute(_NOT_NULL, (place,)).fetchall():
        if name in values:
            found.append(Constraint(NOT_NULL, f"NOT NULL of {name}", (name,)))
    for name, columns, nulls_equal in connection.execute(_UNIQUE, (place,)).fetchall():
        if written.issuperset(columns):
            found.append(Constraint(UNIQUE, name, tuple(columns), nulls_equal=nulls_equal))
    for name, columns, expression, whole_row in connection.execute(_CHECKS, (place,)).fetchall():
        if written.issuperset(columns) and not whole_row:
            found.append(Constraint(CHECK, name, tuple(columns), expression=expression))
    for name, columns, parent_columns, schema, parent in connection.execute(_FOREIGN_KEYS, (place,)).fetchall():
        if written.issuperset(columns):
            found.append(
                Constraint(
                    FOREIGN_KEY, name, tuple(columns), parent=(schema, parent), parent_columns=tuple(parent_columns)
                )
            )
    return found
