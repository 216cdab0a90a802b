"""Compares every row of a Cassandra table with its copy in PostgreSQL.

Invariant: memory does not grow with the table, and a difference is only reported when it is still there after fresh
reads of both sides: a row that expired, or was written, between two reads is none.

First Cassandra is read by token range, page by page, and PostgreSQL is asked for the same keys. What it has is counted
by a hash of the key. Where PostgreSQL's own count is another, there may be rows that only PostgreSQL has: there its
keys are read, and Cassandra is asked for them.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from cassandra import ConsistencyLevel
from psycopg import Connection, errors

from casscade.core.errors import ConfigurationError, RetryableError
from casscade.rules.table import TableRules
from casscade.schema.faults import REFUSED, translated
from casscade.schema.mapping import Relation, Target
from casscade.verify.keys import RawKey, keys_of
from casscade.verify.normal import Key
from casscade.verify.read_cassandra import RING_END, RING_START, CassandraTable, RawRow
from casscade.verify.read_relation import BUCKETS, PostgresRelation

MISSING: Final = "missing"
EXTRA: Final = "extra"
DIFFERENT: Final = "different"
_WORDS: Final = {MISSING: "missing in PostgreSQL", EXTRA: "only in PostgreSQL", DIFFERENT: "different"}

# Suspects are read again together: one pause for many. 1000 keys of 100 bytes are little memory.
SUSPECTS_MAX: Final = 1000
# Fresh reads of a suspect before it counts; an expiry and a batch under way are over after the first.
ROUNDS: Final = 3
# From here on the copy is wrong, not late: later suspects are read again without a pause.
PATIENCE_DIFFERENCES: Final = 5000

TABLE_ALTERED: Final = "table_altered"
# What PostgreSQL says of columns and types that were altered since the statement was written or prepared.
_ALTERED: Final = (errors.UndefinedColumn, errors.UndefinedTable, errors.FeatureNotSupported)

Progress = Callable[[int, float], None]
OnDifference = Callable[[Relation, RawKey], None]


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that differs.

    `kind`: `missing` or `extra` in PostgreSQL, or `different` with the `columns` that differ. `key` is a digest of
    the key, or the key itself when values are shown; `cassandra` and `postgres` hold the values of the columns then.
    """

    relation: str
    kind: str
    key: str
    columns: tuple[str, ...] = ()
    cassandra: str = ""
    postgres: str = ""

    def __str__(self) -> str:
        text = f"{self.relation}: key {self.key}: {_WORDS[self.kind]}"
        if self.columns:
            text += f" in {', '.join(self.columns)}"
        if self.cassandra or self.postgres:
            text += f": Cassandra {self.cassandra}; PostgreSQL {self.postgres}"
        return text


@dataclass(slots=True)
class TableComparison:
    """What came out for one table: rows on both sides, how many differ (statics included), some of them."""

    table: str
    rows_cassandra: int = 0
    rows_postgres: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    examples: list[Difference] = field(default_factory=list)

    @property
    def differences(self) -> int:
        """How many rows differ in any way."""
        return self.kinds.total()


