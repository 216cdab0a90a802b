"""The rules of one table: what its configuration says, checked against its columns.

Invariant: rules that exist can be carried out; whatever does not fit the table is refused with file, line and remedy,
before any work begins.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from casscade.config.problems import nearest
from casscade.config.rules import (
    ColumnsRule,
    DropSection,
    HashSection,
    MaskSection,
    NullSection,
    RenameSection,
    RulesSection,
)
from casscade.config.tables import PlacedTransform, TableRule, matches, select_columns
from casscade.cql.types import CqlType
from casscade.rules.chain import Chain
from casscade.rules.conditions import Conditions, read_conditions
from casscade.rules.faults import RuleError
from casscade.rules.steps import Step, step_of
from casscade.schema.mapping import EXACT_COLUMNS, META_COLUMNS
from casscade.schema.model import Column, ColumnKind, Table
from casscade.schema.names import column_identifier

_KEYS = (ColumnKind.PARTITION_KEY, ColumnKind.CLUSTERING)


@dataclass(frozen=True, slots=True)
class TableRules:
    """What is done to one table; columns are named as in Cassandra.

    `chains`: the columns whose values change. `nulled`: those that are always NULL. `dropped`: those left out.
    `renames`: names in PostgreSQL. `conditions`: which rows are wanted, None for all.
    """

    table: Table
    chains: Mapping[str, Chain] = field(default_factory=dict)
    nulled: frozenset[str] = frozenset()
    dropped: frozenset[str] = frozenset()
    renames: Mapping[str, str] = field(default_factory=dict)
    conditions: Conditions | None = None

    @property
    def active(self) -> bool:
        """Whether there is any rule."""
        return bool(self.chains or self.nulled or self.dropped or self.renames or self.conditions)

    @property
    def results(self) -> dict[str, CqlType]:
        """The types of the columns whose values change."""
        return {name: chain.result for name, chain in self.chains.items()}

    @property
    def hidden(self) -> frozenset[str]:
        """The columns of which nothing is kept as it was."""
        return self.nulled | {name for name, chain in self.chains.items() if chain.hides}

    @property
    def hides_keys(self) -> bool:
        """Whether a column of the key is hidden: then no row can be asked for by the key that is stored."""
        return any(name in self.hidden for name in _names(self.table, _KEYS))


def read_rules(
    rule: TableRule, table: Table, shared: RulesSection, excluded: Collection[str] = (), *, foreign: bool = False
) -> TableRules:
    """The rules of `table`; `excluded` columns are left out anyway, `foreign` tells that Debezium captures.

    Raises ConfigurationError (`config_rules`) with the line of what is wrong.
    """
    builder = _Builder(table, shared)
    for placed in rule.transforms:
        try:
            builder.add(placed)
        except RuleError as error:
            raise error.located(f'the transform "{placed.transform.word}"', table.full_name, placed.where) from None
    rules = builder.rules()
    if rules.hides_keys:
        where = next(placed.where for placed in rule.transforms if isinstance(placed.transform.section, ColumnsRule))
        _check_hidden_keys(rules, where, foreign=foreign)
    _check_renames(rule, rules, excluded)
    gone = rules.dropped | rules.hidden | set(excluded)
    conditions = read_conditions(rule.conditions, table, gone)
    return TableRules(table, rules.chains, rules.nulled, rules.dropped, rules.renames, conditions)


def _check_renames(rule: TableRule, rules: TableRules, excluded: Collection[str]) -> None:
    """Two columns of one name can't be in PostgreSQL, nor one with that of a column of Casscade's own."""
    table = rules.table
    names = [*_names(table, _KEYS), *_names(table, (ColumnKind.STATIC, ColumnKind.REGULAR))]
    left = [name for name in names if name not in rules.dropped and name not in excluded]
    taken = {column_identifier(name): f'that of "{name}"' for name in left if name not in rules.renames}
    taken |= {own.name: "that of a column of Casscade's own" for own in (*META_COLUMNS, *EXACT_COLUMNS)}
    for placed in rule.transforms:
        section = placed.transform.section
        if not isinstance(section, RenameSection) or section.column not in left:
            continue
        if rules.renames[section.column] != section.to:  # renamed once more, further below
            continue
        if section.to in taken:
            error = RuleError(
                f'"{section.column}" can\'t be called {section.to}: the name is {taken[section.to]}',
                hint="give it another name",
            )
            raise error.located('the transform "rename"', table.full_name, placed.where)
        taken[section.to] = f'that of "{section.column}"'


def hides_what_comes(rule: TableRule) -> bool:
    """Whether a column that the table does not have yet may be one of which the values are hidden or left out."""
    sections = (placed.transform.section for placed in rule.transforms)
    by_pattern = any(any(map(_is_pattern, each.columns)) for each in sections if isinstance(each, ColumnsRule))
    return by_pattern or rule.include is not None


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


def excluded_names(rule: TableRule, table: Table) -> set[str]:
    """The columns that the configuration leaves out by `columns`; ConfigurationError for one that is not there."""
    keys = _names(table, _KEYS)
    names = keys + _names(table, (ColumnKind.STATIC, ColumnKind.REGULAR))
    # A column that the configuration names may be dropped while the pipeline runs.
    known = names + [column.name for column in table.columns if column.dropped]
    return set(names) - set(select_columns(rule, keys, known)) - set(keys)


class _Builder:
    def __init__(self, table: Table, shared: RulesSection) -> None:
        self._table = table
        self._shared = shared
        kinds = (*_KEYS, ColumnKind.STATIC, ColumnKind.REGULAR)
        self._columns = {column.name: column for kind in kinds for column in _living(table, kind)}
        self._steps: dict[str, list[Step]] = {}
        self._nulled: dict[str, None] = {}
        self._dropped: dict[str, None] = {}
        self._renames: dict[str, str] = {}

    def add(self, placed: PlacedTransform) -> None:
        section = placed.transform.section
        if isinstance(section, RenameSection):
            if not self._is_gone(section.column):
                self._renames[self._named(section.column).name] = section.to
            return
        assert isinstance(section, ColumnsRule)
        for column in self._matching(section.columns):
            if isinstance(section, DropSection):
                self._require(column.kind not in _KEYS, column, "is in the primary key and can't be dropped")
                self._dropped[column.name] = None
                continue
            self._check(column, section)
            if isinstance(section, NullSection):
                self._nulled[column.name] = None
                continue
            steps = self._steps.setdefault(column.name, [])
            try:
                steps.append(step_of(placed.transform, steps[-1].result if steps else column.type, self._shared))
            except RuleError as error:
                raise RuleError(f'the column "{column.name}": {error.what}', error.position, error.hint) from None

    def rules(self) -> TableRules:
        chains = {
            name: Chain(self._columns[name].type, steps)
            for name, steps in self._steps.items()
            if name not in self._dropped and name not in self._nulled
        }
        nulled = frozenset(self._nulled) - frozenset(self._dropped)
        return TableRules(self._table, chains, nulled, frozenset(self._dropped), self._renames)

    def _matching(self, patterns: Sequence[str]) -> list[Column]:
        found: dict[str, Column] = {}
        for pattern in patterns:
            if _is_pattern(pattern):
                found |= {name: column for name, column in self._columns.items() if matches(pattern, name)}
            elif not self._is_gone(pattern):
                found[pattern] = self._named(pattern)
        return list(found.values())

    def _is_gone(self, name: str) -> bool:
        """Whether a column was dropped, as may be done while the pipeline runs; its rule waits for it to come back."""
        return name not in self._columns and any(each.name == name and each.dropped for each in self._table.columns)

    def _named(self, name: str) -> Column:
        column = self._columns.get(name)
        if column is None:
            near = nearest(name, self._columns)
            hint = f'did you mean "{near}"?' if near else f"its columns are {', '.join(self._columns)}"
            raise RuleError(f'there is no column "{name}"', hint=hint)
        return column

    def _check(self, column: Column, section: ColumnsRule) -> None:
        hashes = isinstance(section, HashSection) or (isinstance(section, MaskSection) and section.with_[:4] == "hmac")
        self._require(
            column.kind is not ColumnKind.CLUSTERING,
            column,
            "is a clustering column: its values order the rows of a partition, which deletions of ranges need",
        )
        self._require(
            column.kind is not ColumnKind.PARTITION_KEY or hashes,
            column,
            "is in the primary key, where different values must stay different",
            "use hash, or rename",
        )
        self._require(column.type.name != "counter", column, "is a counter", "drop it, or leave it as it is")
        self._require(
            not column.type.multi_cell or isinstance(section, NullSection),
            column,
            f"is a {column.type.cql()}, whose elements are written one by one",
            "use null or drop",
        )

    def _require(self, holds: bool, column: Column, what: str, hint: str = "take it out of columns") -> None:
        if not holds:
            raise RuleError(f'the column "{column.name}" {what}', hint=hint)


def _check_hidden_keys(rules: TableRules, where: str, *, foreign: bool) -> None:
    """Rows whose stored key is a hash can't be read again from Cassandra: where that is needed, it is refused."""
    table = rules.table
    spread = [column.name for column in (*table.statics, *table.regulars) if column.type.multi_cell or table.is_counter]
    needed = [name for name in spread if name not in rules.dropped]
    if not needed and not foreign:
        return
    what = f'"{needed[0]}" is a column that may have to be read again by its key' if needed else "Debezium captures"
    error = RuleError(f"the key is hashed, and {what}", hint="drop that column, or leave the key as it is")
    raise error.located('the transform "hash"', table.full_name, where)


def _living(table: Table, kind: ColumnKind) -> tuple[Column, ...]:
    return tuple(column for column in table.columns if column.kind is kind and not column.dropped)


def _names(table: Table, kinds: Collection[ColumnKind]) -> list[str]:
    return [column.name for kind in kinds for column in _living(table, kind)]
