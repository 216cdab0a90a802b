"""Finds the rows of a batch that PostgreSQL refuses, inside the transaction of the batch: by suspicion, or by halves.

Invariant: afterwards every item of the fold is either written in the caller's transaction or returned as poison, and
poison stands alone: nothing sound is set aside with it. Merging is a join, so writing a fold in parts, in any order,
leaves the same rows as writing it whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import Connection

from casscade.core.errors import InvariantError
from casscade.load.counters import BatchCounts
from casscade.load.faults import Kind, kind_of
from casscade.load.letters import stack_of
from casscade.load.trail import Suspect
from casscade.merge.fold import Fold, TableFold

# Each costs a savepoint and some statements, about 3 ms and some halvings: five seconds at worst. Where more of one
# batch is refused, the fault is not in the rows.
POISON_ITEMS_MAX: Final = 500

_TOO_LONG: Final = "54000"
# A row may also be too long as a whole. PostgreSQL's index takes 2,704 bytes; numeric has up to a fifth more than
# the bytes in Cassandra.
_KEY_BYTES_MAX: Final = 2000

# Rows with long keys that are written alone: a table that is full of them has no use for it.
LIKELY_MAX: Final = 100
# Suspects that were sound until no more are asked for: the fault is then none that shows at its row.
WRONG_MAX: Final = 2
# Refused rows until the rest is halved too, so that hundreds do not mean to write the whole rest hundreds of times.
WHOLE_MAX: Final = 4

Write = Callable[[Fold, BatchCounts], None]
Suspects = Callable[[psycopg.Error], Suspect | None]


def nobody(_error: psycopg.Error) -> Suspect | None:
    """Where errors name no row."""
    return None


@dataclass(frozen=True, slots=True)
class Poison:
    """One item that PostgreSQL refuses: a row, a static row or the deletions of one partition, alone in `table`."""

    table: TableFold
    code: str
    message: str
    stack: str = ""


def is_data_error(error: psycopg.Error) -> bool:
    """Whether the rows of the batch are the reason, so that the others can be written without them."""
    return kind_of(error) is Kind.DATA


def isolate(
    connection: Connection[Any], fold: Fold, write: Write, counts: BatchCounts, suspect: Suspects = nobody
) -> list[Poison]:
    """Write `fold`, which was refused as a whole, in parts and each part in a savepoint; returns what was refused.

    `suspect` names the row that an error is most likely about, or none: that one is then written alone, and the rest.
    Raises the psycopg errors that are not about data, and InvariantError (`postgres_refuses_all`) when more than
    `POISON_ITEMS_MAX` items are refused. Nothing may be committed then.
    """
    found: list[Poison] = []
    parts = likely_apart(fold)
    wrong = 0
    while parts:
        part, suspected = parts.pop()
        counted = BatchCounts()
        try:
            with connection.transaction():
                write(part, counted)
        except psycopg.Error as error:
            if not is_data_error(error):
                raise
            if size(part) > 1:
                named = suspect(error) if wrong < WRONG_MAX else None
                alone, rest = (None, part) if named is None else apart(part, named)
                # One or two among many are out of the way now; of many each is looked for in a part of its own.
                split = (rest,) if alone is not None and len(found) < WHOLE_MAX else halves(rest)
                parts += [(each, False) for each in split]
                parts += [] if alone is None else [(alone, True)]
                continue
            found.append(_poison(part, error))
            if len(found) > POISON_ITEMS_MAX:
                raise _refuses_all(error) from error
            continue
        wrong += suspected
        counts.add(counted)
    return found


def size(fold: Fold) -> int:
    """How many items a fold has: rows, static rows and partitions with deletions."""
    return fold.row_count()


def likely_apart(fold: Fold) -> list[tuple[Fold, bool]]:
    """The parts to begin with: a row whose key is likely too long for an index is one of its own; no other is named."""
    long = [
        Suspect(table_id, False, key)
        for table_id, table in fold.tables.items()
        for key in table.rows
        if len(key[0]) + len(key[1]) > _KEY_BYTES_MAX
    ]
    rest = fold
    found: list[tuple[Fold, bool]] = []
    for suspect in long if len(long) <= LIKELY_MAX else ():
        alone, rest = apart(rest, suspect)
        assert alone is not None
        found.append((alone, False))
    return [(rest, False), *found] if size(rest) else found


def apart(fold: Fold, suspect: Suspect) -> tuple[Fold | None, Fold]:
    """One row of a fold of several, and the rest of it; without that row None, and all of it."""
    table = fold.tables.get(suspect.table_id)
    if table is None:
        return None, fold
    alone, others = TableFold(table.table), TableFold(table.table)
    alone.findings = others.findings = table.findings
    others.rows, others.statics, others.deletions = dict(table.rows), dict(table.statics), table.deletions
    if suspect.static:
        row = others.statics.pop(suspect.key[0], None)
        alone.statics = {} if row is None else {suspect.key[0]: row}
    else:
        row = others.rows.pop(suspect.key, None)
        alone.rows = {} if row is None else {suspect.key: row}
    if row is None:
        return None, fold
    parts = (Fold(), Fold())
    parts[0].tables[suspect.table_id] = alone
    parts[1].tables = {**fold.tables, suspect.table_id: others}
    return parts


def halves(fold: Fold) -> tuple[Fold, Fold]:
    """Two folds of about half the items each; the items themselves are shared."""
    parts = (Fold(), Fold())
    half = size(fold) // 2
    taken = 0
    for table_id, table in fold.tables.items():
        targets = (TableFold(table.table), TableFold(table.table))
        for target in targets:
            target.findings = table.findings
        for row_key, row in table.rows.items():
            targets[taken >= half].rows[row_key] = row
            taken += 1
        for key, static in table.statics.items():
            targets[taken >= half].statics[key] = static
            taken += 1
        for key, deletions in table.deletions.items():
            targets[taken >= half].deletions[key] = deletions
            taken += 1
        for part, target in zip(parts, targets, strict=True):
            if target.rows or target.statics or target.deletions:
                part.tables[table_id] = target
    return parts


def _poison(part: Fold, error: psycopg.Error) -> Poison:
    table = next(table for table in part.tables.values() if table.rows or table.statics or table.deletions)
    # PostgreSQL's own text may quote values; the name of the constraint or of the data type does not.
    if error.sqlstate == _TOO_LONG and _key_bytes(table) > _KEY_BYTES_MAX:
        message = "The key is too long for PostgreSQL's index; set key: exact for this table in the configuration"
        return Poison(table, "key_too_long", message, stack_of(error))
    place = error.diag.constraint_name or error.diag.datatype_name or ""
    detail = f", {place}" if place else ""
    message = f"PostgreSQL refuses it with SQLSTATE {error.sqlstate} ({type(error).__name__}{detail})"
    return Poison(table, f"postgres_{error.sqlstate}", message, stack_of(error))


def _key_bytes(table: TableFold) -> int:
    """The bytes of the key of the one item in `table`, bounds of deletions included."""
    for partition_key, clustering_key in table.rows:
        return len(partition_key) + len(clustering_key)
    for partition_key, deletions in table.deletions.items():
        values = [bound.values for each in deletions.ranges for bound in (each.start, each.end)]
        return len(partition_key) + sum(len(value or b"") for bound in values for value in bound)
    return len(next(iter(table.statics)))


def _refuses_all(error: psycopg.Error) -> InvariantError:
    return InvariantError(
        "postgres_refuses_all",
        f"PostgreSQL refused more than {POISON_ITEMS_MAX} rows of one batch, last with SQLSTATE {error.sqlstate} "
        f"({type(error).__name__})",
        now="the pipeline stops; the batch is not committed and will be applied again",
        hint="look for constraints and triggers on the target tables; casscade check compares their columns",
    )
