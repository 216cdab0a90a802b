"""The entries of `tables`: which tables are replicated, where to, and how.

Invariant: an entry that exists is complete and within its limits; what only the tables themselves can tell is checked
when these are known.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from casscade.config.rules import Transform
from casscade.config.section import Section
from casscade.config.values import SourcePattern, TargetPattern, Text, WholeNumber, refuse

RetypedRule = Literal["new_column", "text"]
ColumnForm = Literal["array", "jsonb", "composite", "text", "bytea", "bigint", "vector"]
InexactPolicy = Literal["keep", "convert", "dead_letter"]
ConflictStrategy = Literal["last_write_wins", "dead_letter", "arrival_order"]


class ColumnsSection(Section):
    """Which columns of a table are replicated, and how; key columns always are, and by their default."""

    include: tuple[Text, ...] | None = Field(
        default=None, min_length=1, max_length=2000, description="Only these columns and the key"
    )
    exclude: tuple[Text, ...] | None = Field(
        default=None, min_length=1, max_length=2000, description="All but these; exclusions of several entries add up"
    )
    types: dict[str, ColumnForm] = Field(
        default={},
        max_length=2000,
        description="How columns are represented where the default of docs/types.md is not wanted, by their names in "
        "Cassandra: `{tags: jsonb, home: composite}`; which of these fit a type is in docs/types.md",
    )
    inexact: dict[str, InexactPolicy] = Field(
        default={},
        max_length=2000,
        description="What becomes of values that columns can't show exactly, by their names in Cassandra, where it is "
        "not what `inexact` of the table says",
    )
    retyped: dict[str, RetypedRule] = Field(
        default={},
        max_length=2000,
        description="What becomes of columns that were dropped and added again with a type that PostgreSQL's column "
        "can't be widened to: `new_column` puts the values into a column with `__2` behind its name, `text` their text "
        "into the old column, if that is text; without a rule the writes become dead letters",
    )

    @model_validator(mode="after")
    def _either(self) -> ColumnsSection:
        if self.include is not None and self.exclude is not None:
            refuse("has both include and exclude", "give one of the two")
        return self


class TableEntry(Section):
    """One entry of `tables`; where several match a table, later ones refine earlier ones."""

    source: SourcePattern = Field(description="keyspace.table in Cassandra; `*` and `?` are wildcards")
    target: TargetPattern | None = Field(
        default=None,
        description="schema.table in PostgreSQL; `*` stands for the name of the keyspace or table. "
        "By default the keyspace's name is the schema",
    )
    columns: ColumnsSection = Field(default=ColumnsSection(), description="Which columns are replicated, and how")
    key: Literal["auto", "natural", "exact"] | None = Field(
        default=None,
        description="The primary key in PostgreSQL. `natural`: the key columns; values that PostgreSQL can't tell "
        "apart become dead letters. `exact`: the key's bytes in `_cdc_partition` and `_cdc_clustering`; the key "
        "columns stay beside them. `auto`, the default: `exact` where the type of a key column needs it for its "
        "everyday values, else `natural`. When it changes, the table in PostgreSQL must be made anew",
    )
    inexact: InexactPolicy | None = Field(
        default=None,
        description="What becomes of values that PostgreSQL can't show exactly: `keep` (unless an entry says "
        "otherwise) shows the nearest value and keeps the original in the row's state, `convert` stores the nearest "
        "value alone, "
        "`dead_letter` sets the row aside. All are counted",
    )
    conflicts: ConflictStrategy | None = Field(
        default=None,
        description="What becomes of writes that come too late. `last_write_wins` (unless an entry says otherwise): "
        "the newest write time wins, as in Cassandra; `dead_letter`: so too, and what lost is set aside; "
        "`arrival_order`: the later arrival wins whatever its write time, only without replicas (docs/conflicts.md)",
    )
    conflicts_after_seconds: WholeNumber | None = Field(
        default=None,
        ge=0,
        le=31_536_000,
        description="How much older than what is there a write must be for `conflicts: dead_letter` to set it aside, "
        "in seconds; 10800 unless an entry says otherwise, the time for which Cassandra keeps hints: late copies of "
        "other replicas are no news",
    )
    exclude: tuple[SourcePattern, ...] = Field(
        default=(), max_length=1000, description="Tables (keyspace.table, with wildcards) that `source` does not mean"
    )
    on_recreate: Literal["keep", "stop"] | None = Field(
        default=None,
        description="When the table was dropped in Cassandra and made again: `keep`, the default, renames the old "
        "table in PostgreSQL aside, with the date, and makes a fresh one; `stop` ends the pipeline",
    )
    where: Text | None = Field(
        default=None,
        description="Condition on rows: the others are not in PostgreSQL (see docs/rules.md). Those of several "
        "entries must all hold",
    )
    transforms: tuple[Transform, ...] = Field(
        default=(),
        max_length=200,
        description="What is done to values, in this order (see docs/rules.md). Those of several entries add up",
    )
