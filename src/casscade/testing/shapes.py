"""The shapes of the statements of a workload: CQL text with a source for each of its values.

Invariant: every shape names the whole key that its kind of statement needs; what Cassandra refuses all the same (an
index beyond the end of a list) changes nothing.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from cassandra.query import UNSET_VALUE

from casscade.cql.types import CqlType, quote_name
from casscade.testing.tables import Role, SampleColumn, SampleTable
from casscade.testing.values import random_element, random_value
from casscade.testing.where import Part, Source, Value, Where


@dataclass(frozen=True, slots=True)
class Shape:
    """A statement whose values are drawn anew each time."""

    cql: str
    values: tuple[Value, ...]


_CHANCE_NULL: Final = 0.1
_CHANCE_UNSET: Final = 0.08
# With few write times a deletion at the newest ends everything it covers: rare, so that something is left to compare.
_NEWEST_NARROW: Final = 0.4
_NEWEST_BROAD: Final = 0.05
_OPERATORS: Final = ("=", "=", "!=", "<", ">=")
_CHANCE_EXISTS: Final = 0.3


def _random(type_: CqlType, source: Source) -> Any:
    return random_value(source.rng, type_)


def _element(type_: CqlType, source: Source) -> Any:
    return random_element(source.rng, type_)


def _maybe(type_: CqlType, source: Source) -> Any:
    """A value, null or unset."""
    chance = source.rng.random()
    if chance < _CHANCE_NULL:
        return None
    return UNSET_VALUE if chance < _CHANCE_NULL + _CHANCE_UNSET else random_value(source.rng, type_)


def _known(type_: CqlType, source: Source) -> Any:
    """A value that a condition may name: never unset."""
    return None if source.rng.random() < _CHANCE_NULL else random_value(source.rng, type_)


def _step(source: Source) -> int:
    return source.rng.choice((1, 1, 2, 1000, -3, 1 << 40))


def _timestamp(source: Source) -> Any:
    return source.timestamp()


def _deletion_timestamp(newest: float, source: Source) -> Any:
    return source.timestamp(newest)


def _ttl(source: Source) -> Any:
    return source.ttl()


def _index(source: Source) -> int:
    return source.rng.randint(0, 2)


class ShapeMaker:
    """Makes random shapes for one table; `kind` is one of the keys of `weights`."""

    def __init__(self, rng: random.Random, keyspace: str, table: SampleTable) -> None:
        self._rng = rng
        self._table = table
        self._where = Where(rng, table)
        self._name = f"{keyspace}.{table.cql}"
        self._regulars = list(table.of(Role.REGULAR))
        self._statics = list(table.of(Role.STATIC))
        self._clustering = list(table.of(Role.CLUSTERING))

    def weights(self, deletions: float, *, conditional: bool) -> dict[str, float]:
        """The kinds that the table allows and how often each comes."""
        if self._table.counter:
            return self._counter_weights(deletions)
        if conditional:
            weights = {"insert_if": 3.0, "delete_if": 1.0}
            return weights | ({"update_if": 3.0} if self._regulars else {})
        weights = {"insert": 30.0, "delete_row": 8 * deletions}
        if self._regulars:
            weights |= {"update": 35.0, "delete_columns": 10 * deletions}
        if self._statics:
            weights |= {"insert_static": 5.0, "update_static": 10.0, "delete_static": 5 * deletions}
        if self._clustering:
            weights |= {"delete_partition": 2 * deletions, "delete_range": 8 * deletions, "delete_in": 2 * deletions}
        if len(self._clustering) > 1:
            weights |= {"delete_prefix": 3 * deletions, "delete_slice": 4 * deletions}
        return weights

    def _counter_weights(self, deletions: float) -> dict[str, float]:
        weights = {"count": 40.0, "delete_row": 2 * deletions, "delete_columns": 2 * deletions}
        if self._statics:
            weights |= {"count_static": 10.0, "delete_static": deletions}
        if self._clustering:
            weights |= {"delete_partition": 0.3 * deletions, "delete_range": 2 * deletions}
        return weights

    def make(self, kind: str) -> Shape:
        """A new shape of that kind."""
        match kind:
            case "insert" | "insert_if" | "insert_static":
                return self._insert(kind)
            case "update" | "update_if" | "update_static":
                return self._update(kind)
            case "count" | "count_static":
                return self._count(kind)
            case "delete_columns":
                targets = [self._delete_target(column) for column in self._some(self._regulars)]
                return self._delete(targets, self._where.row_key())
            case "delete_static":
                targets = [self._delete_target(column) for column in self._some(self._statics)]
                return self._delete(targets, self._where.partition_key())
            case "delete_row" | "delete_if":
                return self._delete([], self._where.row_key(), conditional=kind == "delete_if")
            case "delete_partition":
                return self._delete([], self._where.partition_key())
            case "delete_in":
                return self._delete([], self._where.key_in())
            case "delete_prefix":
                return self._delete([], self._where.prefix(self._rng.randint(1, len(self._clustering) - 1)))
            case "delete_slice":
                return self._delete([], [*self._where.partition_key(), *self._where.slice()])
            case _:
                return self._delete([], self._where.range())

    def _some(self, columns: list[SampleColumn]) -> list[SampleColumn]:
        count = min(len(columns), self._rng.choice((1, 1, 2, 3)))
        return self._rng.sample(columns, count)

    def _insert(self, kind: str) -> Shape:
        columns = {"insert_static": self._statics}.get(kind, self._regulars)
        if kind != "insert_static" and self._statics and self._rng.random() < 0.3:
            columns = columns + self._statics
        if self._rng.random() < 0.5 and columns:
            columns = self._rng.sample(columns, self._rng.randint(kind == "insert_static", len(columns)))
        keys = self._where.partition_key() if kind == "insert_static" else self._where.row_key()
        key = self._table.of(Role.PARTITION) if kind == "insert_static" else self._table.key
        names = [column.cql for column in (*key, *columns)]
        values = [value for _, key_values in keys for value in key_values]
        values += [partial(_maybe, column.type) for column in columns]
        marks = ", ".join("?" * len(names))
        cql = f"INSERT INTO {self._name} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608
        if kind == "insert_if":
            return Shape(f"{cql} IF NOT EXISTS USING TTL ?", (*values, _ttl))
        return Shape(f"{cql} USING TIMESTAMP ? AND TTL ?", (*values, _timestamp, _ttl))

    def _update(self, kind: str) -> Shape:
        columns = self._some(self._statics if kind == "update_static" else self._regulars)
        parts = [self._assignment(column) for column in columns]
        keys = self._where.partition_key() if kind == "update_static" else self._where.row_key()
        conditional = kind == "update_if"
        using = "TTL ?" if conditional else "TTL ? AND TIMESTAMP ?"
        head: list[Value] = [_ttl] if conditional else [_ttl, _timestamp]
        assignments = ", ".join(text for text, _ in parts)
        where = " AND ".join(text for text, _ in keys)
        cql = f"UPDATE {self._name} USING {using} SET {assignments} WHERE {where}"  # noqa: S608
        parts += keys
        if conditional:
            parts.append(self._condition())
            cql += parts[-1][0]
        return Shape(cql, (*head, *(value for _, part in parts for value in part)))

    def _count(self, kind: str) -> Shape:
        columns = self._some(self._statics if kind == "count_static" else self._regulars)
        keys = self._where.partition_key() if kind == "count_static" else self._where.row_key()
        assignments = ", ".join(f"{column.cql} = {column.cql} {self._rng.choice('+-')} ?" for column in columns)
        where = " AND ".join(text for text, _ in keys)
        values: list[Value] = [_step] * len(columns)
        cql = f"UPDATE {self._name} SET {assignments} WHERE {where}"  # noqa: S608
        return Shape(cql, (*values, *(value for _, part in keys for value in part)))

    def _condition(self) -> Part:
        """What a conditional statement asks for: that the row exists, or a value of a column of one cell."""
        columns = [column for column in (*self._regulars, *self._statics) if not column.type.multi_cell]
        if not columns or self._rng.random() < _CHANCE_EXISTS:
            return " IF EXISTS", []
        column = self._rng.choice(columns)
        value: Value = partial(_known, column.type)
        return f" IF {column.cql} {self._rng.choice(_OPERATORS)} ?", [value]

    def _delete(self, targets: list[Part], where: list[Part], *, conditional: bool = False) -> Shape:
        columns = ", ".join(text for text, _ in targets)
        timed = not conditional and not self._table.counter
        tail, asked = self._condition() if conditional else ("", [])
        text = " AND ".join(part for part, _ in where)
        cql = f"DELETE {columns} FROM {self._name} {'USING TIMESTAMP ? ' if timed else ''}WHERE {text}{tail}"
        values = [value for _, part in targets for value in part]
        keys = sum(len(part) for _, part in self._where.row_key())
        whole = sum(len(part) for text, part in where if " = " in text) == keys
        timestamp = partial(_deletion_timestamp, _NEWEST_NARROW if whole else _NEWEST_BROAD)
        values += [timestamp] if timed else []
        return Shape(cql, (*values, *(value for _, part in where for value in part), *asked))

    def _assignment(self, column: SampleColumn) -> Part:
        name, type_ = column.cql, column.type
        if not type_.multi_cell or self._rng.random() < 0.25:
            return f"{name} = ?", [partial(_maybe, type_)]
        whole: Value = partial(_random, type_)
        match type_.name:
            case "set":
                return f"{name} = {name} {self._rng.choice('+-')} ?", [whole]
            case "map":
                removed: Value = partial(_random, CqlType("set", (type_.args[0],)))
                entry: list[Value] = [partial(_element, type_.args[0]), partial(_maybe, type_.args[1])]
                maps: list[Part] = [
                    (f"{name} = {name} + ?", [whole]),
                    (f"{name} = {name} - ?", [removed]),
                    (f"{name}[?] = ?", entry),
                ]
                return self._rng.choice(maps)
            case "list":
                lists: list[Part] = [
                    (f"{name} = {name} + ?", [whole]),
                    (f"{name} = ? + {name}", [whole]),
                    (f"{name} = {name} - ?", [whole]),
                    (f"{name}[?] = ?", [_index, partial(_random, type_.args[0])]),
                ]
                return self._rng.choice(lists)
            case _:
                field = self._rng.randrange(len(type_.args))
                return f"{name}.{quote_name(type_.field_names[field])} = ?", [partial(_maybe, type_.args[field])]

    def _delete_target(self, column: SampleColumn) -> Part:
        type_ = column.type
        if not type_.multi_cell or self._rng.random() < 0.4:
            return column.cql, []
        match type_.name:
            case "set" | "map":
                return f"{column.cql}[?]", [partial(_element, type_.args[0])]
            case "list":
                return f"{column.cql}[?]", [_index]
            case _:
                return f"{column.cql}.{quote_name(self._rng.choice(type_.field_names))}", []