def compare_table(
    session: Any,
    connection: Connection[Any],
    target: Target,
    *,
    consistency: int = ConsistencyLevel.QUORUM,
    token_ranges: int = 16,
    page_rows: int = 500,
    max_examples: int = 20,
    settle_s: float = 1.0,
    show_values: bool = False,
    progress: Progress | None = None,
    rules: TableRules | None = None,
    on_difference: OnDifference | None = None,
) -> TableComparison:
    """Compare `target.table` with its relations.

    `connection` must be in autocommit, so that each read sees what is there now. `settle_s` is the pause before each
    of the fresh reads of what differs. `rules` are carried out on what Cassandra shows; a table whose key they hash
    can't be compared (ConfigurationError). `progress` hears of (rows read, part of Cassandra's ring that is done),
    `on_difference` of each row that differs. Columns that the relations of `target` lack are not compared.

    Raises RetryableError (`table_altered`) when either side is not as `target` says (any more), the errors of
    `translated` for Cassandra, and psycopg's other exceptions.
    """
    result = TableComparison(target.table.full_name)
    if rules is not None and rules.hides_keys:
        raise ConfigurationError(
            "verify_hashed_key",
            f"the key of {target.table.full_name} is hashed: its rows can't be told from each other on both sides",
            now="the table was not compared",
            hint="compare the other tables: casscade verify with a configuration without this one",
        )
    with (
        _as_described(target.table.full_name),
        closing(CassandraTable(session, target, consistency, page_rows, rules)) as table,
    ):
        sides = [
            _Side(table, PostgresRelation(connection, relation, keys_of(target, relation)))
            for relation in target.relations
        ]
        checkers = [_Checker(side, result, settle_s, max_examples, show_values, on_difference) for side in sides]
        last_partition: RawKey = ()
        for rows, done in _scan(table, token_ranges):
            for side, checker in zip(sides, checkers, strict=True):
                wanted = [row for row in rows if side.holds(row)]
                if side.static:
                    wanted, last_partition = _one_each(table, wanted, last_partition)
                side.compare(wanted, checker)
            result.rows_cassandra = sides[0].rows
            if progress is not None:
                progress(result.rows_cassandra, done)
        for side, checker in zip(sides, checkers, strict=True):
            side.look_for_extra(page_rows, checker)
            checker.settle()
        result.rows_postgres = sides[0].postgres.count()
    return result


@contextmanager
def _as_described(table: str) -> Iterator[None]:
    """What refuses to read a table by its description has another one by now."""
    try:
        with translated(f"comparing {table}"):
            yield
    except ConfigurationError as error:
        if error.code != REFUSED:
            raise
        raise _altered(table, "Cassandra") from error
    except _ALTERED as error:
        raise _altered(table, "PostgreSQL") from error


def _altered(table: str, where: str) -> RetryableError:
    return RetryableError(
        TABLE_ALTERED,
        f"{table} was altered in {where} while it was compared",
        where=table,
        now="nothing was changed; what was compared of it does not count",
        hint="try again when its schema is at rest: casscade schema history and casscade plan tell what changes",
    )


def _scan(table: CassandraTable, token_ranges: int) -> Iterator[tuple[list[RawRow], float]]:
    width = RING_END - RING_START
    for number in range(token_ranges):
        start = RING_START + width * number // token_ranges
        end = RING_START + width * (number + 1) // token_ranges
        for rows in table.pages(start, end):
            yield rows, (number + 1) / token_ranges


def _one_each(table: CassandraTable, rows: list[RawRow], last: RawKey) -> tuple[list[RawRow], RawKey]:
    """One row of each partition; the partition that the page before ended with is known already."""
    first = []
    for row in rows:
        key = table.raw_key(row, static=True)
        if key != last:
            first.append(row)
            last = key
    return first, last


class _Side:
    """One relation and what it is a copy of: the rows of the table, or its statics by partition."""

    def __init__(self, table: CassandraTable, postgres: PostgresRelation) -> None:
        self.table = table
        self.postgres = postgres
        self.keys = postgres.keys
        self.static = postgres.relation.static
        self.rows = 0
        self._counts = [0] * BUCKETS
        self._sums = [0] * BUCKETS

    def holds(self, row: RawRow) -> bool:
        return self.table.has_statics(row) if self.static else self.table.is_row(row)

    def compare(self, rows: Sequence[RawRow], checker: _Checker) -> None:
        """Compare rows of Cassandra with PostgreSQL; those that differ become suspects."""
        self.rows += len(rows)
        keys = [self.table.raw_key(row, static=self.static) for row in rows]
        forms = [self.keys.form(key) for key in keys]
        found = self.postgres.find([form for form in forms if form is not None])
        for row, key, form in zip(rows, keys, forms, strict=True):
            copy = None if form is None else found.get(form)
            if copy is not None:
                bucket = copy.fingerprint % BUCKETS
                self._counts[bucket] += 1
                self._sums[bucket] += copy.fingerprint
            if copy is None or copy.values != self.expected(key, form, row):
                checker.suspect(key, form)

    def expected(self, key: RawKey, form: Key | None, row: RawRow) -> Key:
        """What the columns that are compared should show."""
        values = self.keys.shown(key) + self.table.value_forms(row, static=self.static)
        return values if form is None else self.keys.comparable(form, values)

    def look_for_extra(self, page_rows: int, checker: _Checker) -> None:
        """Rows of PostgreSQL that Cassandra does not have become suspects."""
        suspicious = [
            bucket
            for bucket, counted in self.postgres.buckets().items()
            if counted != (self._counts[bucket], self._sums[bucket])
        ]
        if not suspicious:
            return
        for page in self.postgres.pages(suspicious, page_rows):
            rows = self.table.find([key for _, key in page], static=self.static)
            for (form, key), row in zip(page, rows, strict=True):
                # A form that Cassandra's type can't hold (microseconds in a timestamp) does not come back.
                if row is None or self.keys.form(key) != form:
                    checker.suspect(key, form)


