"""What PostgreSQL has now, read from its catalogue, and the execution of planned DDL.

Invariant: DDL of all instances that share a control schema runs one after another, and waits for locks only as long
as `lock_timeout` allows, so that it never blocks the readers of a table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg import Connection

from casscade.core import failpoints
from casscade.core.errors import ConfigurationError
from casscade.schema.ddl import DdlStatement, ExistingColumn, ExistingSchema, ExistingTable
from casscade.schema.mapping import EXPIRY_COLUMN, Target

DDL_LOCK = 0x63617373646464
# Whoever waits for a lock on a table holds up all that come after it: a second, and again after a pause.
LOCK_TIMEOUT_MS = 1000

_KINDS = {
    "c": "type",
    "r": "table",
    "p": "table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "S": "sequence",
}

_COLUMNS = """
SELECT c.relname, c.relkind::text, a.attname,
       CASE WHEN t.typtype = 'c' THEN
         '"' || replace(s.nspname, '"', '""') || '"."' || replace(t.typname, '"', '""') || '"'
       ELSE format_type(a.atttypid, a.atttypmod) END, NOT a.attnotnull,
       a.atthasdef OR a.attidentity <> '', coalesce(l.collname, ''), coalesce(col_description(c.oid, a.attnum), '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_namespace s ON s.oid = t.typnamespace
LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE n.nspname = %s AND c.relname = ANY(%s) ORDER BY c.relname, a.attnum
"""
_KEYS = """
SELECT c.relname, a.attname
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, position)
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
WHERE i.indisprimary AND n.nspname = %s AND c.relname = ANY(%s) ORDER BY c.relname, k.position
"""
_EXPIRY_INDEXES = """
SELECT DISTINCT c.relname
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
WHERE n.nspname = %s AND c.relname = ANY(%s) AND a.attname = %s
"""

_PGVECTOR = """
SELECT to_regtype('vector') IS NOT NULL,
       (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'),
       EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector')
"""


def read_existing(connection: Connection[Any], target: Target) -> ExistingSchema:
    """What stands in PostgreSQL under the names of `target`."""
    schema = target.rows.schema
    types = {type_.composite[1] for type_ in target.composites}
    names = [*target.relation_names, *types]
    exists = connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone() is not None
    keys: dict[str, list[str]] = {}
    for relation, column in connection.execute(_KEYS, (schema, names)).fetchall():
        keys.setdefault(relation, []).append(column)
    indexed = {row[0] for row in connection.execute(_EXPIRY_INDEXES, (schema, names, EXPIRY_COLUMN)).fetchall()}
    kinds: dict[str, str] = {}
    columns: dict[str, list[ExistingColumn]] = {}
    for relation, kind, name, type_, nullable, has_default, collation, comment in connection.execute(
        _COLUMNS, (schema, names)
    ).fetchall():
        kinds[relation] = _KINDS.get(kind, "relation of another kind")
        found = columns.setdefault(relation, [])
        if name is not None:
            found.append(
                ExistingColumn(name, type_, nullable, has_default, "" if collation == "default" else collation, comment)
            )
    found_tables = {
        relation: ExistingTable(
            tuple(columns[relation]), tuple(keys.get(relation, ())), kinds[relation], relation in indexed
        )
        for relation in kinds
    }
    return ExistingSchema(
        exists,
        {name: table for name, table in found_tables.items() if name not in types},
        {name: table for name, table in found_tables.items() if name in types},
    )


def read_composite_oids(connection: Connection[Any], target: Target) -> dict[str, int]:
    """The numbers of the target's composite types, which must exist, by the names of their `PgType`."""
    names = [type_.name for type_ in target.composites]
    if not names:
        return {}
    found = connection.execute("SELECT n, n::regtype::oid::bigint FROM unnest(%s::text[]) AS n", (names,)).fetchall()
    return {name: int(oid) for name, oid in found}


def require_extensions(connection: Connection[Any], targets: Iterable[Target]) -> None:
    """Raise ConfigurationError (`extension_missing`) when a column asks for pgvector's type and it is not at hand."""
    for target in targets:
        for relation in target.relations:
            for column in relation.value_columns:
                if column.pg_type.form == "vector":
                    _require_pgvector(connection, f"the column {column.column.name!r} of {target.table.full_name}")
                    return


def _require_pgvector(connection: Connection[Any], asker: str) -> None:
    row = connection.execute(_PGVECTOR).fetchone()
    assert row is not None
    visible, schema, available = row
    if visible:
        return
    what = "which this database does not have"
    hint = "run CREATE EXTENSION vector in this database"
    if schema is not None:
        what = f"which is in the schema {schema!r}, outside of the role's search_path"
        hint = f"add {schema!r} to the search_path of the role (ALTER ROLE … SET search_path)"
    elif not available:
        hint = "install pgvector on the server and run CREATE EXTENSION vector in this database"
    raise ConfigurationError(
        "extension_missing",
        f"{asker} is to be a vector of the extension pgvector, {what}",
        where="tables[].columns.types",
        now="nothing was started",
        hint=f"{hint}, or choose array: it becomes real[]",
    )


def execute_ddl(connection: Connection[Any], statements: Iterable[DdlStatement]) -> None:
    """Run planned statements in the caller's transaction, which should hold `lock_ddl`."""
    for statement in statements:
        # The text was composed by schema.ddl from quoted identifiers and a fixed table of types.
        connection.execute(statement.sql.encode())
        if failpoints.ARMED:
            failpoints.reach("ddl_applied")


def lock_ddl(connection: Connection[Any]) -> None:
    """Let one instance at a time look at PostgreSQL's tables and change them, until the transaction ends."""
    connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{LOCK_TIMEOUT_MS}ms",))
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (DDL_LOCK,))
