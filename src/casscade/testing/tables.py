"""Sample tables: between them every kind of key, column and type that Casscade carries over.

Invariant: a table here can be replicated, and the values of its keys (see `casscade.testing.values`) are such that
PostgreSQL holds them exactly.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from casscade.cql.types import CqlType, UdtDefinition, parse_type


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


@dataclass(frozen=True)
class SampleTable:
    """A table by name, in whichever keyspace; `default_ttl` in seconds, 0 for none."""

    name: str
    columns: tuple[SampleColumn, ...]
    default_ttl: int = 0

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
            f"{column.name} {column.definition}{' static' if column.role is Role.STATIC else ''}"
            for column in self.columns
        ]
        clustering = self.of(Role.CLUSTERING)
        partition = ", ".join(column.name for column in self.of(Role.PARTITION))
        key = ", ".join([f"({partition})", *(column.name for column in clustering)])
        order = ", ".join(f"{column.name} {'DESC' if column.descending else 'ASC'}" for column in clustering)
        options = [f"CLUSTERING ORDER BY ({order})"] if clustering else []
        if self.default_ttl:
            options.append(f"default_time_to_live = {self.default_ttl}")
        options.append(f"cdc = {'true' if cdc else 'false'}")
        return (
            f"CREATE TABLE {keyspace}.{self.name} ({', '.join(columns)}, PRIMARY KEY ({key})) "
            f"WITH {' AND '.join(options)}"
        )


UDTS: Final = {
    "point": (("x", "int"), ("y", "double")),
    "address": (("street", "text"), ("number", "int"), ("tags", "frozen<set<text>>"), ("at", "frozen<point>")),
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
        f"CREATE TYPE {keyspace}.{name} ({', '.join(f'{field} {type_}' for field, type_ in fields)})"
        for name, fields in UDTS.items()
    ]


def sample_table(
    name: str,
    partition: Mapping[str, str],
    clustering: Mapping[str, str] | None = None,
    statics: Mapping[str, str] | None = None,
    regulars: Mapping[str, str] | None = None,
    default_ttl: int = 0,
) -> SampleTable:
    """A table by the CQL types of its columns; a clustering type may end with ` DESC`."""
    columns = []
    roles = ((Role.PARTITION, partition), (Role.CLUSTERING, clustering), (Role.STATIC, statics))
    for role, group in (*roles, (Role.REGULAR, regulars)):
        for column, text in (group or {}).items():
            definition = text.removesuffix(" DESC")
            parsed = parse_type(definition, _NO_KEYSPACE, _DEFINITIONS)
            columns.append(SampleColumn(column, definition, role, parsed, descending=definition != text))
    return SampleTable(name, tuple(columns), default_ttl)


_SIMPLE: Final = (
    "ascii bigint blob boolean date decimal double duration float inet int smallint text time timestamp timeuuid "
    "tinyint uuid varint"
)

PLAIN: Final = sample_table("plain", {"p": "int"}, regulars={"a": "int", "b": "text", "c": "bigint"})
KEYS_ONLY: Final = sample_table("keys_only", {"p": "int"}, {"c": "int"})
SIMPLE_TYPES: Final = sample_table("simple_types", {"p": "text"}, regulars={f"v_{t}": t for t in _SIMPLE.split()})
ORDERED: Final = sample_table(
    "ordered", {"a": "int", "b": "text"}, {"c1": "timeuuid DESC", "c2": "int"}, regulars={"v": "int", "w": "text"}
)
EVENTS: Final = sample_table(
    "events",
    {"p": "uuid"},
    {"at": "timestamp DESC", "name": "text", "n": "int DESC"},
    regulars={"v": "text", "w": "double"},
)
TYPED_KEYS: Final = sample_table(
    "typed_keys",
    {"p": "tinyint", "q": "date"},
    {
        "k1": "boolean",
        "k2": "varint DESC",
        "k3": "blob",
        "k4": "double DESC",
        "k5": "inet",
        "k6": "time",
        "k7": "smallint DESC",
        "k8": "ascii",
        "k9": "decimal",
    },
    regulars={"v": "int"},
)
STATICS: Final = sample_table(
    "statics",
    {"p": "bigint"},
    {"c": "int"},
    {"s1": "text", "s2": "int", "s3": "set<int>"},
    {"v": "int", "w": "text"},
)
COLLECTIONS: Final = sample_table(
    "collections",
    {"p": "int"},
    {"c": "text"},
    regulars={
        "tags": "set<text>",
        "numbers": "list<int>",
        "counts": "map<text, int>",
        "home": "address",
        "frozen_list": "frozen<list<text>>",
        "frozen_set": "frozen<set<int>>",
        "frozen_map": "frozen<map<int, text>>",
        "pair": "tuple<int, text, double>",
        "frozen_home": "frozen<address>",
        "v": "int",
    },
)
NESTED: Final = sample_table(
    "nested",
    {"p": "uuid"},
    regulars={
        "a": "list<frozen<map<text, frozen<tuple<int, float>>>>>",
        "b": "map<timeuuid, frozen<set<text>>>",
        "c": "set<inet>",
        "d": "vector<float, 3>",
        "e": "map<decimal, duration>",
        "f": "frozen<map<frozen<tuple<int, text>>, time>>",
        "g": "frozen<list<timestamp>>",
        "h": "list<date>",
    },
)
WIDE: Final = sample_table("wide", {"p": "int"}, {"c": "int"}, regulars={f"v{i:02}": "int" for i in range(70)})
EXPIRING: Final = sample_table(
    "expiring", {"p": "int"}, {"c": "int"}, {"s": "int"}, {"v": "int", "m": "map<int, text>"}, default_ttl=1_000_000
)

ALL: Final = (PLAIN, KEYS_ONLY, SIMPLE_TYPES, ORDERED, EVENTS, TYPED_KEYS, STATICS, COLLECTIONS, NESTED, WIDE, EXPIRING)


def create_all(keyspace: str, tables: Sequence[SampleTable] = ALL) -> list[str]:
    """The statements for the types and the tables."""
    return [*create_types(keyspace), *(table.create(keyspace) for table in tables)]