class _Checker:
    """Suspects, read again until they agree or count as differences."""

    def __init__(
        self,
        side: _Side,
        result: TableComparison,
        settle_s: float,
        max_examples: int,
        show_values: bool,
        on_difference: OnDifference | None,
    ) -> None:
        self._side = side
        self._result = result
        self._settle_s = settle_s
        self._max_examples = max_examples
        self._show_values = show_values
        self._on_difference = on_difference
        self._suspects: dict[tuple[RawKey, Key | None], None] = {}

    def suspect(self, key: RawKey, form: Key | None) -> None:
        if len(self._suspects) >= SUSPECTS_MAX:
            self.settle()
        self._suspects[key, form] = None

    def settle(self) -> None:
        """Read the suspects again; what differs in every round is a difference."""
        found: list[Difference] = []
        for _ in range(ROUNDS):
            if not self._suspects:
                break
            if self._result.differences < PATIENCE_DIFFERENCES:
                time.sleep(self._settle_s)
            found = self._check_again()
        keys = [key for key, _ in self._suspects]
        self._suspects = {}
        for key, difference in zip(keys, found, strict=True):
            if self._on_difference is not None:
                self._on_difference(self._side.postgres.relation, key)
            self._result.kinds[difference.kind] += 1
            if len(self._result.examples) < self._max_examples:
                self._result.examples.append(difference)

    def _check_again(self) -> list[Difference]:
        side = self._side
        suspects = list(self._suspects)
        rows = side.table.find([key for key, _ in suspects], static=side.static)
        forms = [form for _, form in suspects]
        copies = side.postgres.find([form for form in forms if form is not None])
        found: list[Difference] = []
        for (key, form), row in zip(suspects, rows, strict=True):
            expected = None
            if row is not None and side.keys.form(key) == form:
                expected = side.expected(key, form, row)
            found_copy = None if form is None else copies.get(form)
            copy = None if found_copy is None else found_copy.values
            if expected == copy:
                del self._suspects[key, form]
            else:
                found.append(self._difference(side.postgres, key, form, expected, copy))
        return found

    def _difference(
        self, relation: PostgresRelation, key: RawKey, form: Key | None, expected: Key | None, copy: Key | None
    ) -> Difference:
        kind = MISSING if copy is None else EXTRA if expected is None else DIFFERENT
        shown = repr(form or key) if self._show_values else digest(key)
        columns: list[str] = []
        sides: tuple[list[str], list[str]] = ([], [])
        if expected is not None and copy is not None:
            for column, left, right in zip(relation.columns, expected, copy, strict=True):
                if left != right:
                    columns.append(column.name)
                    sides[0].append(repr(left))
                    sides[1].append(repr(right))
        if not self._show_values:
            sides = ([], [])
        name = relation.relation.full_name
        return Difference(
            name, kind, shown, tuple(columns), cassandra=", ".join(sides[0]), postgres=", ".join(sides[1])
        )


def digest(key: RawKey) -> str:
    """A short name for a key that does not show it: from SHA-256 over its values with their lengths."""
    data = b"".join(len(value).to_bytes(4, "big") + value for value in key)
    return hashlib.sha256(data).hexdigest()[:16]
