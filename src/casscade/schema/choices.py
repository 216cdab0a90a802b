"""What a configuration chooses for the columns of one table.

Invariant: a choice names a column that exists; what does not fit it is refused before work begins.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from casscade.config.tables import Choice
from casscade.core.errors import ConfigurationError
from casscade.cql.types import CqlType
from casscade.schema.model import Table


@dataclass(frozen=True, slots=True)
class ColumnChoices:
    """What a configuration chooses for the columns of one table: `types` are forms by column, `column_inexact` policies
    for inexact values by column, `inexact` the policy of all others; `results` the types that rules give columns, and
    `renames` other names for them. `retyped` has the rules for columns that were dropped and added again with another
    type: `new_column` (its name with `__2`) or `text`."""

    types: Mapping[str, Choice] = field(default_factory=dict)
    column_inexact: Mapping[str, Choice] = field(default_factory=dict)
    inexact: str = "keep"
    results: Mapping[str, CqlType] = field(default_factory=dict)
    renames: Mapping[str, str] = field(default_factory=dict)
    retyped: Mapping[str, Choice] = field(default_factory=dict)


NO_CHOICES: Final = ColumnChoices()


def check_exclusions(table: Table, exclude: Collection[str]) -> None:
    """Raise `ConfigurationError` (`column_unknown`, `column_in_key`) for a column that can't be left out."""
    living = {column.name for column in table.columns if not column.dropped}
    keys = {column.name for column in (*table.partition_key, *table.clustering)}
    for name in sorted(exclude):
        if name not in living:
            near = difflib.get_close_matches(name, sorted(living), n=1)
            raise ConfigurationError(
                "column_unknown",
                f"{table.full_name} has no column {name!r} to exclude",
                now="nothing was started",
                hint=f"did you mean {near[0]!r}?" if near else f"its columns are {', '.join(sorted(living))}",
            )
        if name in keys:
            raise ConfigurationError(
                "column_in_key",
                f"{name!r} is in the primary key of {table.full_name} and can't be excluded",
                now="nothing was started",
                hint="take it out of columns: exclude:",
            )
