"""Decides which Cassandra tables are replicated, where to, and with which columns.

Invariant: every table that exists gets at most one rule, every rule its own target, and a name in the configuration
that nothing answers to is an error, never a silent nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from casscade.config.entries import TableEntry
from casscade.config.model import PipelineConfig
from casscade.config.problems import nearest
from casscade.config.rules import Transform
from casscade.config.values import IDENTIFIER_BYTES_MAX, SYSTEM_KEYSPACES
from casscade.core.errors import ConfigurationError

_NOW = "nothing was started and nothing was changed"
# `max_hint_window`: as long as that a replica that was away gets what it missed.
HINT_WINDOW_S = 10_800


@dataclass(frozen=True, slots=True)
class Choice:
    """What the configuration says of one column, and where in the file it says so."""

    word: str
    where: str


@dataclass(frozen=True, slots=True)
class PlacedTransform:
    """A transform, and where in the file it stands."""

    transform: Transform
    where: str


@dataclass(frozen=True, slots=True)
class TableRule:
    """One table that is replicated. `include` None means all columns; key columns are replicated in any case.

    `types` and `column_inexact` hold what is chosen for single columns, `inexact` what is for all others. `conditions`
    on its rows must all hold; `transforms` are in their order.
    """

    keyspace: str
    table: str
    target_schema: str
    target_table: str
    include: tuple[str, ...] | None
    exclude: tuple[str, ...]
    key: str = "auto"
    types: Mapping[str, Choice] = field(default_factory=dict)
    column_inexact: Mapping[str, Choice] = field(default_factory=dict)
    inexact: str = "keep"
    conditions: tuple[Choice, ...] = ()
    transforms: tuple[PlacedTransform, ...] = ()
    conflicts: str = "last_write_wins"
    conflicts_after_s: int = HINT_WINDOW_S
    retyped: Mapping[str, Choice] = field(default_factory=dict)
    on_recreate: str = "keep"


def resolve_tables(config: PipelineConfig, available: Iterable[tuple[str, str]]) -> list[TableRule]:
    """The rules for the tables among `available` (keyspace, table) that the configuration selects, sorted.

    All entries that match a table apply, in the order of the file: a later target, `include`, `key`, `inexact`
    or strategy for conflicts replaces an earlier one, exclusions and choices for single columns add up. Cassandra's own
    keyspaces are never selected. Raises ConfigurationError when a source without wildcard, or the keyspace of a source,
    does not exist, when two tables have one target, when a target is no name that PostgreSQL can hold, and when nothing
    is selected.
    """
    tables = sorted({each for each in available if each[0] not in SYSTEM_KEYSPACES})
    for index, entry in enumerate(config.tables):
        _check_exists(config, index, entry, tables)
    rules = [rule for keyspace, table in tables if (rule := _rule(config, keyspace, table)) is not None]
    if not rules:
        raise _error(config, "no table of the cluster matches any source", "check the sources under tables", "tables")
    _check_targets(config, rules)
    return rules


def select_columns(rule: TableRule, key_columns: Collection[str], columns: Sequence[str]) -> tuple[str, ...]:
    """Those of a table's `columns` that are replicated, in their order.

    Raises ConfigurationError when the rule excludes a key column or names a column that the table does not have.
    """
    name = f"{rule.keyspace}.{rule.table}"
    _check_choices(rule, name, key_columns, columns)
    for column in (*(rule.include or ()), *rule.exclude):
        if column not in columns:
            near = nearest(column, columns)
            raise ConfigurationError(
                "config_columns",
                f'the table {name} has no column "{column}" to include or exclude',
                where="tables[].columns",
                now=_NOW,
                hint=f'did you mean "{near}"?' if near else f"its columns are {', '.join(columns)}",
            )
    for column in rule.exclude:
        if column in key_columns:
            raise ConfigurationError(
                "config_columns",
                f'the column "{column}" of {name} belongs to its primary key and can\'t be excluded',
                where="tables[].columns",
                now=_NOW,
                hint="remove it from exclude: without its key no row can be found again",
            )
    return tuple(
        column
        for column in columns
        if column in key_columns or ((rule.include is None or column in rule.include) and column not in rule.exclude)
    )


def _check_choices(rule: TableRule, name: str, key_columns: Collection[str], columns: Sequence[str]) -> None:
    for choices in (rule.types, rule.column_inexact, rule.retyped):
        for column, choice in choices.items():
            if column in columns and column not in key_columns:
                continue
            what = f'the table {name} has no column "{column}" to choose anything for'
            near = nearest(column, columns)
            hint = f'did you mean "{near}"?' if near else f"its columns are {', '.join(columns)}"
            if column in key_columns:
                what = f'the column "{column}" of {name} belongs to its primary key, which is represented exactly'
                hint = "remove it: docs/types.md says what key columns become"
            raise ConfigurationError("config_columns", what, where=choice.where, now=_NOW, hint=hint)


def matches(pattern: str, name: str) -> bool:
    """Whether `name` matches `pattern`, where `*` is any text and `?` one character; case matters.

    Goes back to the last `*` alone, so that the time is at most the product of both lengths.
    """
    at = star = 0
    index, resume = 0, -1
    while index < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, index
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", name[index]):
            at += 1
            index += 1
        elif resume >= 0:
            resume += 1
            at, index = star + 1, resume
        else:
            return False
    return all(sign == "*" for sign in pattern[at:])


def matches_table(source: str, keyspace: str, table: str) -> bool:
    """Whether a source of the configuration selects the table."""
    keyspace_pattern, _, table_pattern = source.partition(".")
    return matches(keyspace_pattern, keyspace) and matches(table_pattern, table)


def _rule(config: PipelineConfig, keyspace: str, table: str) -> TableRule | None:
    entries = [
        (index, entry)
        for index, entry in enumerate(config.tables)
        if matches_table(entry.source, keyspace, table)
        and not any(matches_table(pattern, keyspace, table) for pattern in entry.exclude)
    ]
    if not entries:
        return None
    target = "*.*"
    include: tuple[str, ...] | None = None
    exclude: dict[str, None] = {}
    types: dict[str, Choice] = {}
    column_inexact: dict[str, Choice] = {}
    retyped: dict[str, Choice] = {}
    inexact = "keep"
    conflicts = "last_write_wins"
    conflicts_after_s = HINT_WINDOW_S
    key = "auto"
    conditions: list[Choice] = []
    transforms: list[PlacedTransform] = []
    on_recreate = "keep"
    for index, entry in entries:
        target = entry.target or target
        include = entry.columns.include or include
        exclude.update(dict.fromkeys(entry.columns.exclude or ()))
        inexact = entry.inexact or inexact
        conflicts = entry.conflicts or conflicts
        if entry.conflicts_after_seconds is not None:
            conflicts_after_s = entry.conflicts_after_seconds
        key = entry.key or key
        if entry.where is not None:
            conditions.append(Choice(entry.where, config.location("tables", index, "where")))
        transforms += [
            PlacedTransform(transform, config.location("tables", index, "transforms", number))
            for number, transform in enumerate(entry.transforms)
        ]
        on_recreate = entry.on_recreate or on_recreate
        for choice, words, choices in (
            ("types", entry.columns.types, types),
            ("inexact", entry.columns.inexact, column_inexact),
            ("retyped", entry.columns.retyped, retyped),
        ):
            for column, word in words.items():
                choices[column] = Choice(word, config.location("tables", index, "columns", choice, column))
    schema, _, name = target.partition(".")
    return TableRule(
        keyspace,
        table,
        schema.replace("*", keyspace),
        name.replace("*", table),
        include,
        tuple(exclude),
        key,
        types,
        column_inexact,
        inexact,
        tuple(conditions),
        tuple(transforms),
        conflicts=conflicts,
        conflicts_after_s=conflicts_after_s,
        retyped=retyped,
        on_recreate=on_recreate,
    )


def _check_exists(config: PipelineConfig, index: int, entry: TableEntry, tables: Sequence[tuple[str, str]]) -> None:
    keyspace, _, table = entry.source.partition(".")
    keyspaces = sorted({each for each, _ in tables})
    if not _is_pattern(keyspace) and keyspace not in keyspaces:
        near = nearest(keyspace, keyspaces)
        hint = f'did you mean "{near}"?' if near else "create the keyspace and its tables, or correct the name"
        what = f'the keyspace "{keyspace}" does not exist or has no tables'
        raise _error(config, what, hint, "tables", index, "source")
    if not _is_pattern(entry.source) and (keyspace, table) not in tables:
        near = nearest(table, [name for space, name in tables if space == keyspace])
        hint = f'did you mean "{keyspace}.{near}"?' if near else "create the table, or correct the name"
        raise _error(config, f'the table "{entry.source}" does not exist', hint, "tables", index, "source")


def _check_targets(config: PipelineConfig, rules: Sequence[TableRule]) -> None:
    sources: dict[tuple[str, str], TableRule] = {}
    for rule in rules:
        target = f"{rule.target_schema}.{rule.target_table}"
        source = f"{rule.keyspace}.{rule.table}"
        if max(len(rule.target_schema), len(rule.target_table)) > IDENTIFIER_BYTES_MAX:
            what = f"the target of {source} has a name of more than {IDENTIFIER_BYTES_MAX} characters"
            raise _error(config, what, "give this table an entry with a shorter target", "tables")
        if rule.target_schema == config.postgres.control_schema:
            what = f'the target of {source} lies in the control schema "{rule.target_schema}"'
            raise _error(config, what, "give it another target, or change postgres.control_schema", "tables")
        other = sources.setdefault((rule.target_schema, rule.target_table), rule)
        if other is not rule:
            what = f"{other.keyspace}.{other.table} and {source} have the same target {target}"
            raise _error(config, what, "give each a target of its own; * stands for the name", "tables")


def _is_pattern(text: str) -> bool:
    return "*" in text or "?" in text


def _error(config: PipelineConfig, what: str, hint: str, *path: str | int) -> ConfigurationError:
    return ConfigurationError("config_tables", what, where=config.location(*path), now=_NOW, hint=hint)
