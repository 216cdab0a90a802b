"""What becomes of writes that come too late or at the same time as others, by table.

Invariant: `arrival_order` is allowed only where the order of arrival means something: where each write arrives once
and nothing is read again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from casscade.core.errors import ConfigurationError
from casscade.schema.model import SchemaSnapshot, Table

LAST_WRITE_WINS: Final = "last_write_wins"
DEAD_LETTER: Final = "dead_letter"
ARRIVAL_ORDER: Final = "arrival_order"


@dataclass(frozen=True, slots=True)
class ConflictRule:
    """The strategy of one table; `late_s`: how much older than what is there a stale row must be to be set aside."""

    strategy: str = LAST_WRITE_WINS
    late_s: int = 0

    @property
    def sets_aside(self) -> bool:
        """Whether what loses becomes a dead letter."""
        return self.strategy == DEAD_LETTER


NO_RULE: Final = ConflictRule()


def require_arrival_once(snapshot: SchemaSnapshot, table: Table) -> None:
    """Refuse `arrival_order` for a table where it can't be right (`ConfigurationError`, `arrival_order_impossible`)."""
    keyspace = snapshot.keyspaces.get(table.keyspace)
    copies = 1 if keyspace is None else _copies(keyspace.replication)
    if copies != 1:
        raise _refused(
            table,
            f"each write arrives from every one of the {copies} replicas of keyspace {table.keyspace!r}, "
            "late copies after newer writes",
        )
    if table.is_counter:
        raise _refused(table, "increments of a counter are added up, not replaced")
    hidden = [column.name for column in (*table.statics, *table.regulars) if column.type.multi_cell]
    if hidden:
        raise _refused(
            table, f"the elements of its non-frozen column {hidden[0]!r} are merged, and read again, by their own times"
        )


def _copies(replication: Mapping[str, str]) -> int:
    """Replicas of a partition over all data centers; transient ones (`3/1`) are among them."""
    return sum(
        int(value.partition("/")[0])
        for key, value in replication.items()
        if key != "class" and value.partition("/")[0].isdigit()
    )


def _refused(table: Table, why: str) -> ConfigurationError:
    return ConfigurationError(
        "arrival_order_impossible",
        f"the order of arrival can't decide in {table.full_name}: {why}",
        where="tables[].conflicts",
        now="nothing was started",
        hint="choose last_write_wins or dead_letter; docs/conflicts.md says where arrival_order is right",
    )
