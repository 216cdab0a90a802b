"""The conditions on the rows of one table, sorted by when they can be decided.

Invariant: a condition on key columns alone is decided when a mutation is decoded and costs nothing afterwards; all
others are decided on merged rows, because only these have all columns.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from casscade.config.tables import Choice
from casscade.rules.faults import RuleError
from casscade.rules.predicate import Predicate
from casscade.rules.syntax import Expression, columns_of, conjuncts, parse
from casscade.schema.model import ColumnKind, Table


@dataclass(frozen=True, slots=True)
class Conditions:
    """`texts` as they are written; `partition` names partition key columns alone, `key` also clustering columns."""

    texts: tuple[str, ...]
    partition: tuple[Predicate, ...]
    key: tuple[Predicate, ...]
    row: tuple[Predicate, ...]


def read_conditions(conditions: Sequence[Choice], table: Table, gone: Collection[str]) -> Conditions | None:
    """The conditions of a table; None without any. `gone` columns have no values left once a mutation is decoded.

    Raises ConfigurationError (`config_rules`) with the line of the condition.
    """
    if not conditions:
        return None
    found: dict[str, list[Predicate]] = {"partition": [], "key": [], "row": []}
    for condition in conditions:
        try:
            for part in conjuncts(parse(condition.word)):
                stage, predicate = _read(part, table, gone)
                found[stage].append(predicate)
        except RuleError as error:
            raise error.located("where", table.full_name, condition.where) from None
    return Conditions(
        tuple(condition.word for condition in conditions),
        tuple(found["partition"]),
        tuple(found["key"]),
        tuple(found["row"]),
    )


def _read(part: Expression, table: Table, gone: Collection[str]) -> tuple[str, Predicate]:
    columns = {column.name: column for column in table.columns if not column.dropped}
    dropped = {column.name for column in table.columns if column.dropped}
    for mention in columns_of(part):
        if mention.name in dropped - columns.keys():
            raise RuleError(
                f'the column "{mention.name}" was dropped in Cassandra, so that rows can\'t be judged by it any more',
                mention.position,
                "take it out of the condition; docs/rules.md, under Schema changes, tells what becomes of stored rows",
            )
    predicate = Predicate(part, {name: column.type for name, column in columns.items()})
    kinds = {columns[name].kind for name in predicate.columns}
    if kinds <= {ColumnKind.PARTITION_KEY}:
        return "partition", predicate
    if kinds <= {ColumnKind.PARTITION_KEY, ColumnKind.CLUSTERING}:
        return "key", predicate
    for mention in columns_of(part):
        if columns[mention.name].kind is ColumnKind.STATIC:
            raise RuleError(
                f'"{mention.name}" is a static column: it belongs to all rows of its partition',
                mention.position,
                "name columns of the row, or filter in a view",
            )
        if mention.name in gone:
            raise RuleError(
                f'the values of "{mention.name}" are hidden or left out, so that rows can\'t be judged by them',
                mention.position,
                "replicate the column as it is, or take it out of the condition",
            )
    return "row", predicate
