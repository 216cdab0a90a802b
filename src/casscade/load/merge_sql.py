"""The statements that bring a staged batch into a target table.

Invariant: names enter SQL only through `psycopg.sql`; values only through COPY or parameters. Each statement decides
exactly what `staged` promises for its operation, and leaves the rest of the rows as they are.
"""

from __future__ import annotations

from psycopg import sql

from casscade.load.staged import (
    OP_DELETE,
    OP_DOMINATE,
    OP_HIDDEN,
    OP_INSERT,
    OP_PATCH,
    OP_PUT_IF_ABSENT,
    OP_REMOVE,
    OP_RENEW,
    OP_UPSERT,
)
from casscade.load.trail import SEQUENCE
from casscade.schema.mapping import EXPIRY_COLUMN, META_COLUMNS, STATE_COLUMN, WRITE_TIME_COLUMN, Relation
from casscade.schema.pg_types import PgType

_LOOSE_EQUALITY = frozenset({"numeric", "interval", "real", "double precision"})
_META = [meta.name for meta in META_COLUMNS]


def _columns(names: list[str], prefix: str = "") -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(prefix, name) if prefix else sql.Identifier(name) for name in names)


class TargetSql:
    """The statements of one relation; `stage` is the name of its temporary staging table.

    In an `observable` relation rows may show what a read showed (`merge.doubt`): nothing is decided over these.
    With `noted` the statements that insert note the ordinal of each row that they come to (`casscade.load.trail`).
    """

    def __init__(self, relation: Relation, stage: str, *, observable: bool, noted: bool = False) -> None:
        keys = list(relation.primary_key)
        exact = [column.name for column in relation.exact_columns]
        values = [column.name for column in relation.value_columns]
        self.relation = relation
        self._keys = keys
        self._names = [*exact, *(column.name for column in relation.key_columns), *values, *_META]
        self._stage_name, self._observable = stage, observable
        self._stage = sql.Identifier("pg_temp", stage)
        self._noted = sql.SQL(f" AND setval('{SEQUENCE}', _ord + 1) > 0" if noted else "")
        self._target = sql.Identifier(relation.schema, relation.name)
        self._rest = values + _META
        self._settled: sql.Composable = _SETTLED if observable else sql.SQL("true")
        self.create_stage = self._create_stage(relation, stage).as_bytes()
        self.drop_stage = sql.SQL("DROP TABLE IF EXISTS {}").format(self._stage).as_bytes()
        # What every batch executes is put together once.
        self.truncate = sql.SQL("TRUNCATE {}").format(self._stage).as_bytes()
        self.copy = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(self._stage).as_bytes()
        self.dominate = self._insert(OP_DOMINATE, self._replace(self._older()))
        self.insert = self._insert(OP_INSERT, self._replace(self._plain_and_covered(values)))
        self.renew = self._insert(OP_RENEW, self._renew(values))
        self.patch = self._insert(OP_PATCH, self._patch(values))
        self.put_if_absent = self._insert(OP_PUT_IF_ABSENT, sql.SQL("DO NOTHING"))
        self.upsert = self._insert(OP_UPSERT, self._replace(None))
        self.delete = self._delete(
            sql.SQL("s._op = {op} AND t.{ts} <= s.{ts} AND {settled}").format(
                op=OP_DELETE, settled=self._settled, **_TS
            )
        )
        self.remove = self._delete(sql.SQL("s._op = {}").format(OP_REMOVE))
        self.undecided = self._undecided()
        expired = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} <= %b)")
        self.exists_expired = expired.format(self._target, sql.Identifier(EXPIRY_COLUMN)).as_bytes()

    def noting(self) -> TargetSql:
        """The same statements, which note ordinals."""
        return TargetSql(self.relation, self._stage_name, observable=self._observable, noted=True)

    def _create_stage(self, relation: Relation, stage: str) -> sql.Composed:
        types = [
            *((column.name, column.pg_type) for column in relation.exact_columns),
            *((column.name, column.pg_type.name) for column in relation.columns),
            *((meta.name, meta.pg_type) for meta in META_COLUMNS),
        ]
        # Types come from the fixed table in schema.mapping, never from outside.
        fields = sql.SQL(", ").join(sql.Identifier(name) + sql.SQL(" " + type_) for name, type_ in types)
        return sql.SQL(
            "CREATE TEMPORARY TABLE IF NOT EXISTS {} (_op smallint, _ord integer, {}) ON COMMIT DELETE ROWS"
        ).format(sql.Identifier(stage), fields)

    def _join(self) -> sql.Composed:
        return sql.SQL(" AND ").join(sql.SQL("t.{0} = s.{0}").format(sql.Identifier(name)) for name in self._keys)

    def _insert(self, op: int, action: sql.Composable) -> bytes:
        return (
            sql.SQL(
                "INSERT INTO {target} AS t ({names}) SELECT {names} FROM {stage} WHERE _op = {op}{noted} "
                "ON CONFLICT ({keys}) {action}"
            )
            .format(
                target=self._target,
                names=_columns(self._names),
                stage=self._stage,
                op=op,
                noted=self._noted,
                keys=_columns(self._keys),
                action=action,
            )
            .as_bytes()
        )

    def _replace(self, condition: sql.Composable | None) -> sql.Composed:
        settings = sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(n)) for n in self._rest)
        update = sql.SQL("DO UPDATE SET {}").format(settings)
        return update if condition is None else update + sql.SQL(" WHERE ") + condition

    def _older(self) -> sql.Composed:
        return sql.SQL("t.{ts} < EXCLUDED.{ts} AND {settled}").format(settled=self._settled, **_TS)

    def _plain_and_covered(self, values: list[str]) -> sql.Composed:
        """An older row without state is replaced whole if it has no value where the new one has none."""
        covered = [
            sql.SQL("(EXCLUDED.{0} IS NOT NULL OR t.{0} IS NULL)").format(sql.Identifier(name)) for name in values
        ]
        plain = sql.SQL("t.{ts} < EXCLUDED.{ts} AND t.{state} IS NULL").format(**_TS)
        return sql.SQL(" AND ").join([plain, *covered])

    def _renew(self, values: list[str]) -> sql.Composed:
        """All cells of an older row of simple state are replaced; what is known of its liveness stays."""
        settings = [sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in (*values, WRITE_TIME_COLUMN)]
        state = sql.SQL(
            "{state} = CASE WHEN t.{state} IS NULL OR get_byte(t.{state}, 0) = 8 "
            "THEN '\\x02'::bytea || int8send(t.{ts}) WHEN get_byte(t.{state}, 0) IN (1, 9) THEN '\\x01'::bytea "
            "WHEN get_byte(t.{state}, 0) IN (33, 41) THEN '\\x21'::bytea "
            "ELSE '\\x02'::bytea || substr(t.{state}, 2, 8) END"
        ).format(**_TS)
        return sql.SQL(
            "DO UPDATE SET {} WHERE t.{ts} < EXCLUDED.{ts} "
            "AND (t.{state} IS NULL OR get_byte(t.{state}, 0) IN (1, 2, 8, 9, 10, 33, 41))"
        ).format(sql.SQL(", ").join([*settings, state]), **_TS)

    def _patch(self, values: list[str]) -> sql.Composed:
        """Some cells of an older row are replaced; afterwards it has cells of two timestamps at most.

        Decided are rows whose cells all have one timestamp, and rows whose newer cells are exactly those that are
        replaced: the base of the others stays.
        """
        settings = [sql.SQL("{0} = COALESCE(EXCLUDED.{0}, t.{0})").format(sql.Identifier(name)) for name in values]
        settings.append(sql.SQL("{ts} = EXCLUDED.{ts}").format(**_TS))
        state = sql.SQL(
            "{state} = CASE WHEN t.{state} IS NULL "
            "THEN '\\x0a'::bytea || int8send(t.{ts}) || int8send(t.{ts}) || substr(EXCLUDED.{state}, 10) "
            "ELSE CASE get_byte(t.{state}, 0) "
            "WHEN 1 THEN '\\x09'::bytea || int8send(t.{ts}) || substr(EXCLUDED.{state}, 10) "
            "WHEN 33 THEN '\\x29'::bytea || int8send(t.{ts}) || substr(EXCLUDED.{state}, 10) "
            "WHEN 2 THEN '\\x0a'::bytea || substr(t.{state}, 2, 8) || int8send(t.{ts}) || substr(EXCLUDED.{state}, 10) "
            "WHEN 8 THEN '\\x0a'::bytea || int8send(t.{ts}) || substr(t.{state}, 2) "
            "ELSE t.{state} END END"
        ).format(**_TS)
        return sql.SQL("DO UPDATE SET {} WHERE t.{ts} < EXCLUDED.{ts} AND ({} OR {})").format(
            sql.SQL(", ").join([*settings, state]), _ONE_TIME, _same_bitmap("EXCLUDED"), **_TS
        )

    def _delete(self, condition: sql.Composable) -> bytes:
        statement = sql.SQL("DELETE FROM {target} AS t USING {stage} AS s WHERE {join} AND {condition}").format(
            target=self._target, stage=self._stage, join=self._join(), condition=condition
        )
        return statement.as_bytes()

    def _undecided(self) -> bytes:
        """Stored rows that the batch touches and that no statement above could decide."""
        same = sql.SQL("ROW({}) IS DISTINCT FROM ROW({})").format(self._comparable("t"), self._comparable("s"))
        return (
            sql.SQL(
                "SELECT s._ord, {fields} FROM {stage} AS s JOIN {target} AS t ON {join} WHERE "
                "(s._op IN ({dominate}, {insert}, {put}) AND {same}) "
                "OR (s._op = {delete} AND NOT (t.{ts} <= s.{ts} AND {settled})) "
                "OR s._op = {hidden} OR (s._op IN ({renew}, {patch}) AND NOT {contained})"
            )
            .format(
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
                renew=OP_RENEW,
                patch=OP_PATCH,
                contained=self._contained(),
                settled=self._settled,
                **_TS,
            )
            .as_bytes()
        )

    def _contained(self) -> sql.Composed:
        """Whether the stored row surely holds every cell of an UPDATE: the same values at the same timestamp."""
        conditions: list[sql.Composable] = [
            sql.SQL("t.{ts} = s.{ts}").format(**_TS),
            sql.SQL("({} OR (s._op = {} AND ({})))").format(_ONE_TIME, OP_PATCH, _same_bitmap("s")),
        ]
        for mine, theirs in zip(self._comparables("s"), self._comparables("t"), strict=True):
            conditions.append(sql.SQL("({0} IS NULL OR {1} IS NOT DISTINCT FROM {0})").format(mine, theirs))
        return sql.SQL("COALESCE({}, false)").format(sql.SQL(" AND ").join(conditions))

    def _comparable(self, prefix: str) -> sql.Composed:
        meta: list[sql.Composable] = [sql.Identifier(prefix, name) for name in _META]
        return sql.SQL(", ").join([*self._comparables(prefix), *meta])

    def _comparables(self, prefix: str) -> list[sql.Composable]:
        """The value columns so that equal means equal bytes: 1.0 and 1.00, 0 and -0, 1 month and 30 days differ."""
        fields: list[sql.Composable] = []
        for column in self.relation.value_columns:
            field: sql.Composable = sql.Identifier(prefix, column.name)
            fields.append(field + sql.SQL("::text") if _is_loose(column.pg_type) else field)
        return fields

    def select_partition(self, partition_columns: int) -> sql.Composed:
        """The rows of one partition that a deletion at a given time may touch; parameters: key fields, time.

        `partition_columns` is how many columns of the primary key name the partition.
        """
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
        return sql.SQL("DELETE FROM {target} AS t WHERE {conditions} AND t.{ts} <= %b AND {settled}").format(
            target=self._target, conditions=conditions, settled=self._settled, **_TS
        )

    def select_expired(self) -> sql.Composed:
        """Rows in which something ended by a given time; parameters: the time, how many at most."""
        return sql.SQL("SELECT {fields} FROM {target} AS t WHERE t.{expiry} <= %b ORDER BY t.{expiry} LIMIT %b").format(
            fields=_columns(self._names, "t"), target=self._target, expiry=sql.Identifier(EXPIRY_COLUMN)
        )


