"""What a Cassandra table becomes in PostgreSQL: columns, the table of its statics and the view over both.

Invariant: the mapping is a pure function of the table and the configuration; the same input gives the same names and
types on every instance and after every restart.

A table becomes the relation of its rows (key columns, regular columns). With static columns there is also
`<table>_static` (partition key, static columns) and the view `<table>_with_static`. Both relations end with the three
columns of `META_COLUMNS`, and those with an exact key with those of `Relation.exact_columns` (see `schema.key_form`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final, cast

from casscade.core.cell import NO_TIMESTAMP
from casscade.core.errors import ConfigurationError
from casscade.cql.types import CqlType
from casscade.schema.choices import NO_CHOICES, ColumnChoices, check_exclusions
from casscade.schema.conflict_rules import NO_RULE, ConflictRule
from casscade.schema.key_form import AUTO, is_exact
from casscade.schema.model import Column, Table
from casscade.schema.names import column_identifier, quote_identifier, relation_identifier
from casscade.schema.pg_types import Form, PgType, allowed_forms, map_column, map_column_as

COLUMNS_MAX: Final = 1600
"""PostgreSQL's `MaxHeapAttributeNumber`."""

RETYPED: Final = "__2"
"""Behind the name of a column that was added again with another type, and goes to a column of its own."""

KEY_COLUMNS_MAX: Final = 32
"""PostgreSQL's `INDEX_MAX_KEYS`."""


@dataclass(frozen=True, slots=True)
class MetaColumn:
    """A column that Casscade adds to a relation: its type as `format_type` prints it."""

    name: str
    pg_type: str
    nullable: bool


WRITE_TIME_COLUMN: Final = "_cdc_ts"
STATE_COLUMN: Final = "_cdc_state"
EXPIRY_COLUMN: Final = "_cdc_expires_at"
META_COLUMNS: Final = (
    MetaColumn(WRITE_TIME_COLUMN, "bigint", nullable=False),
    MetaColumn(STATE_COLUMN, "bytea", nullable=True),
    MetaColumn(EXPIRY_COLUMN, "timestamp with time zone", nullable=True),
)


PARTITION_COLUMN: Final = "_cdc_partition"
CLUSTERING_COLUMN: Final = "_cdc_clustering"
LONG_KEY_COLUMN: Final = "_cdc_long_key"
EXACT_COLUMNS: Final = (
    MetaColumn(PARTITION_COLUMN, "bytea", nullable=False),
    MetaColumn(CLUSTERING_COLUMN, "bytea", nullable=False),
    MetaColumn(LONG_KEY_COLUMN, "bytea", nullable=True),
)
EXACT_COLUMNS_STATIC: Final = (EXACT_COLUMNS[0], EXACT_COLUMNS[2])
"""Of the relation of statics, and of the rows of a table without clustering columns."""


