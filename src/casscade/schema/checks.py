"""Which tables can be replicated, and what to say about the others.

Invariant: a table that passes can be captured, decoded, merged and copied completely; anything else is refused before
work begins, with the reason and the remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

from casscade.core.errors import ConfigurationError
from casscade.cql.types import quote_name
from casscade.schema.model import SchemaSnapshot, Table

_NOTHING_STARTED: Final = "nothing was started"


def require_table(snapshot: SchemaSnapshot, keyspace: str, name: str) -> Table:
    """The table `keyspace.name`, which can be replicated.

    Raises `ConfigurationError`: `keyspace_unknown`, `table_unknown`, or one of `require_replicable`.
    """
    if keyspace not in snapshot.keyspaces:
        raise ConfigurationError(
            "keyspace_unknown",
            f"Cassandra has no keyspace {keyspace!r}",
            where="tables",
            now=_NOTHING_STARTED,
            hint=_suggestion(keyspace, snapshot.keyspaces, "create it, or correct source: keyspace.table"),
        )
    table = snapshot.find(keyspace, name)
    if table is None:
        names = [found.name for found in snapshot.tables.values() if found.keyspace == keyspace and not found.is_view]
        raise ConfigurationError(
            "table_unknown",
            f"the keyspace {keyspace!r} has no table {name!r}",
            where="tables",
            now=_NOTHING_STARTED,
            hint=_suggestion(name, names, "create it, or correct source: keyspace.table"),
        )
    require_replicable(snapshot, table)
    return table


def require_replicable(snapshot: SchemaSnapshot, table: Table) -> None:
    """Refuse a table that can't be replicated.

    Raises `ConfigurationError`: `table_is_view`, `table_compact`, `keyspace_not_durable`, `table_without_cdc`.
    """
    if table.is_view:
        raise _refused(
            "table_is_view",
            f"{table.full_name} is a materialized view",
            "replicate its base table and create the view in PostgreSQL",
        )
    if not table.has_plain_rows:
        raise _refused(
            "table_compact",
            f"{table.full_name} was made WITH COMPACT STORAGE or by Thrift, and has columns that CQL does not show",
            f"ALTER TABLE {_cql_name(table)} DROP COMPACT STORAGE; or leave the table out",
        )
    keyspace = snapshot.keyspaces.get(table.keyspace)
    if keyspace is not None and not keyspace.durable_writes:
        raise _refused(
            "keyspace_not_durable",
            f"the keyspace {table.keyspace!r} has durable_writes = false: its changes never reach the commit log",
            f"ALTER KEYSPACE {quote_name(table.keyspace)} WITH durable_writes = true;",
        )
    if not table.cdc:
        raise _refused(
            "table_without_cdc",
            f"{table.full_name} does not have cdc = true",
            f"ALTER TABLE {_cql_name(table)} WITH cdc = true;",
        )


def _cql_name(table: Table) -> str:
    return f"{quote_name(table.keyspace)}.{quote_name(table.name)}"


def _refused(code: str, what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(code, what, where="tables", now=_NOTHING_STARTED, hint=hint)


def _suggestion(name: str, known: Iterable[str], otherwise: str) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise
