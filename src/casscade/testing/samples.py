"""Sample tables: between them every kind of key, column and type that Casscade carries over.

Invariant: a table here can be replicated, and the values of its keys (see `casscade.testing.values`) are such that
PostgreSQL holds them exactly, hostile keys apart, which need an exact key.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from casscade.cql.types import CqlType
from casscade.testing.tables import SIMPLE, Role, SampleTable, sample_table

# Cassandra orders no durations, so that they are in no set, and no key of a map.
_ORDERED: Final = [name for name in SIMPLE if name != "duration"]

PLAIN: Final = sample_table("plain", {"p": "int"}, regulars={"a": "int", "b": "text", "c": "bigint"})
KEYS_ONLY: Final = sample_table("keys_only", {"p": "int"}, {"c": "int"})
SIMPLE_TYPES: Final = sample_table("simple_types", {"p": "text"}, regulars={f"v_{t}": t for t in SIMPLE})
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
        "k4": "bigint DESC",
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
STATIC_COLLECTIONS: Final = sample_table(
    "static_collections",
    {"p": "int"},
    {"c": "int DESC"},
    {
        "s1": "list<text>",
        "s2": "map<int, text>",
        "s3": "address",
        "s4": "frozen<list<int>>",
        "s5": "set<uuid>",
        "s6": "tuple<int, text>",
    },
    {"v": "list<int>"},
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
LIST_ELEMENTS: Final = sample_table("list_elements", {"p": "int"}, regulars={f"l_{t}": f"list<{t}>" for t in SIMPLE})
SET_ELEMENTS: Final = sample_table(
    "set_elements", {"p": "int"}, {"c": "int"}, regulars={f"s_{t}": f"set<{t}>" for t in _ORDERED}
)
MAP_ENTRIES: Final = sample_table(
    "map_entries",
    {"p": "int"},
    regulars={f"m_{t}": f"map<{t}, {SIMPLE[-1 - i]}>" for i, t in enumerate(_ORDERED)} | {"m": "map<int, duration>"},
)
FROZEN_COLLECTIONS: Final = sample_table(
    "frozen_collections",
    {"p": "int"},
    regulars={f"l_{t}": f"frozen<list<{t}>>" for t in SIMPLE}
    | {f"s_{t}": f"frozen<set<{t}>>" for t in _ORDERED}
    | {f"m_{t}": f"frozen<map<{t}, {SIMPLE[-1 - i]}>>" for i, t in enumerate(_ORDERED)},
)
FIELDS: Final = sample_table(
    "fields",
    {"p": "int"},
    {"c": "int"},
    {"s": "every"},
    {
        "t": f"tuple<{', '.join(SIMPLE)}>",
        "u": "every",
        "f": "frozen<every>",
        "l": "list<frozen<every>>",
        "m": f"map<text, frozen<tuple<{', '.join(SIMPLE)}>>>",
    },
)
DEEP: Final = sample_table(
    "deep",
    {"p": "int"},
    regulars={
        "a": "frozen<map<frozen<list<frozen<set<int>>>>, frozen<map<text, frozen<tuple<address, blob>>>>>>",
        "b": "set<frozen<list<frozen<tuple<int, frozen<set<text>>>>>>>",
        "c": "map<frozen<point>, frozen<list<frozen<address>>>>",
        "d": "list<frozen<map<inet, frozen<list<varint>>>>>",
        "e": "map<frozen<map<int, text>>, frozen<set<frozen<point>>>>",
        "f": "tuple<tuple<int, tuple<text, frozen<list<date>>>>, frozen<map<boolean, float>>>",
    },
)
VECTORS: Final = sample_table(
    "vectors",
    {"p": "int"},
    regulars={f"v_{t}": f"vector<{t}, 2>" for t in SIMPLE}
    | {
        "d": "vector<float, 3>",
        "l": "list<frozen<vector<float, 2>>>",
        "t": "vector<frozen<tuple<int, text>>, 2>",
        "n": "vector<frozen<list<int>>, 2>",
        "m": "map<text, frozen<vector<double, 2>>>",
        "u": "vector<frozen<point>, 1>",
    },
)
REVERSED: Final = sample_table(
    "reversed_keys",
    {f"p_{t}": t for t in ("inet", "timestamp", "varint", "boolean")},
    {f"c_{t}": f"{t} DESC" for t in _ORDERED},
    regulars={"v": "int"},
)
PARTITION_KEYS: Final = sample_table("partition_keys", {f"p_{t}": t for t in _ORDERED}, regulars={"v": "int"})
NAMES: Final = sample_table(
    "Mixed_Case",
    {"Part ition": "int", "select": "text"},
    {"größe": "int", "ctid": "text DESC"},
    {'Static "quoted"': "text", "xmin": "set<int>"},
    {
        "a" * 70: "int",
        "a" * 69 + "b": "text",
        "order": "map<text, int>",
        # Cassandra loses overwrites of multi-cell columns whose name begins beyond ASCII (docs/writes.md).
        "名前": "frozen<list<int>>",
        "Liste ü": "list<int>",
        "User Type": '"Odd Name"',
        "_cdc": "int",
    },
)
WIDE_PARTITION: Final = sample_table(
    "wide_partition", {"p": "int"}, {"c": "int", "d": "int DESC"}, regulars={"v": "int", "m": "set<int>"}, wide=12
)
BRIEF_KEYS: Final = sample_table("only_clustering", {"p": "text"}, {"c": "uuid DESC", "d": "text"}, {"s": "int"})
COUNTERS: Final = sample_table(
    "counters", {"p": "int"}, {"c": "int"}, {"s": "counter"}, {"v": "counter", "w": "counter"}
)
EVERYTHING: Final = sample_table(
    "everything",
    {"p": "int"},
    regulars={f"v_{t}": t for t in SIMPLE}
    | {
        "l": "list<text>",
        "s": "set<int>",
        "m": "map<text, timestamp>",
        "u": "address",
        "fl": "frozen<list<decimal>>",
        "fs": "frozen<set<text>>",
        "fm": "frozen<map<uuid, double>>",
        "fu": "frozen<address>",
        "t": "tuple<int, text, frozen<list<inet>>>",
        "v": "vector<float, 3>",
    },
)
"""Thirty columns: every type, in one table."""

EXACT_KEYS: Final = sample_table(
    "exact_keys",
    {"p": "frozen<list<int>>", "q": "decimal"},
    {"k1": "double DESC", "k2": "frozen<tuple<int, decimal>>", "k3": "frozen<point>", "k4": "decimal DESC"},
    {"s": "int"},
    {"v": "int", "m": "map<int, text>"},
    hostile_keys=True,
)
EXACT_RANGES: Final = sample_table(
    "exact_ranges",
    {"p": "float"},
    {"k1": "frozen<list<decimal>> DESC", "k2": "double"},
    {"s": "int"},
    {"v": "int"},
    hostile_keys=True,
)
EXACT_TEXTS: Final = sample_table(
    "exact_texts",
    {"p": "text", "f": "frozen<set<int>>"},
    {"k1": "time", "k2": "blob DESC", "k3": "frozen<map<text, boolean>>", "k4": "timestamp"},
    regulars={"v": "int", "w": "text"},
    hostile_keys=True,
)
EXACT_PARTITIONS: Final = sample_table("exact_partitions", {"p": "decimal"}, regulars={"v": "int"}, hostile_keys=True)
LOOSE_PATHS: Final = sample_table(
    "loose_paths",
    {"p": "int"},
    regulars={"a": "set<decimal>", "b": "map<decimal, int>", "c": "set<frozen<tuple<decimal, boolean>>>"},
)
"""Elements of which equal ones have several forms: Cassandra keeps one of them, at a tie whichever it met first."""

EXACT: Final = (EXACT_KEYS, EXACT_RANGES, EXACT_TEXTS, EXACT_PARTITIONS)

ALL: Final = (
    *(PLAIN, KEYS_ONLY, SIMPLE_TYPES, ORDERED, EVENTS, TYPED_KEYS, STATICS, COLLECTIONS, NESTED, WIDE, EXPIRING),
    *(LIST_ELEMENTS, SET_ELEMENTS, MAP_ENTRIES, FROZEN_COLLECTIONS, FIELDS, DEEP, VECTORS, REVERSED, PARTITION_KEYS),
    *(STATIC_COLLECTIONS, NAMES, WIDE_PARTITION, BRIEF_KEYS, COUNTERS, EVERYTHING),
)
_VECTORS_SINCE: Final = 5


def tables_for(version: str, tables: tuple[SampleTable, ...] = ALL) -> tuple[SampleTable, ...]:
    """The tables, and of them the columns, that Cassandra `version` (`4.1.3`) can have."""
    if int(version.split(".", 1)[0]) >= _VECTORS_SINCE:
        return tables
    kept = []
    for table in tables:
        columns = tuple(column for column in table.columns if not _has_vector(column.type))
        if len(columns) == len(table.columns):
            kept.append(table)
        elif any(column.role is Role.REGULAR for column in columns):
            kept.append(replace(table, columns=columns))
    return tuple(kept)


def _has_vector(type_: CqlType) -> bool:
    return type_.name == "vector" or any(map(_has_vector, type_.args))
