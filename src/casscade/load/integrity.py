"""Asks all staged rows of a relation at once whether they keep its constraints, before they are written.

Invariant: a row that is written keeps every constraint that was read; of rows that only together break one (UNIQUE),
the oldest write stays, so that a replay decides as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from psycopg import Connection, sql

from casscade.core.errors import BadDataError
from casscade.load.constraints import CHECK, FOREIGN_KEY, NOT_NULL, UNIQUE, Constraint, read_constraints
from casscade.load.staged import OP_REMOVE, OP_UPSERT
from casscade.schema.mapping import EXPIRY_COLUMN, WRITE_TIME_COLUMN, Relation

# A row that is taken out may leave another without its parent, or bring back a value that two rows want. What is not
# settled after so many rounds is found by halves (`casscade.load.isolation`).
_ROUNDS_MAX: Final = 5


class Violation(BadDataError):
    """A row that breaks a constraint; `awaited`: the row that its foreign key names may still come."""

    def __init__(self, constraint: Constraint) -> None:
        super().__init__(
            "constraint_violated",
            f"The row breaks the constraint {constraint.name} ({constraint.kind.replace('_', ' ')}) of its table",
            now="the row is set aside as a dead letter, the others go on",
            hint="correct the row in Cassandra, or the constraint in PostgreSQL",
        )
        self.constraint = constraint.name
        self.awaited = constraint.kind == FOREIGN_KEY


class Integrity:
    """The checks of one relation, whose staging table is `stage`."""

    def __init__(self, relation: Relation, stage: str, constraints: Sequence[Constraint]) -> None:
        self._relation = relation
        self._stage = sql.Identifier("pg_temp", stage)
        self._target = sql.Identifier(relation.schema, relation.name)
        self._itself = (relation.schema, relation.name)
        self._keys = relation.primary_key
        self._adopt(constraints)
        same = sql.SQL(" AND ").join(sql.SQL("t.{0} = s.{0}").format(sql.Identifier(name)) for name in self._keys)
        self._settle = sql.SQL(
            "UPDATE {} AS t SET {} = NULL FROM {} AS s WHERE s._op = {} AND s._ord = ANY(%s) AND {}"
        ).format(self._target, sql.Identifier(EXPIRY_COLUMN), self._stage, OP_UPSERT, same)
        self._take_out = sql.SQL("DELETE FROM {} WHERE _op = {} AND _ord = ANY(%s)").format(self._stage, OP_UPSERT)

    def _adopt(self, constraints: Sequence[Constraint]) -> None:
        self.constraints = list(constraints)
        self.parents = {each.parent for each in constraints if each.kind == FOREIGN_KEY}
        self._queries = [(each, self._query(each)) for each in constraints]

    def _outdated(self, connection: Connection[Any]) -> bool:
        """Whether somebody changed the constraints, most likely because of their dead letters; then goes on with them.

        One that was added refuses the batch itself, so that it is enough to look when a row breaks one.
        """
        now = read_constraints(connection, self._relation)
        if now == self.constraints:
            return False
        self._adopt(now)
        return True

    def check(self, connection: Connection[Any], *, ended: bool = False) -> dict[int, Violation]:
        """Take the staged rows that break a constraint out of the staging table; returns them by ordinal.

        `ended`: the rows are there only because something in them ended; those that break a constraint stay in the
        table as they are, and the reaper does not come back to them.
        """
        found: dict[int, Violation] = {}
        for _ in range(_ROUNDS_MAX):
            broken = self._broken(connection)
            if broken and not found and self._outdated(connection):
                broken = self._broken(connection)
            if not broken:
                break
            if ended:
                connection.execute(self._settle, (list(broken),))
            connection.execute(self._take_out, (list(broken),))
            found |= broken
        return found

    def _broken(self, connection: Connection[Any]) -> dict[int, Violation]:
        broken: dict[int, Violation] = {}
        for constraint, query in self._queries:
            for (ordinal,) in connection.execute(query).fetchall():
                broken.setdefault(ordinal, Violation(constraint))
        return broken

    def _query(self, constraint: Constraint) -> sql.Composed:
        rows = sql.SQL("SELECT s._ord FROM {} AS s WHERE s._op = {} AND ").format(self._stage, OP_UPSERT)
        if constraint.kind == NOT_NULL:
            return rows + sql.SQL("s.{} IS NULL").format(sql.Identifier(constraint.columns[0]))
        if constraint.kind == CHECK:
            # The text is PostgreSQL's own, of a constraint that stands in this database.
            return rows + sql.Composed([sql.SQL("(("), _Verbatim(constraint.expression), sql.SQL(") IS FALSE)")])
        if constraint.kind == FOREIGN_KEY:
            return rows + self._orphans(constraint)
        assert constraint.kind == UNIQUE, constraint.kind
        return self._duplicates(constraint)

    def _orphans(self, constraint: Constraint) -> sql.Composed:
        present = [sql.SQL("s.{} IS NOT NULL").format(sql.Identifier(name)) for name in constraint.columns]
        same = [
            sql.SQL("p.{} = s.{}").format(sql.Identifier(theirs), sql.Identifier(mine))
            for theirs, mine in zip(constraint.parent_columns, constraint.columns, strict=True)
        ]
        missing = sql.SQL("NOT EXISTS (SELECT FROM {} AS p WHERE {})").format(
            sql.Identifier(*constraint.parent), sql.SQL(" AND ").join(same)
        )
        parts: list[sql.Composable] = [*present, missing]
        if constraint.parent == self._itself:  # it may come with the same batch
            parts.append(
                sql.SQL("NOT EXISTS (SELECT FROM {} AS p WHERE p._op = {} AND {})").format(
                    self._stage, OP_UPSERT, sql.SQL(" AND ").join(same)
                )
            )
        return sql.SQL(" AND ").join(parts)

    def _duplicates(self, constraint: Constraint) -> sql.Composed:
        """Rows whose values another row has: of the table, unless it changes now, or of the batch and older."""
        columns = sql.SQL(", ").join(sql.Identifier("s", name) for name in constraint.columns)
        comparison = "t.{0} IS NOT DISTINCT FROM s.{0}" if constraint.nulls_equal else "t.{0} = s.{0}"
        same = sql.SQL(" AND ").join(sql.SQL(comparison).format(sql.Identifier(name)) for name in constraint.columns)
        other = sql.SQL("({}) <> ({})").format(self._key("t"), self._key("s"))
        renewed = sql.SQL("EXISTS (SELECT FROM {} AS r WHERE r._op IN ({}, {}) AND ({}) = ({}))").format(
            self._stage, OP_UPSERT, OP_REMOVE, self._key("r"), self._key("t")
        )
        whole = (
            sql.SQL("true")
            if constraint.nulls_equal
            else sql.SQL(" AND ").join(
                sql.SQL("s.{} IS NOT NULL").format(sql.Identifier(n)) for n in constraint.columns
            )
        )
        return sql.SQL(
            "SELECT s._ord FROM "
            "(SELECT s.*, row_number() OVER (PARTITION BY {columns} ORDER BY s.{ts}, {key}) AS _place "
            "FROM {stage} AS s WHERE s._op = {upsert}) AS s WHERE {whole} AND (s._place > 1 OR "
            "EXISTS (SELECT FROM {target} AS t WHERE {same} AND {other} AND NOT {renewed}))"
        ).format(
            columns=columns,
            ts=sql.Identifier(WRITE_TIME_COLUMN),
            key=self._key("s"),
            stage=self._stage,
            upsert=OP_UPSERT,
            whole=whole,
            target=self._target,
            same=same,
            other=other,
            renewed=renewed,
        )

    def _key(self, alias: str) -> sql.Composed:
        return sql.SQL(", ").join(sql.Identifier(alias, name) for name in self._keys)


class _Verbatim(sql.Composable):
    """SQL that the server itself wrote."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._text = text

    def as_bytes(self, context: Any = None) -> bytes:  # noqa: ARG002 nothing to quote
        return self._text.encode()


def integrity_of(relation: Relation, stage: str, constraints: Sequence[Constraint]) -> Integrity | None:
    """The checks of a relation; None where it has no constraints, so that they cost nothing."""
    return Integrity(relation, stage, constraints) if constraints else None
