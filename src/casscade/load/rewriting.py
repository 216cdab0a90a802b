"""The rules of all tables as mutations are decoded (`casscade.rules.rewriter`).

Invariant: of a table that hides values no byte of a mutation gets into a dead letter unless the rules were carried out
on it; what can't be decoded is set aside without its bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from casscade.commitlog.encoder import encode_mutation
from casscade.commitlog.observations import OBSERVING, decode_any, encode_observing
from casscade.commitlog.peek import mentions_any
from casscade.core.errors import BadDataError
from casscade.core.mutation import PartitionUpdate
from casscade.core.table import TableShape
from casscade.debezium.message import DEBEZIUM
from casscade.load.letters import DeadLetter, digest_of, stack_of
from casscade.load.row_letters import row_letter, rule_of
from casscade.rules.concealment import Excluded, conceal
from casscade.rules.rewriter import RULED, Failed, Rewriter
from casscade.rules.table import TableRules

FILTERED = "filtered"
"""Rows that no condition on their key wanted."""


class Rewriting:
    """A rewriter for each table that has something to be done."""

    def __init__(self, rules: Iterable[TableRules]) -> None:
        self._rewriters: dict[bytes, Rewriter] = {}
        self._names: dict[bytes, str] = {}
        self._hiding: set[bytes] = set()
        for each in rules:
            table_id = each.table.id.bytes
            rewriter = Rewriter(each)
            if not rewriter.idle:
                self._rewriters[table_id] = rewriter
                self._names[table_id] = each.table.full_name
            if each.hidden:
                self._hiding.add(table_id)

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._rewriters or self._hiding)

    def apply(
        self, updates: list[PartitionUpdate], letters: list[DeadLetter], counts: Counter[str]
    ) -> list[PartitionUpdate]:
        """Those of `updates` that are wanted, rewritten; rows on which a rule fails become dead letters."""
        wanted: list[PartitionUpdate] = []
        for update in updates:
            rewriter = self._rewriters.get(update.table.id)
            if rewriter is None:
                wanted.append(update)
                continue
            keeps, failed = rewriter.apply(update)
            if keeps:
                wanted.append(update)
            letters += [self._letter(each) for each in failed]
            counts.update(error.code for _, error in failed)
            if rewriter.filtered:
                counts[FILTERED] += rewriter.filtered
                rewriter.filtered = 0
        return wanted

    def shapes(self, tables: Mapping[bytes, TableShape]) -> Mapping[bytes, TableShape]:
        """What decodes mutations whose rules were carried out."""
        changed = {
            table_id: each.shape(tables[table_id]) for table_id, each in self._rewriters.items() if table_id in tables
        }
        return {**tables, **changed}

    def hide(self, letter: DeadLetter, tables: Mapping[bytes, TableShape], excluded: Excluded) -> DeadLetter:
        """The letter of a mutation as it came, with the rules carried out on it.

        One that can't be decoded loses its bytes, if they may hold hidden values.
        """
        if not self._hiding or (letter.encoding != DEBEZIUM and not mentions_any(letter.mutation, self._hiding)):
            return letter
        if letter.encoding != DEBEZIUM:
            try:
                updates = decode_any(letter.mutation, letter.encoding, tables)
                wanted: list[PartitionUpdate] = []
                for update in updates:
                    if update.table.id in excluded:
                        conceal(update, excluded[update.table.id])
                    rewriter = self._rewriters.get(update.table.id)
                    if rewriter is None or rewriter.apply(update)[0]:
                        wanted.append(update)
                if wanted:
                    encoding = letter.encoding
                    encoded = (
                        encode_observing(wanted[0]) if encoding == OBSERVING else encode_mutation(wanted, encoding)
                    )
                    return replace(
                        letter, encoding=encoding | RULED, mutation=encoded, key_digest=digest_of(wanted[0].key)
                    )
            except BadDataError:
                pass  # nothing of it can be told from what must be hidden
        return self.withheld(letter)

    def withheld(self, letter: DeadLetter) -> DeadLetter:
        """The letter without its bytes, if any table hides values: nothing can be told from what must be hidden."""
        if not self._hiding:
            return letter
        message = f"{letter.message}. Its bytes are not kept: they may hold values that rules hide"
        return replace(letter, message=message, mutation=b"", key_digest="")

    def _letter(self, failed: Failed) -> DeadLetter:
        update, error = failed
        name = self._names[update.table.id]
        letter = row_letter(name, update, error.code, error.what, stack_of(error), ruled=True)
        return replace(letter, rule=rule_of(error))


def rewriting_of(rules: Iterable[TableRules]) -> Rewriting | None:
    """The rewriting of all tables; None where there is nothing to do, so that it costs nothing."""
    made = Rewriting(rules)
    return made if made.needed else None
