"""The statements that bring a staged batch into a target table.

Invariant: names enter SQL only through `psycopg.sql`; values only through COPY or parameters. Each statement decides
exactly what `copy_encoder` promises for its operation, and leaves the rest of the rows as they are.
"""

from __future__ import annotations

from psycopg import sql

from casscade.load.copy_encoder import (
    OP_DELETE,
    OP_DOMINATE,
    OP_HIDDEN,
    OP_INSERT,
    OP_PUT_IF_ABSENT,
    OP_REMOVE,
    OP_UPSERT,
)
from casscade.schema.mapping import EXPIRY_COLUMN, META_COLUMNS, STATE_COLUMN, WRITE_TIME_COLUMN, Relation

_LOOSE_EQUALITY = frozenset({"numeric", "interval", "real", "double precision", "real[]"})
_META = [meta.name for meta in META_COLUMNS]


def _columns(names: list[str], prefix: str = "") -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(prefix, name) if prefix else sql.Identifier(name) for name in names)


class TargetSql:
    """The statements of one relation; `stage` is the name of its temporary staging table."""

    def __init__(self, relation: Relation, stage: str) -> None:
        keys = [column.name for column in relation.key_columns]
        values = [column.name for column in relation.value_columns]
        self.relation = relation
        self.key_count = len(keys)
        self.value_count = len(values)
        self._keys = keys
        self._names = keys + values + _META
        self._stage = sql.Identifier("pg_temp", stage)
        self._target = sql.Identifier(relation.schema, relation.name)
        self._rest = values + _META
        self.create_stage = self._create_stage(relation, stage)
        self.truncate = sql.SQL("TRUNCATE {}").format(self._stage)
        self.copy = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(self._stage)
        self.dominate = self._insert(OP_DOMINATE, self._replace(sql.SQL("t.{ts} < EXCLUDED.{ts}").format(**_TS)))
        self.insert = self._insert(OP_INSERT, self._replace(self._plain_and_covered(values)))
        self.put_if_absent = self._insert(OP_PUT_IF_ABSENT, sql.SQL("DO NOTHING"))
        self.upsert = self._insert(OP_UPSERT, self._replace(None))
        self.delete = self._delete(sql.SQL("s._op = {op} AND t.{ts} <= s.{ts}").format(op=OP_DELETE, **_TS))
        self.remove = self._delete(sql.SQL("s._op = {}").format(OP_REMOVE))
        self.undecided = self._undecided()

    def _create_stage(self, relation: Relation, stage: str) -> sql.Composed:
        types = [
            *((column.name, column.pg_type.name) for column in relation.columns),
            *((meta.name, meta.pg_type) for meta in META_COLUMNS),
        ]
        # Types come from the fixed table in schema.mapping, never from outside.
        fields = sql.SQL(", ").join(sql.Identifier(name) + sql.SQL(" " + type_) for name, type_ in types)
        return sql.SQL("CREATE TEMPORARY TABLE IF NOT EXISTS {} (_op smallint, _ord integer, {})").format(
            sql.Identifier(stage), fields
        )

    def _join(self) -> sql.Composed:
        return sql.SQL(" AND ").join(sql.SQL("t.{0} = s.{0}").format(sql.Identifier(name)) for name in self._keys)

    def _insert(self, op: int, action: sql.Composable) -> sql.Composed:
        return sql.SQL(
            "INSERT INTO {target} AS t ({names}) SELECT {names} FROM {stage} WHERE _op = {op} "
            "ON CONFLICT ({keys}) {action}"
        ).format(
            target=self._target,
            names=_columns(self._names),
            stage=self._stage,
            op=op,
            keys=_columns(self._keys),
            action=action,
        )

    def _replace(self, condition: sql.Composable | None) -> sql.Composed:
        settings = sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(n)) for n in self._rest)
        update = sql.SQL("DO UPDATE SET {}").format(settings)
        return update if condition is None else update + sql.SQL(" WHERE ") + condition

    def _plain_and_covered(self, values: list[str]) -> sql.Composed:
        """An older row without state is replaced whole if it has no value where the new one has none."""
        covered = [
            sql.SQL("(EXCLUDED.{0} IS NOT NULL OR t.{0} IS NULL)").format(sql.Identifier(name)) for name in values
        ]
        plain = sql.SQL("t.{ts} < EXCLUDED.{ts} AND t.{state} IS NULL").format(**_TS)
        return sql.SQL(" AND ").join([plain, *covered])

    def _delete(self, condition: sql.Composable) -> sql.Composed:
        return sql.SQL("DELETE FROM {target} AS t USING {stage} AS s WHERE {join} AND {condition}").format(
            target=self._target, stage=self._stage, join=self._join(), condition=condition
        )

    def _undecided(self) -> sql.Composed:
        """Stored rows that the batch touches and that no statement above could decide."""
        same = sql.SQL("ROW({}) IS DISTINCT FROM ROW({})").format(self._comparable("t"), self._comparable("s"))
        return sql.SQL(
            "SELECT s._ord, {fields} FROM {stage} AS s JOIN {target} AS t ON {join} WHERE "
            "(s._op IN ({dominate}, {insert}, {put}) AND {same}) OR (s._op = {delete} AND t.{ts} > s.{ts}) "
            "OR s._op = {hidden}"
        ).format(
            fields=_columns(self._names, "t"),
            stage=self._stage,
            target=self._target,
            join=self._join(),
            dominate=OP_DOMINATE,
            insert=OP_INSERT,
            put=OP_PUT_IF_ABSENT,
            same=same,
            delete=OP_DELETE,
            hidden=OP_HIDDEN,
            **_TS,
        )

    def _comparable(self, prefix: str) -> sql.Composed:
        """The value columns so that equal means equal bytes: 1.0 and 1.00, 0 and -0, 1 month and 30 days differ."""
        fields: list[sql.Composable] = [sql.Identifier(prefix, name) for name in self._rest]
        for position, column in enumerate(self.relation.value_columns):
            if column.pg_type.name in _LOOSE_EQUALITY:
                fields[position] = fields[position] + sql.SQL("::text")
        return sql.SQL(", ").join(fields)

    def select_partition(self, partition_columns: int) -> sql.Composed:
        """The rows of one partition that a deletion at a given time may touch; parameters: key fields, time."""
        conditions = sql.SQL(" AND ").join(
            sql.SQL("t.{} = %b").format(sql.Identifier(name)) for name in self._keys[:partition_columns]
        )
        return sql.SQL(
            "SELECT {fields} FROM {target} AS t WHERE {conditions} AND (t.{ts} <= %b OR t.{state} IS NOT NULL)"
        ).format(fields=_columns(self._names, "t"), target=self._target, conditions=conditions, **_TS)

    def delete_partition(self, partition_columns: int) -> sql.Composed:
        """Remove the rows of one partition that are not newer than a given time; parameters: key fields, time."""
        conditions = sql.SQL(" AND ").join(
            sql.SQL("t.{} = %b").format(sql.Identifier(name)) for name in self._keys[:partition_columns]
        )
        return sql.SQL("DELETE FROM {target} AS t WHERE {conditions} AND t.{ts} <= %b").format(
            target=self._target, conditions=conditions, **_TS
        )

    def select_expired(self) -> sql.Composed:
        """Rows in which something ended by a given time; parameters: the time, how many at most."""
        return sql.SQL("SELECT {fields} FROM {target} AS t WHERE t.{expiry} <= %b ORDER BY t.{expiry} LIMIT %b").format(
            fields=_columns(self._names, "t"), target=self._target, expiry=sql.Identifier(EXPIRY_COLUMN)
        )


_TS = {"ts": sql.Identifier(WRITE_TIME_COLUMN), "state": sql.Identifier(STATE_COLUMN)}
