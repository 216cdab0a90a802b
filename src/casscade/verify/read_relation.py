"""PostgreSQL's side of a comparison: the rows of one relation, by key and all of them.

Invariant: rows are identified by `casscade.verify.keys` alone, and no read holds more than a page.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from psycopg import Connection, Cursor, sql

from casscade.schema.mapping import Relation, TargetColumn
from casscade.verify.keys import Keys, RawKey
from casscade.verify.normal import Key
from casscade.verify.read_postgres import adapt, postgres_form

# Few enough to keep in memory, enough that a row that is too many leads to a few others only.
BUCKETS: Final = 4096


class Copy(NamedTuple):
    """A row that was found: the forms of its columns outside the key, and a hash of its key (64 bits, signed)."""

    values: Key
    fingerprint: int


class PostgresRelation:
    """Reads one relation, values in normal form.

    Keys are hashed by PostgreSQL and counted in `BUCKETS` buckets, so that sets of keys can be compared without
    holding them.
    """

    def __init__(self, connection: Connection[Any], relation: Relation, keys: Keys) -> None:
        self._connection = connection
        self.relation = relation
        self.keys = keys
        self.columns = relation.columns if relation.exact else relation.value_columns
        self._name = sql.Identifier(relation.schema, relation.name)
        self._key_names = _names("r", keys.names)
        self._fingerprint = sql.SQL("hashtextextended(ROW({})::text, 0)").format(self._key_names)

    def find(self, keys: Sequence[Key]) -> dict[Key, Copy]:
        """The rows with these keys."""
        if not keys:
            return {}
        arrays = sql.SQL(", ").join(sql.SQL("%b::{}[]").format(sql.SQL(type_)) for type_ in self.keys.types)
        names = sql.SQL(", ").join(sql.Identifier(f"k{i}") for i in range(len(self.keys.names)))
        match = sql.SQL(" AND ").join(
            sql.SQL("r.{} = {}").format(sql.Identifier(name), sql.Identifier("k", f"k{i}"))
            for i, name in enumerate(self.keys.names)
        )
        columns = _names("r", (*self.keys.names, *(column.name for column in self.columns)))
        query = sql.SQL("SELECT {}, {} FROM unnest({}) AS k({}) JOIN {} AS r ON {}").format(
            self._fingerprint, columns, arrays, names, self._name, match
        )
        parameters = [list(column) for column in zip(*map(self.keys.parameters, keys), strict=True)]
        with self._cursor() as cursor:
            cursor.execute(query, parameters)
            return dict(self._row(row) for row in cursor)

    def buckets(self) -> dict[int, tuple[int, int]]:
        """How many keys are in each bucket that has any, and the sum of their fingerprints."""
        query = sql.SQL("SELECT h & {}, count(*), sum(h) FROM (SELECT {} AS h FROM {} AS r) AS f GROUP BY 1")
        found = self._connection.execute(query.format(sql.Literal(BUCKETS - 1), self._fingerprint, self._name))
        return {int(bucket): (int(count), int(total)) for bucket, count, total in found.fetchall()}

    def pages(self, buckets: Sequence[int], size: int) -> Iterator[list[tuple[Key, RawKey]]]:
        """The keys in these buckets in pages of at most `size`, in the order of the primary key."""
        order = self._key_names
        shown = _names("r", (*self.keys.names, *self.keys.whole))
        values = sql.SQL(", ").join(sql.SQL("%b::{}").format(sql.SQL(type_)) for type_ in self.keys.types)
        chosen = sql.SQL("{} & {} = ANY(%b::bigint[])").format(self._fingerprint, sql.Literal(BUCKETS - 1))
        last: list[Any] = []
        while True:
            later = sql.SQL(" AND ({}) > ({})").format(order, values) if last else sql.SQL("")
            query = sql.SQL("SELECT {} FROM {} AS r WHERE {}{} ORDER BY {} LIMIT {}").format(
                shown, self._name, chosen, later, order, sql.Literal(size)
            )
            with self._cursor() as cursor:
                found = cursor.execute(query, [list(buckets), *last]).fetchall()
            page = [self._both(row) for row in found]
            if page:
                yield page
                last = self.keys.parameters(page[-1][0])
            if len(page) < size:
                return

    def count(self) -> int:
        """How many rows it has."""
        found = self._connection.execute(sql.SQL("SELECT count(*) FROM {}").format(self._name)).fetchone()
        assert found is not None
        return int(found[0])

    def _cursor(self) -> Cursor[Any]:
        cursor = self._connection.cursor(binary=True)
        adapt(cursor)
        return cursor

    def _both(self, row: Sequence[Any]) -> tuple[Key, RawKey]:
        width = len(self.keys.names)
        form = self.keys.read(row[:width])
        return form, self.keys.raw(form, row[width:])

    def _row(self, row: Sequence[Any]) -> tuple[Key, Copy]:
        first = 1 + len(self.keys.names)
        values = tuple(_safe(column, value) for column, value in zip(self.columns, row[first:], strict=True))
        form = self.keys.read(row[1:first])
        return form, Copy(self.keys.comparable(form, values), row[0])


def _names(table: str, names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(table, name) for name in names)


def _safe(column: TargetColumn, value: Any) -> Any:
    """A value that the type can't have differs from every other, whoever wrote it."""
    try:
        return postgres_form(column.type, value, column.pg_type)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, struct.error):
        return ("not of this type", repr(value))
