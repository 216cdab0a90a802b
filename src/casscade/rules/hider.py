"""Rules that hide values, carried out on raw mutations: before they get into Kafka (`rules: {apply: capture}`).

Invariant: a mutation of a table that hides anything comes out rewritten, or not at all; what can't be rewritten leaves
a note that says why, without any of its bytes. So does nothing of a table that is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from casscade.commitlog.encoder import encode_mutation
from casscade.commitlog.observations import OBSERVING, decode_any, encode_observing, withheld_note
from casscade.commitlog.peek import mentions_any
from casscade.core.errors import BadDataError, UnknownSchemaError
from casscade.core.mutation import PartitionUpdate
from casscade.core.table import TableShape
from casscade.rules.concealment import conceal
from casscade.rules.rewriter import Rewriter
from casscade.rules.table import TableRules


class Hider:
    """Rewrites mutations of the tables of `rules`; `excluded` columns lose their content, too.

    `shapes` are those of all tables that a mutation may name; those of `watched` tables (ids) may get columns that are
    to be hidden. `filtered` counts rows that no condition on their key wanted, `withheld` what could not be rewritten.
    """

    def __init__(
        self,
        rules: Iterable[TableRules],
        shapes: Mapping[bytes, TableShape],
        excluded: Mapping[bytes, frozenset[int]],
        watched: Iterable[bytes] = (),
    ) -> None:
        self._shapes = shapes
        self._excluded = excluded
        self._rewriters = {each.table.id.bytes: Rewriter(each) for each in rules}
        self._hiding = {table_id for table_id, rewriter in self._rewriters.items() if not rewriter.idle}
        self._hiding |= excluded.keys()
        self._hiding.update(watched)
        self.filtered = 0
        self.withheld = 0

    @property
    def needed(self) -> bool:
        """Whether there is anything to hide."""
        return bool(self._hiding)

    def concerns(self, mutation: bytes) -> bool:
        """Whether the mutation may be one of a table that hides anything, or of one that is not known."""
        return mutation[:1] != b"\x01" or mutation[1:17] in self._hiding or mutation[1:17] not in self._shapes

    def hides(self, mutation: bytes) -> bool:
        """Whether the mutation mentions a table that hides anything."""
        return mentions_any(mutation, self._hiding)

    def rewrite(self, mutation: bytes, version: int) -> tuple[list[bytes], list[bytes]]:
        """The mutations that take its place, one for each table, and notes of what was withheld.

        Raises UnknownSchemaError: the schema may be newer than the shapes.
        """
        try:
            updates = decode_any(mutation, version, self._shapes)
        except UnknownSchemaError:
            raise
        except BadDataError as error:
            return [], [self.note(error)]
        written: list[bytes] = []
        notes: list[bytes] = []
        for update in updates:
            table_id = update.table.id
            if table_id in self._excluded:
                conceal(update, self._excluded[table_id])
            rewriter = self._rewriters.get(table_id)
            keeps = True
            if rewriter is not None:
                keeps, failed = rewriter.apply(update)
                notes += [self.note(error) for _, error in failed]
                self.filtered += rewriter.filtered
                rewriter.filtered = 0
            if keeps and not _is_empty(update):
                written.append(encode_observing(update) if version == OBSERVING else encode_mutation([update], version))
        return written, notes

    def note(self, error: BadDataError) -> bytes:
        """What is sent in place of something that is withheld: the reason alone."""
        self.withheld += 1
        return withheld_note(error.code, error.what)


def _is_empty(update: PartitionUpdate) -> bool:
    return not (update.rows or update.static_row or update.range_tombstones) and update.deletion == -(1 << 63)