def _is_loose(type_: PgType) -> bool:
    """Whether two fields of the type may be equal to PostgreSQL although their bytes differ; jsonb keeps its bytes."""
    if type_.element is not None:
        return _is_loose(type_.element)
    if type_.name in _LOOSE_EQUALITY or type_.form == "vector":
        return True
    return any(_is_loose(field) for _, field in type_.fields)


def _same_bitmap(other: str) -> sql.Composed:
    """Whether the cells at the newest timestamp of `t` are those of an UPDATE's state in `other`, by their bitmaps.

    Both states have a BASE (see `merge.state`); only that of `t` may have a liveness before it.
    """
    return sql.SQL(
        "(get_byte(t.{state}, 0) IN (8, 9, 41) AND substr(t.{state}, 10) = substr({other}.{state}, 10)) "
        "OR (get_byte(t.{state}, 0) = 10 AND substr(t.{state}, 18) = substr({other}.{state}, 10))"
    ).format(other=sql.SQL(other), **_TS)


_TS = {"ts": sql.Identifier(WRITE_TIME_COLUMN), "state": sql.Identifier(STATE_COLUMN)}
# All cells of `t` have its newest timestamp: no state, or nothing but the lack or the older time of its liveness.
_ONE_TIME = sql.SQL("(t.{state} IS NULL OR get_byte(t.{state}, 0) IN (1, 2, 33))").format(**_TS)
# The state of `t` has no flag OBSERVED, the highest in use (see `merge.state`).
_SETTLED = sql.SQL("(t.{state} IS NULL OR get_byte(t.{state}, 0) < 64)").format(**_TS)
