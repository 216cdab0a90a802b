"""Rules that are carried out as soon as a mutation is decoded: conditions on keys, and whatever hides values.

Invariant: nothing that a hidden column held gets beyond here: not into a fold, a state, a dead letter or a request to
read a row again. What merging needs stays: when each cell was written, and whether it lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from casscade.core.cell import COUNTER_TTL
from casscade.core.errors import BadDataError
from casscade.core.keys import join_partition_key, split_partition_key
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.table import TableShape
from casscade.rules.chain import Chain
from casscade.rules.faults import rule_failed
from casscade.rules.predicate import Predicate
from casscade.rules.table import TableRules

RULED: Final = 0x80
"""Added to the encoding of a dead letter whose rules were carried out: its values are those of the rules' results."""

Failed = tuple[PartitionUpdate, BadDataError]


class Rewriter:
    """Carries out the rules of one table; `filtered` counts the rows that no condition on keys wanted."""

    def __init__(self, rules: TableRules) -> None:
        table = rules.table
        self.filtered = 0
        self._columns = len(table.partition_key)
        self._keys: list[Chain | None] = [rules.chains.get(column.name) for column in table.partition_key]
        self._hashes = any(chain is not None for chain in self._keys)
        self._chains = {
            column.index: rules.chains[column.name]
            for column in (*table.statics, *table.regulars)
            if column.name in rules.chains and rules.chains[column.name].hides
        }
        names = [column.name for column in (*table.partition_key, *table.clustering)]
        conditions = rules.conditions
        self._partition = [] if conditions is None else [_placed(each, names) for each in conditions.partition]
        self._rows = [] if conditions is None else [_placed(each, names) for each in conditions.key]
        self._results = {index: chain.result.fixed_length for index, chain in self._chains.items()}
        self._shapes: dict[int, TableShape] = {}

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do here."""
        return not (self._hashes or self._chains or self._partition or self._rows)

    def apply(self, update: PartitionUpdate) -> tuple[bool, list[Failed]]:
        """Rewrite `update`; returns whether anything of it is wanted, and the rows on which a rule failed.

        These are taken out of `update`, and what their hidden columns held out of them.
        """
        failed: list[Failed] = []
        key = update.key
        update.table = self.shape(update.table)
        try:
            values = split_partition_key(key, self._columns)
            if self._hashes:
                update.key = self._hashed(values)
            wanted = all(_holds(test, values) for test in self._partition)
        except BadDataError as error:
            self._conceal(update)
            if self._hashes:
                update.key = b""
            return False, [(update, error)]
        if not wanted:
            self.filtered += len(update.rows) or 1
            return False, failed
        if self._rows or self._chains:
            update.rows = [row for row in update.rows if self._row(update, row, values, failed)]
            static = update.static_row
            if static is not None and not self._hide(update, static, failed, static=True):
                update.static_row = None
        return True, failed

    def _row(self, update: PartitionUpdate, row: Row, partition: Sequence[bytes], failed: list[Failed]) -> bool:
        if self._rows:
            values = [*partition, *row.clustering]
            try:
                if not all(_holds(test, values) for test in self._rows):
                    self.filtered += 1
                    return False
            except BadDataError as error:
                self._fail(update, row, error, failed, static=False)
                return False
        return self._hide(update, row, failed, static=False)

    def _hide(self, update: PartitionUpdate, row: Row, failed: list[Failed], *, static: bool) -> bool:
        cells = row.cells
        for index in self._chains.keys() & cells.keys():
            timestamp, expires_at, ttl, value = cells[index]
            if value is None or ttl == COUNTER_TTL:
                continue
            try:
                hidden = self._chains[index].apply(value)
            except BadDataError as error:
                self._fail(update, row, error, failed, static=static)
                return False
            cells[index] = (timestamp, expires_at, ttl, b"" if hidden is None else hidden)
        return True

    def _fail(
        self, update: PartitionUpdate, row: Row, error: BadDataError, failed: list[Failed], *, static: bool
    ) -> None:
        alone = PartitionUpdate(update.table, update.key)
        if static:
            alone.static_row = row
        else:
            alone.rows = [row]
        self._conceal(alone)
        failed.append((alone, error))

    def _conceal(self, update: PartitionUpdate) -> None:
        """Take the values of all hidden columns out of `update`."""
        for row in [*update.rows, *([] if update.static_row is None else [update.static_row])]:
            for index in self._chains.keys() & row.cells.keys():
                timestamp, _, ttl, value = row.cells[index]
                if value is not None and ttl != COUNTER_TTL:
                    row.cells[index] = (timestamp, 0, 0, None)

    def _hashed(self, values: Sequence[bytes]) -> bytes:
        hashed: list[bytes] = []
        for chain, value in zip(self._keys, values, strict=True):
            if chain is None:
                hashed.append(value)
                continue
            found = chain.apply(value)
            if found is None:
                raise rule_failed(chain.words[0], "a column of the key has no value")
            hashed.append(found)
        return join_partition_key(hashed)

    def shape(self, shape: TableShape) -> TableShape:
        """`shape` with the lengths that values have behind the rules, so that such rows can be written as mutations."""
        if not self._results:
            return shape
        made = self._shapes.get(id(shape))
        if made is None:
            # One schema has one shape at a time; an older one goes with it.
            self._shapes = {id(shape): (made := shape.with_lengths(self._results)), id(made): made}
        return made


def _placed(predicate: Predicate, names: Sequence[str]) -> tuple[Predicate, list[int]]:
    return predicate, [names.index(name) for name in predicate.columns]


def _holds(test: tuple[Predicate, list[int]], values: Sequence[bytes | None]) -> bool:
    predicate, places = test
    return predicate.matches([values[place] for place in places])
