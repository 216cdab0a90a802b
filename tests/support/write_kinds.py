"""Every kind of write that CQL has, as statements on small tables and what is to be seen after them.

Invariant: what a kind shows depends on its own statements alone: each writes to partitions of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cassandra.query import UNSET_VALUE

Step = str | tuple[str, tuple[Any, ...]]
FUTURE: Final = 4_102_444_800_000_000
"""Microseconds: the year 2100."""

SCHEMA: Final = (
    "CREATE TYPE {ks}.home (street text, number int)",
    "CREATE TABLE {ks}.data (p int, c int, s text static, labels set<text> static, a text, b int, PRIMARY KEY (p, c)) "
    "WITH cdc = true",
    "CREATE TABLE {ks}.ranges (p int, c1 int, c2 int, v int, PRIMARY KEY (p, c1, c2)) "
    "WITH CLUSTERING ORDER BY (c1 ASC, c2 DESC) AND cdc = true",
    "CREATE TABLE {ks}.lists (p int PRIMARY KEY, l list<int>, v int) WITH cdc = true",
    "CREATE TABLE {ks}.elements (p int PRIMARY KEY, s set<text>, m map<text, int>, h home, "
    "fl frozen<list<int>>, fh frozen<home>) WITH cdc = true",
    "CREATE TABLE {ks}.counts (p int, c int, s counter static, n counter, m counter, PRIMARY KEY (p, c)) "
    "WITH cdc = true",
    "CREATE TABLE {ks}.notes (p int, c int, sl list<text> static, l list<text>, v int, PRIMARY KEY (p, c)) "
    "WITH cdc = true",
    "CREATE TABLE {ks}.brief (p int PRIMARY KEY, a text, b int) WITH default_time_to_live = 1 AND cdc = true",
    "CREATE TABLE {ks}.other (p int PRIMARY KEY, v text) WITH cdc = true",
    "CREATE TABLE {ks}.hidden (p int PRIMARY KEY, v text) WITH cdc = true",
)
REPLICATED: Final = ("data", "ranges", "lists", "notes", "counts", "elements", "brief", "other")
COLUMNS: Final = {
    "data": ("data_with_static", "c, s, labels, a, b", "c"),
    "ranges": ("ranges", "c1, c2, v", "c1, c2 DESC"),
    "elements": ("elements", "s, m, h, fl, fh", "p"),
    "lists": ("lists", "l, v", "p"),
    "notes": ("notes_with_static", "c, sl, l, v", "c"),
    "counts": ("counts_with_static", "c, s, n, m", "c"),
    "brief": ("brief", "a, b", "p"),
    "other": ("other", "v", "p"),
}
"""Of each table: its relation with all columns, what is compared, and Cassandra's order."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of write: its steps, and the rows that (table, partition) show at last.

    A step is CQL text, or text with values to bind. `{p}` and `{q}` are partitions of the kind, `{ks}` the keyspace.
    """

    name: str
    steps: tuple[Step, ...]
    shown: tuple[tuple[str, str, tuple[tuple[Any, ...], ...]], ...]


def _data(name: str, *steps: Step, shown: Sequence[tuple[Any, ...]]) -> Kind:
    """On `data`; rows are shown as (c, a, b): nothing static."""
    return Kind(name, steps, (("data", "p", tuple((c, None, None, a, b) for c, a, b in shown)),))


def _static(name: str, *steps: Step, shown: Sequence[tuple[Any, ...]]) -> Kind:
    """On `data`; rows are shown as (c, s, labels, a, b)."""
    return Kind(name, steps, (("data", "p", tuple(shown)),))


def _insert(c: int, a: str = "x", b: int = 7, using: str = "") -> str:
    return f"INSERT INTO {{ks}}.data (p, c, a, b) VALUES ({{p}}, {c}, '{a}', {b}){using}"


def _update(assignments: str, using: str = "", c: int = 1) -> str:
    return f"UPDATE {{ks}}.data {using} SET {assignments} WHERE p = {{p}} AND c = {c}"


_GRID: Final = (
    "BEGIN UNLOGGED BATCH "
    + " ".join(
        f"INSERT INTO {{ks}}.ranges (p, c1, c2, v) VALUES ({{p}}, {c1}, {c2}, 0) USING TIMESTAMP 1000;"
        for c1 in range(4)
        for c2 in range(3)
    )
    + " APPLY BATCH"
)


def _range(name: str, *where: str, left: str) -> Kind:
    """On a grid of c1 in 0..3 and c2 in 0..2; each of `where` is a deletion, `left` the keys that stay (`c1c2`)."""
    steps = tuple(f"DELETE FROM {{ks}}.ranges WHERE p = {{p}} AND {text}" for text in where)
    return Kind(name, (_GRID, *steps), (("ranges", "p", _keys(left)),))


def _keys(left: str) -> tuple[tuple[Any, ...], ...]:
    return tuple((int(key[0]), int(key[1]), 0) for key in left.split())


def _batch_of_ranges(name: str, *deletions: tuple[int, str], left: str) -> Kind:
    """One mutation with several deletions, each with its timestamp: in the commit log they become boundaries."""
    parts = " ".join(
        f"DELETE FROM {{ks}}.ranges USING TIMESTAMP {timestamp} WHERE p = {{p}} AND {text};"
        for timestamp, text in deletions
    )
    return Kind(name, (_GRID, f"BEGIN UNLOGGED BATCH {parts} APPLY BATCH"), (("ranges", "p", _keys(left)),))


_FULL: Final = (
    "INSERT INTO {ks}.elements (p, s, m, h, fl, fh) VALUES ({p}, {'a', 'b'}, {'x': 1, 'y': 2}, "
    "{street: 'old', number: 1}, [1], {street: 'f', number: 2})"
)
_SHOWN: Final[dict[str, Any]] = {
    "s": ["a", "b"],
    "m": {"x": 1, "y": 2},
    "h": {"street": "old", "number": 1},
    "fl": [1],
    "fh": {"street": "f", "number": 2},
}


def _elements(name: str, statement: str, **changed: Any) -> Kind:
    """On a row with something in every column; `changed` is what differs after `statement`."""
    text = statement if statement.startswith("DELETE") else f"UPDATE {{ks}}.elements SET {statement} WHERE p = {{p}}"
    return Kind(name, (_FULL, text), (("elements", "p", (tuple((_SHOWN | changed).values()),)),))


def _list(name: str, statement: str, shown: list[int] | None) -> Kind:
    """On the list [1, 2, 3]."""
    text = statement if statement.startswith("DELETE") else f"UPDATE {{ks}}.lists SET {statement} WHERE p = {{p}}"
    first = "INSERT INTO {ks}.lists (p, l, v) VALUES ({p}, [1, 2, 3], 7)"
    return Kind(name, (first, text), (("lists", "p", ((shown, 7),)),))


def _count(assignments: str, c: int = 1) -> str:
    return f"UPDATE {{ks}}.counts SET {assignments} WHERE p = {{p}} AND c = {c}"


def _counter(name: str, *steps: str, shown: Sequence[tuple[Any, ...]]) -> Kind:
    """On two rows with counters at 10 and 20, the static one at 5; rows are shown as (c, s, n, m)."""
    first = (_count("n = n + 10, m = m + 20"), _count("n = n + 10, m = m + 20", 2))
    static = "UPDATE {ks}.counts SET s = s + 5 WHERE p = {p}"
    return Kind(name, (*first, static, *steps), (("counts", "p", tuple(shown)),))


def _notes(name: str, *steps: str, shown: Sequence[tuple[Any, ...]]) -> Kind:
    """On two rows that share a static list; rows are shown as (c, sl, l, v)."""
    first = "INSERT INTO {ks}.notes (p, c, sl, l, v) VALUES ({p}, 1, ['s'], ['x', 'y'], 7)"
    second = "UPDATE {ks}.notes SET l = ['z'] WHERE p = {p} AND c = 2"
    return Kind(name, (first, second, *steps), (("notes", "p", tuple(shown)),))


_DATA_KINDS: Final = (
    _data("insert", _insert(1), shown=[(1, "x", 7)]),
    _data("insert-again", _insert(1), _insert(1, "y", 8), shown=[(1, "y", 8)]),
    _data("insert-key-only", "INSERT INTO {ks}.data (p, c) VALUES ({p}, 1)", shown=[(1, None, None)]),
    _data("update", _insert(1), _update("a = 'y', b = 8"), shown=[(1, "y", 8)]),
    _data("update-partial", _insert(1), _update("b = 8"), shown=[(1, "x", 8)]),
    _data("update-without-liveness", _update("b = 1"), shown=[(1, None, 1)]),
    _data(
        "update-without-liveness-gone", _update("b = 1"), "DELETE b FROM {ks}.data WHERE p = {p} AND c = 1", shown=[]
    ),
    _data("insert-stays-without-values", _insert(1), _update("a = null, b = null"), shown=[(1, None, None)]),
    _data("null", _insert(1), _update("a = null"), shown=[(1, None, 7)]),
    _data(
        "unset",
        _insert(1),
        ("INSERT INTO {ks}.data (p, c, a, b) VALUES ({p}, 1, ?, ?)", (UNSET_VALUE, 8)),
        shown=[(1, "x", 8)],
    ),
    _data("empty", _insert(1), _update("a = '', b = blobasint(0x)"), shown=[(1, "", None)]),
    _data("delete-column", _insert(1), "DELETE a FROM {ks}.data WHERE p = {p} AND c = 1", shown=[(1, None, 7)]),
    _data("delete-row", _insert(1), _insert(2), "DELETE FROM {ks}.data WHERE p = {p} AND c = 1", shown=[(2, "x", 7)]),
    _data(
        "delete-row-and-insert",
        _insert(1),
        "DELETE FROM {ks}.data WHERE p = {p} AND c = 1",
        "INSERT INTO {ks}.data (p, c, b) VALUES ({p}, 1, 9)",
        shown=[(1, None, 9)],
    ),
    _static(
        "delete-partition",
        _insert(1),
        _insert(2),
        "UPDATE {ks}.data SET s = 'me' WHERE p = {p}",
        "DELETE FROM {ks}.data WHERE p = {p}",
        shown=[],
    ),
    _static("static", "UPDATE {ks}.data SET s = 'me' WHERE p = {p}", shown=[(None, "me", None, None, None)]),
    _static(
        "static-and-rows",
        _insert(1),
        _insert(2),
        "UPDATE {ks}.data SET s = 'me', labels = {'l'} WHERE p = {p}",
        shown=[(1, "me", ["l"], "x", 7), (2, "me", ["l"], "x", 7)],
    ),
    _static(
        "delete-static",
        _insert(1),
        "UPDATE {ks}.data SET s = 'me', labels = {'l'} WHERE p = {p}",
        "DELETE s, labels['l'] FROM {ks}.data WHERE p = {p}",
        shown=[(1, None, None, "x", 7)],
    ),
    _static(
        "delete-static-alone",
        "UPDATE {ks}.data SET s = 'me' WHERE p = {p}",
        "DELETE s FROM {ks}.data WHERE p = {p}",
        shown=[],
    ),
    _data("timestamp-past", _insert(1), _update("a = 'late'", "USING TIMESTAMP 1000"), shown=[(1, "x", 7)]),
    _data("timestamp-future", _update("a = 'z'", f"USING TIMESTAMP {FUTURE}"), _insert(1), shown=[(1, "z", 7)]),
    _data(
        "timestamp-future-delete",
        f"DELETE FROM {{ks}}.data USING TIMESTAMP {FUTURE} WHERE p = {{p}} AND c = 1",
        _insert(1),
        _insert(2),
        shown=[(2, "x", 7)],
    ),
    _data(
        "timestamp-before-1970",
        _insert(1, using=" USING TIMESTAMP -2000"),
        _update("a = 'y'", "USING TIMESTAMP -1000"),
        "DELETE b FROM {ks}.data USING TIMESTAMP -1500 WHERE p = {p} AND c = 1",
        shown=[(1, "y", None)],
    ),
    _data("ttl-row", _insert(1, using=" USING TTL 1"), _insert(2), shown=[(2, "x", 7)]),
    _data("ttl-cell", _insert(1), _update("a = 'brief'", "USING TTL 1"), shown=[(1, None, 7)]),
    _data("ttl-without-liveness", _update("a = 'brief'", "USING TTL 1"), _update("b = 1", c=2), shown=[(2, None, 1)]),
    _data("ttl-long", _insert(1, using=" USING TTL 100000"), shown=[(1, "x", 7)]),
    _data(
        "ttl-overwritten", _insert(1, using=" USING TTL 1"), _insert(1, using=" USING TTL 100000"), shown=[(1, "x", 7)]
    ),
    _data("ttl-removed", _insert(1, using=" USING TTL 1"), _insert(1, "y"), shown=[(1, "y", 7)]),
    _data("ttl-removed-of-a-cell", _insert(1, using=" USING TTL 1"), _update("a = 'y'"), shown=[(1, "y", None)]),
    Kind("ttl-default", ("INSERT INTO {ks}.brief (p, a) VALUES ({p}, 'x')",), (("brief", "p", ()),)),
    Kind(
        "ttl-default-overwritten",
        (
            "INSERT INTO {ks}.brief (p, a) VALUES ({p}, 'x') USING TTL 100000",
            "UPDATE {ks}.brief SET b = 1 WHERE p = {p}",
        ),
        (("brief", "p", (("x", None),)),),
    ),
    Kind(
        "ttl-default-removed",
        (
            "INSERT INTO {ks}.brief (p, a) VALUES ({p}, 'x')",
            "INSERT INTO {ks}.brief (p, a) VALUES ({p}, 'y') USING TTL 0",
        ),
        (("brief", "p", (("y", None),)),),
    ),
)

_RANGE_KINDS: Final = (
    _range("range-from-inclusive", "c1 >= 2", left="02 01 00 12 11 10"),
    _range("range-from-exclusive", "c1 > 2", left="02 01 00 12 11 10 22 21 20"),
    _range("range-to-inclusive", "c1 <= 1", left="22 21 20 32 31 30"),
    _range("range-to-exclusive", "c1 < 1", left="12 11 10 22 21 20 32 31 30"),
    _range("range-closed", "c1 >= 1 AND c1 <= 2", left="02 01 00 32 31 30"),
    _range("range-open", "c1 > 0 AND c1 < 3", left="02 01 00 32 31 30"),
    _range("range-half-open", "c1 >= 1 AND c1 < 3", left="02 01 00 32 31 30"),
    _range("range-empty", "c1 > 2 AND c1 < 2", left="02 01 00 12 11 10 22 21 20 32 31 30"),
    _range("range-prefix", "c1 = 1", left="02 01 00 22 21 20 32 31 30"),
    _range("range-reversed", "c1 = 1 AND c2 > 0 AND c2 <= 1", left="02 01 00 12 10 22 21 20 32 31 30"),
    _range("range-in", "c1 = 1 AND c2 IN (0, 2)", left="02 01 00 11 22 21 20 32 31 30"),
    _range("range-multi-column", "(c1, c2) >= (1, 1) AND (c1, c2) < (3, 1)", left="02 01 00 10 32 31"),
    _range("range-multi-column-lengths", "(c1, c2) > (1, 1) AND (c1) <= (2)", left="02 01 00 11 10 32 31 30"),
    _range("range-overlapping", "c1 >= 1 AND c1 < 3", "c1 > 1 AND c1 <= 3", left="02 01 00"),
    _batch_of_ranges("range-touching", (2000, "c1 >= 0 AND c1 < 1"), (3000, "c1 >= 1 AND c1 < 3"), left="32 31 30"),
    _batch_of_ranges(
        "range-touching-one-too-old",
        (500, "c1 >= 0 AND c1 < 1"),
        (3000, "c1 >= 1 AND c1 < 3"),
        left="02 01 00 32 31 30",
    ),
    _batch_of_ranges("range-nested", (500, "c1 >= 0 AND c1 <= 3"), (3000, "c1 = 1"), left="02 01 00 22 21 20 32 31 30"),
    Kind(
        "range-and-rows-in-one-batch",
        (
            _GRID,
            "BEGIN UNLOGGED BATCH DELETE FROM {ks}.ranges USING TIMESTAMP 2000 WHERE p = {p} AND c1 > 0; "
            "INSERT INTO {ks}.ranges (p, c1, c2, v) VALUES ({p}, 1, 1, 5) USING TIMESTAMP 2001; "
            "INSERT INTO {ks}.ranges (p, c1, c2, v) VALUES ({p}, 2, 1, 5) USING TIMESTAMP 1999; APPLY BATCH",
        ),
        (("ranges", "p", ((0, 2, 0), (0, 1, 0), (0, 0, 0), (1, 1, 5))),),
    ),
)

_LIST_KINDS: Final = (
    _list("list-append", "l = l + [4]", [1, 2, 3, 4]),
    _list("list-prepend", "l = [8, 9] + l", [8, 9, 1, 2, 3]),
    _list("list-set-by-index", "l[1] = 9", [1, 9, 3]),
    _list("list-remove-by-value", "l = l - [2, 3]", [1]),
    _list("list-delete-by-index", "DELETE l[0] FROM {ks}.lists WHERE p = {p}", [2, 3]),
    _list("list-overwrite", "l = [7]", [7]),
    _list("list-empty", "l = []", None),
    _list("list-delete", "DELETE l FROM {ks}.lists WHERE p = {p}", None),
    Kind(
        "list-ttl",
        (
            "INSERT INTO {ks}.lists (p, l, v) VALUES ({p}, [1, 2, 3], 7)",
            "UPDATE {ks}.lists USING TTL 1 SET l = l + [4] WHERE p = {p}",
        ),
        (("lists", "p", (([1, 2, 3], 7),)),),
    ),
    Kind(
        "list-without-row",
        ("UPDATE {ks}.lists SET l = [5] + l WHERE p = {p}", "UPDATE {ks}.lists SET l = l + [6] WHERE p = {p}"),
        (("lists", "p", (([5, 6], None),)),),
    ),
)

_NOTE_KINDS: Final = (
    _notes("list-row-delete", "DELETE FROM {ks}.notes WHERE p = {p} AND c = 1", shown=[(2, ["s"], ["z"], None)]),
    _notes(
        "list-row-without-liveness-gone",
        "DELETE l FROM {ks}.notes WHERE p = {p} AND c = 2",
        shown=[(1, ["s"], ["x", "y"], 7)],
    ),
    _notes("list-range-delete", "DELETE FROM {ks}.notes WHERE p = {p} AND c >= 2", shown=[(1, ["s"], ["x", "y"], 7)]),
    _notes(
        "list-range-delete-too-old",
        "DELETE FROM {ks}.notes USING TIMESTAMP 1000 WHERE p = {p} AND c >= 1",
        shown=[(1, ["s"], ["x", "y"], 7), (2, ["s"], ["z"], None)],
    ),
    _notes("list-partition-delete", "DELETE FROM {ks}.notes WHERE p = {p}", shown=[]),
    _notes(
        "list-static-append",
        "UPDATE {ks}.notes SET sl = sl + ['t'] WHERE p = {p}",
        shown=[(1, ["s", "t"], ["x", "y"], 7), (2, ["s", "t"], ["z"], None)],
    ),
    _notes(
        "list-static-delete",
        "DELETE sl FROM {ks}.notes WHERE p = {p}",
        shown=[(1, None, ["x", "y"], 7), (2, None, ["z"], None)],
    ),
    _notes(
        "list-other-column",
        "UPDATE {ks}.notes SET v = 8 WHERE p = {p} AND c = 1",
        shown=[(1, ["s"], ["x", "y"], 8), (2, ["s"], ["z"], None)],
    ),
)

_COUNTER_KINDS: Final = (
    _counter("counter-increment", _count("n = n + 1"), shown=[(1, 5, 11, 20), (2, 5, 10, 20)]),
    _counter("counter-decrement", _count("n = n - 30, m = m - 1"), shown=[(1, 5, -20, 19), (2, 5, 10, 20)]),
    _counter("counter-new-row", _count("m = m + 1", 3), shown=[(1, 5, 10, 20), (2, 5, 10, 20), (3, 5, None, 1)]),
    _counter(
        "counter-static", "UPDATE {ks}.counts SET s = s - 6 WHERE p = {p}", shown=[(1, -1, 10, 20), (2, -1, 10, 20)]
    ),
    _counter(
        "counter-batch",
        f"BEGIN COUNTER BATCH {_count('n = n + 1')}; {_count('n = n + 2')}; {_count('m = m + 3', 2)}; "
        "UPDATE {ks}.counts SET s = s + 1 WHERE p = {p}; APPLY BATCH",
        shown=[(1, 6, 13, 20), (2, 6, 10, 23)],
    ),
    _counter(
        "counter-delete-column",
        "DELETE n FROM {ks}.counts WHERE p = {p} AND c = 1",
        shown=[(1, 5, None, 20), (2, 5, 10, 20)],
    ),
    _counter("counter-delete-row", "DELETE FROM {ks}.counts WHERE p = {p} AND c = 1", shown=[(2, 5, 10, 20)]),
    _counter("counter-delete-range", "DELETE FROM {ks}.counts WHERE p = {p} AND c > 1", shown=[(1, 5, 10, 20)]),
    _counter("counter-delete-partition", "DELETE FROM {ks}.counts WHERE p = {p}", shown=[]),
    _counter(
        "counter-delete-static", "DELETE s FROM {ks}.counts WHERE p = {p}", shown=[(1, None, 10, 20), (2, None, 10, 20)]
    ),
)

_ELEMENT_KINDS: Final = (
    _elements("set-add", "s = s + {'c', 'a'}", s=["a", "b", "c"]),
    _elements("set-remove", "s = s - {'a', 'z'}", s=["b"]),
    _elements("set-delete-element", "DELETE s['b'] FROM {ks}.elements WHERE p = {p}", s=["a"]),
    _elements("set-overwrite", "s = {'only'}", s=["only"]),
    _elements("set-all-removed", "s = s - {'a', 'b'}", s=None),
    _elements("map-put", "m['y'] = 5, m['z'] = 3", m={"x": 1, "y": 5, "z": 3}),
    _elements("map-add", "m = m + {'w': 0}", m={"w": 0, "x": 1, "y": 2}),
    _elements("map-remove", "m = m - {'x'}", m={"y": 2}),
    _elements("map-delete-element", "DELETE m['x'] FROM {ks}.elements WHERE p = {p}", m={"y": 2}),
    _elements("map-put-null", "m['x'] = null", m={"y": 2}),
    _elements("map-overwrite", "m = {'q': 4}", m={"q": 4}),
    _elements("collection-delete", "DELETE s, m FROM {ks}.elements WHERE p = {p}", s=None, m=None),
    _elements("collection-empty", "s = {}, m = {}", s=None, m=None),
    _elements(
        "collection-frozen-overwrite", "fl = [], fh = {street: 'new'}", fl=[], fh={"street": "new", "number": None}
    ),
    _elements("udt-field", "h.number = 2", h={"street": "old", "number": 2}),
    _elements("udt-field-null", "h.street = null", h={"street": None, "number": 1}),
    _elements("udt-field-delete", "DELETE h.street FROM {ks}.elements WHERE p = {p}", h={"street": None, "number": 1}),
    _elements("udt-overwrite", "h = {street: 'new'}", h={"street": "new", "number": None}),
    _elements("udt-delete", "DELETE h FROM {ks}.elements WHERE p = {p}", h=None),
    Kind(
        "elements-ttl",
        (
            _FULL,
            "UPDATE {ks}.elements USING TTL 1 SET s = s + {'c'}, m['x'] = 9, h.number = 5 WHERE p = {p}",
        ),
        (
            (
                "elements",
                "p",
                ((["a", "b"], {"y": 2}, {"street": "old", "number": None}, [1], _SHOWN["fh"]),),
            ),
        ),
    ),
    Kind(
        "elements-without-row",
        ("UPDATE {ks}.elements SET s = s + {'c'}, m['k'] = 1 WHERE p = {p}",),
        (("elements", "p", ((["c"], {"k": 1}, None, None, None),)),),
    ),
)

_CONDITIONAL_KINDS: Final = (
    _data("lwt-insert", _insert(1, using=" IF NOT EXISTS"), shown=[(1, "x", 7)]),
    _data("lwt-insert-refused", _insert(1), _insert(1, "y", 8, " IF NOT EXISTS"), shown=[(1, "x", 7)]),
    _data("lwt-update-if-value", _insert(1), _update("b = 8") + " IF b = 7 AND a = 'x'", shown=[(1, "x", 8)]),
    _data("lwt-update-if-value-refused", _insert(1), _update("b = 8") + " IF b = 6", shown=[(1, "x", 7)]),
    _data("lwt-update-if-exists-refused", _update("b = 8") + " IF EXISTS", shown=[]),
    _data("lwt-delete", _insert(1), "DELETE FROM {ks}.data WHERE p = {p} AND c = 1 IF b IN (6, 7)", shown=[]),
    _static(
        "lwt-batch",
        "UPDATE {ks}.data SET s = 'open' WHERE p = {p}",
        "BEGIN BATCH UPDATE {ks}.data SET s = 'taken' WHERE p = {p} IF s = 'open'; "
        "INSERT INTO {ks}.data (p, c, a) VALUES ({p}, 1, 'x'); APPLY BATCH",
        shown=[(1, "taken", None, "x", None)],
    ),
)

_BATCH: Final = (
    "INSERT INTO {ks}.hidden (p, v) VALUES ({p}, 'not this'); INSERT INTO {ks}.other (p, v) VALUES ({p}, 'this'); "
    "INSERT INTO {ks}.data (p, c, a) VALUES ({p}, 1, 'that'); INSERT INTO {ks}.hidden (p, v) VALUES ({q}, 'nor this'); "
    "INSERT INTO {ks}.other (p, v) VALUES ({q}, 'too'); DELETE FROM {ks}.data WHERE p = {q}; APPLY BATCH"
)
_BATCH_SHOWN: Final = (
    ("other", "p", (("this",),)),
    ("data", "p", ((1, None, None, "that", None),)),
    ("other", "q", (("too",),)),
    ("data", "q", ()),
)
_BATCH_KINDS: Final = (
    Kind("batch-logged", (_insert(5).replace("{p}", "{q}"), "BEGIN BATCH " + _BATCH), _BATCH_SHOWN),
    Kind("batch-unlogged", (_insert(5).replace("{p}", "{q}"), "BEGIN UNLOGGED BATCH " + _BATCH), _BATCH_SHOWN),
    _data(
        "batch-same-row",
        "BEGIN BATCH DELETE FROM {ks}.data WHERE p = {p} AND c = 1; "
        "INSERT INTO {ks}.data (p, c, a) VALUES ({p}, 1, 'x'); "
        "INSERT INTO {ks}.data (p, c, a) VALUES ({p}, 2, 'y'); UPDATE {ks}.data SET b = 3 WHERE p = {p} AND c = 2; "
        "APPLY BATCH",
        # Cassandra gives all of them one timestamp: the deletion of the row hides what was inserted.
        shown=[(2, "y", 3)],
    ),
    _data(
        "batch-timestamps",
        "BEGIN BATCH DELETE FROM {ks}.data USING TIMESTAMP 1000 WHERE p = {p} AND c = 1; "
        "INSERT INTO {ks}.data (p, c, a) VALUES ({p}, 1, 'x') USING TIMESTAMP 1001; APPLY BATCH",
        shown=[(1, "x", None)],
    ),
)

KINDS: Final = {
    kind.name: kind
    for kind in (
        *_DATA_KINDS,
        *_RANGE_KINDS,
        *_LIST_KINDS,
        *_NOTE_KINDS,
        *_COUNTER_KINDS,
        *_ELEMENT_KINDS,
        *_CONDITIONAL_KINDS,
        *_BATCH_KINDS,
    )
}
