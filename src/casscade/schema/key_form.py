"""The form of a table's key in PostgreSQL: natural or exact.

Invariant: with either form two keys of Cassandra never become one row, and one key never becomes two.

A *natural* key is the key columns themselves. Values that PostgreSQL can't tell apart, or can't hold, are refused one
by one (dead letters). An *exact* key is their bytes: `_cdc_partition` holds the serialized partition key as Cassandra
compares it, `_cdc_clustering` the clustering values, each behind its length as i32 (-1 for null), in the canonical
bytes of values that Cassandra holds to be equal (`casscade.cql.canonical`). A key beyond 1,024 bytes is there with its
beginning and a digest (`casscade.core.keys.key_field`), and `_cdc_long_key` has all of it. The key columns stay beside
it, nullable, and show the key.
"""

from __future__ import annotations

from typing import Final

from casscade.core.errors import ConfigurationError
from casscade.cql.types import CqlType
from casscade.schema.model import ColumnKind, Table

AUTO: Final = "auto"
NATURAL: Final = "natural"
EXACT: Final = "exact"

# Their PostgreSQL types have another equality, or none of use.
_NEVER_NATURAL: Final = frozenset({"list", "set", "map", "tuple", "udt", "vector"})
# 0 is an everyday value, and -0 another key; unknown classes compare as they like.
_BETTER_EXACT: Final = _NEVER_NATURAL | {"float", "double", "custom"}


def is_exact(table: Table, key: str) -> bool:
    """Whether the table gets an exact key with the setting `key`.

    Raises ConfigurationError (`key_type_unsupported`) for `natural` with a key column that can't be natural.
    """
    if key == EXACT:
        return True
    columns = (*table.partition_key, *table.clustering)
    if key == AUTO:
        # 1.0 and 1.00 are two partitions, but one row of a partition.
        return any(
            column.type.name in _BETTER_EXACT
            or (column.type.name == "decimal" and column.kind is ColumnKind.PARTITION_KEY)
            for column in columns
        )
    for column in columns:
        if not can_be_natural(column.type):
            raise ConfigurationError(
                "key_type_unsupported",
                f"the key column {column.name!r} of {table.full_name} has the type {column.type.cql()}, of which "
                "PostgreSQL can't tell all values apart",
                now="nothing was started",
                hint="set key: exact for this table, or leave key out",
            )
    return False


def can_be_natural(type_: CqlType) -> bool:
    """Whether a column of this type may stand in a natural key."""
    return type_.name not in _NEVER_NATURAL
