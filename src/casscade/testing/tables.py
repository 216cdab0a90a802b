"""What a sample table is: its columns by role, and the statements that create it.

Invariant: every name enters CQL text through `quote_name`, so that any name may be one of a sample table.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from casscade.cql.types import SIMPLE_TYPES, CqlType, UdtDefinition, parse_type, quote_name

SIMPLE: Final = tuple(sorted(SIMPLE_TYPES - {"counter", "empty"}))
"""Every simple type but the counter."""


class Role(enum.Enum):
    """What a column of a sample table is for."""

    PARTITION = "partition"
    CLUSTERING = "clustering"
    STATIC = "static"
    REGULAR = "regular"


@dataclass(frozen=True, slots=True)
class SampleColumn:
    """A column; `definition` is its CQL type, `descending` the clustering order."""

    name: str
    definition: str
    role: Role
    type: CqlType
    descending: bool = False

    @property
    def cql(self) -> str:
        """The name as CQL text has it."""
        return quote_name(self.name)


@dataclass(frozen=True)
class SampleTable:
    """A table by name, in whichever keyspace; `default_ttl` in seconds, 0 for none.

    `wide` asks a workload for so many values of each clustering column, in one partition; 0 leaves it to the workload.
    `hostile_keys` marks one whose key columns take any value; its key in PostgreSQL is exact.
    """

    name: str
    columns: tuple[SampleColumn, ...]
    default_ttl: int = 0
    wide: int = 0
    hostile_keys: bool = False

    @property
    def cql(self) -> str:
        """The name as CQL text has it."""
        return quote_name(self.name)

    @cached_property
    def counter(self) -> bool:
        """Whether it is a table of counters."""
        return any(column.type.name == "counter" for column in self.columns)

    def of(self, role: Role) -> tuple[SampleColumn, ...]:
        """The columns of a role, in order."""
        return self._by_role[role]

    @property
    def key(self) -> tuple[SampleColumn, ...]:
        """The whole primary key."""
        return (*self.of(Role.PARTITION), *self.of(Role.CLUSTERING))

    @cached_property
    def _by_role(self) -> dict[Role, tuple[SampleColumn, ...]]:
        return {role: tuple(column for column in self.columns if column.role is role) for role in Role}

    def create(self, keyspace: str, *, cdc: bool = True) -> str:
        """The statement that creates it."""
        columns = [
            f"{column.cql} {column.definition}{' static' if column.role is Role.STATIC else ''}"
            for column in self.columns
        ]
        clustering = self.of(Role.CLUSTERING)
        partition = ", ".join(column.cql for column in self.of(Role.PARTITION))
        key = ", ".join([f"({partition})", *(column.cql for column in clustering)])
        order = ", ".join(f"{column.cql} {'DESC' if column.descending else 'ASC'}" for column in clustering)
        options = [f"CLUSTERING ORDER BY ({order})"] if clustering else []
        if self.default_ttl:
            options.append(f"default_time_to_live = {self.default_ttl}")
        options.append(f"cdc = {'true' if cdc else 'false'}")
        return (
            f"CREATE TABLE {keyspace}.{self.cql} ({', '.join(columns)}, PRIMARY KEY ({key})) "
            f"WITH {' AND '.join(options)}"
        )


UDTS: Final = {
    "point": (("x", "int"), ("y", "double")),
    "address": (("street", "text"), ("number", "int"), ("tags", "frozen<set<text>>"), ("at", "frozen<point>")),
    "every": tuple((f"f_{name}", name) for name in SIMPLE),
    "Odd Name": (("Field One", "int"), ("select", "text"), ("größe", "frozen<list<int>>")),
}
_NO_KEYSPACE: Final = "sample"
_DEFINITIONS: Final = {
    name: UdtDefinition(
        _NO_KEYSPACE, name, tuple(field for field, _ in fields), tuple(definition for _, definition in fields)
    )
    for name, fields in UDTS.items()
}


def create_types(keyspace: str) -> list[str]:
    """The statements that create the UDTs that the sample tables use."""
    return [
        f"CREATE TYPE {keyspace}.{quote_name(name)} "
        f"({', '.join(f'{quote_name(field)} {type_}' for field, type_ in fields)})"
        for name, fields in UDTS.items()
    ]


def sample_table(
    name: str,
    partition: Mapping[str, str],
    clustering: Mapping[str, str] | None = None,
    statics: Mapping[str, str] | None = None,
    regulars: Mapping[str, str] | None = None,
    default_ttl: int = 0,
    wide: int = 0,
    *,
    hostile_keys: bool = False,
) -> SampleTable:
    """A table by the CQL types of its columns; a clustering type may end with ` DESC`."""
    columns = []
    roles = ((Role.PARTITION, partition), (Role.CLUSTERING, clustering), (Role.STATIC, statics))
    for role, group in (*roles, (Role.REGULAR, regulars)):
        for column, text in (group or {}).items():
            definition = text.removesuffix(" DESC")
            parsed = parse_type(definition, _NO_KEYSPACE, _DEFINITIONS)
            columns.append(SampleColumn(column, definition, role, parsed, descending=definition != text))
    return SampleTable(name, tuple(columns), default_ttl, wide, hostile_keys)


def create_all(keyspace: str, tables: Sequence[SampleTable]) -> list[str]:
    """The statements for the types and the tables."""
    return [*create_types(keyspace), *(table.create(keyspace) for table in tables)]