_INDEXED_TYPES: Final = frozenset(
    {"bigint", "boolean", "bytea", "date", "double precision", "inet", "integer", "numeric", "real", "smallint"}
    | {"text", "time without time zone", "timestamp with time zone", "uuid"}
)


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A column of a relation: its name in PostgreSQL, its type, where it comes from, whether it is in the key.

    `shown` marks a column of Cassandra's key beside an exact key: it shows a value and may be NULL.
    `inexact` says what becomes of values that the type can't show exactly: `keep`, `convert` or `dead_letter`. `type`
    is the type of the values that it shows: that of Cassandra's column, unless rules change them.
    """

    name: str
    pg_type: PgType
    column: Column
    key: bool
    shown: bool = False

    @property
    def nullable(self) -> bool:
        """Whether it may be NULL: every column but those of a natural key."""
        return self.shown or not self.key

    inexact: str = "keep"
    result: CqlType | None = None

    @property
    def type(self) -> CqlType:
        """The CQL type of what is shown."""
        return self.result or self.column.type

    @property
    def collation(self) -> str:
        """`C` for text in a key, so that order and equality are those of the bytes, as in Cassandra; else empty."""
        return "C" if self.key and self.pg_type.name == "text" else ""

    def definition(self) -> str:
        """The column in `CREATE TABLE`."""
        text = f"{quote_identifier(self.name)} {self.pg_type.name}"
        if self.collation:
            text += f" COLLATE {quote_identifier(self.collation)}"
        return text if self.nullable else f"{text} NOT NULL"


@dataclass(frozen=True, slots=True)
class Relation:
    """A table in PostgreSQL: key columns first, then the others by their Cassandra name.

    The key columns are its primary key, unless there are `exact_columns`.
    """

    schema: str
    name: str
    columns: tuple[TargetColumn, ...]
    static: bool
    exact_columns: tuple[MetaColumn, ...] = ()

    @property
    def key_columns(self) -> tuple[TargetColumn, ...]:
        """Partition key and clustering columns; for statics the partition key alone."""
        return tuple(column for column in self.columns if column.key)

    @property
    def exact(self) -> bool:
        """Whether the primary key is exact."""
        return bool(self.exact_columns)

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The names of the primary key's columns in order."""
        if self.exact_columns:
            return tuple(column.name for column in self.exact_columns if not column.nullable)
        return tuple(column.name for column in self.key_columns)

    @property
    def indexed_key_columns(self) -> tuple[TargetColumn, ...]:
        """Of an exact key the columns that are shown and that an index takes, whatever is in them.

        The size of jsonb, arrays and composite types in an index can't be foreseen; they are left out.
        """
        if not self.exact_columns:
            return ()
        plain = [column for column in self.key_columns if column.pg_type.name in _INDEXED_TYPES]
        return tuple(plain[:KEY_COLUMNS_MAX])

    @property
    def value_columns(self) -> tuple[TargetColumn, ...]:
        """The columns that are not in the key."""
        return tuple(column for column in self.columns if not column.key)

    @property
    def full_name(self) -> str:
        """`schema.name`, for messages."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Target:
    """The PostgreSQL side of one Cassandra table; `conflicts` says what becomes of late and of conflicting writes.

    `rows` is the relation of its rows, `statics` that of its static columns (None without any left), `view_name` the
    view over both in the same schema (empty without statics). `excluded` columns are not copied.
    """

    table: Table
    rows: Relation
    statics: Relation | None
    view_name: str
    excluded: tuple[Column, ...]
    conflicts: ConflictRule = NO_RULE

    @property
    def relations(self) -> tuple[Relation, ...]:
        """The relations that rows are written to."""
        return (self.rows,) if self.statics is None else (self.rows, self.statics)

    @property
    def relation_names(self) -> tuple[str, ...]:
        """Every name that the target takes in its schema."""
        names = tuple(relation.name for relation in self.relations)
        return (*names, self.view_name) if self.view_name else names

    @property
    def composites(self) -> list[PgType]:
        """The composite types of its columns, each after those that it needs itself."""
        found: dict[str, PgType] = {}
        for relation in self.relations:
            for column in relation.value_columns:
                for composite in column.pg_type.composites():
                    found.setdefault(composite.name, composite)
        return list(found.values())


def build_target(
    table: Table,
    *,
    schema: str = "",
    name: str = "",
    exclude: Collection[str] = (),
    key: str = AUTO,
    choices: ColumnChoices = NO_CHOICES,
) -> Target:
    """Map one table; `schema` is the keyspace's name and `name` the table's unless they are given.

    `key` is the form of its key. Raises `ConfigurationError`: `column_unknown`, `column_in_key` for exclusions;
    `column_type_refused` for a form that does not fit its column; `name_collision`, `name_impossible`,
    `columns_too_many`, `type_unsupported`, `key_type_unsupported`.
    """
    check_exclusions(table, exclude)
    exact = is_exact(table, key)
    schema = relation_identifier(schema or table.keyspace)
    base = name or table.name
    partition = [_key_column(column, choices, shown=exact) for column in table.partition_key]
    clustering = [_key_column(column, choices, shown=exact) for column in table.clustering]
    regulars = [_value_column(table, c, choices, schema) for c in table.regulars if c.name not in exclude]
    statics = [_value_column(table, c, choices, schema) for c in table.statics if c.name not in exclude]
    static_relation = None
    view_name = ""
    if statics:
        static_name = relation_identifier(f"{base}_static")
        static_relation = Relation(
            schema,
            static_name,
            (*partition, *statics),
            static=True,
            exact_columns=EXACT_COLUMNS_STATIC if exact else (),
        )
        view_name = relation_identifier(f"{base}_with_static")
    rows = Relation(
        schema,
        relation_identifier(base),
        (*partition, *clustering, *regulars),
        static=False,
        exact_columns=() if not exact else EXACT_COLUMNS if clustering else EXACT_COLUMNS_STATIC,
    )
    excluded = tuple(column for column in (*table.statics, *table.regulars) if column.name in exclude)
    _check_names(table, [*partition, *clustering, *statics, *regulars], exact=exact)
    return Target(table, rows, static_relation, view_name, excluded)


def check_targets(targets: Iterable[Target]) -> None:
    """Refuse two targets that take the same name in one schema (`ConfigurationError`, code `name_collision`).

    Composite types take names like tables; tables share those of equal fields.
    """
    owners: dict[tuple[str, str], str] = {}
    types: dict[tuple[str, str], PgType] = {}
    for target in targets:
        for name in target.relation_names:
            _take(owners, (target.rows.schema, name), target.table.full_name)
        for type_ in target.composites:
            known = types.setdefault(type_.composite, type_)
            owner = "a UDT" if known == type_ else f"a UDT of {target.table.full_name}"
            _take(owners, type_.composite, owner)


def _take(owners: dict[tuple[str, str], str], place: tuple[str, str], owner: str) -> None:
    other = owners.setdefault(place, owner)
    if other != owner:
        raise ConfigurationError(
            "name_collision",
            f"{other} and {owner} would both become {'.'.join(place)}",
            now="nothing was started",
            hint="give one of them another target in the configuration: target: schema.table",
        )


def _key_column(column: Column, choices: ColumnChoices, *, shown: bool) -> TargetColumn:
    result = choices.results.get(column.name)
    name = choices.renames.get(column.name, column.name)
    mapped = map_column(result or column.type)
    return TargetColumn(column_identifier(name), mapped, column, key=True, shown=shown, result=result)


def _value_column(table: Table, column: Column, choices: ColumnChoices, schema: str) -> TargetColumn:
    choice = choices.types.get(column.name)
    result = choices.results.get(column.name)
    type_ = result or column.type
    mapped = map_column(type_)
    name = choices.renames.get(column.name, column.name)
    rule = choices.retyped.get(column.name)
    if rule is not None and column.dropped_at != NO_TIMESTAMP:
        if rule.word == "new_column":
            name = f"{name}{RETYPED}"
        else:
            choice = replace(rule, word="text")
    if choice is not None:
        allowed = allowed_forms(type_)
        if choice.word not in allowed or choice.word == "plain":
            words = [form for form in allowed if form != "plain"]
            raise ConfigurationError(
                "column_type_refused",
                f"the column {column.name!r} of {table.full_name}, a {type_.cql()}, can't be {choice.word}",
                where=choice.where,
                now="nothing was started",
                hint=f"it can be {', '.join(words)}" if words else "remove it: this type has one representation only",
            )
        mapped = map_column_as(type_, cast(Form, choice.word), schema)
    policy = choices.column_inexact.get(column.name)
    inexact = choices.inexact if policy is None else policy.word
    return TargetColumn(column_identifier(name), mapped, column, key=False, inexact=inexact, result=result)


def _check_names(table: Table, columns: list[TargetColumn], *, exact: bool) -> None:
    sources: dict[str, str] = {meta.name: "a column of Casscade's own" for meta in (*META_COLUMNS, *EXACT_COLUMNS)}
    for column in columns:
        source = sources.setdefault(column.name, repr(column.column.name))
        if source != repr(column.column.name):
            raise ConfigurationError(
                "name_collision",
                f"column {column.column.name!r} of {table.full_name} would have the same name as {source}",
                now="nothing was started",
                hint=f"exclude it: columns: {{exclude: [{column.column.name!r}]}}",
            )
    keys = sum(column.key for column in columns)
    if keys > KEY_COLUMNS_MAX and not exact:
        raise ConfigurationError(
            "columns_too_many",
            f"the primary key of {table.full_name} has {keys} columns; PostgreSQL allows {KEY_COLUMNS_MAX}",
            now="nothing was started",
            hint="set key: exact for this table",
        )
    if len(columns) + len(META_COLUMNS) + len(EXACT_COLUMNS) > COLUMNS_MAX:
        raise ConfigurationError(
            "columns_too_many",
            f"{table.full_name} has {len(columns)} columns; PostgreSQL allows {COLUMNS_MAX} in all",
            now="nothing was started",
            hint="exclude columns that are not needed: columns: {exclude: [...]}",
        )
