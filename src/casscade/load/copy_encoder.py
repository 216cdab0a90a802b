"""Rows to PostgreSQL's binary COPY format, and what SQL may do with each of them.

Invariant: the operation chosen for a row is one that the statements of `merge_sql` carry out exactly; whatever they
can't decide by themselves is left to be merged here and comes again as `OP_UPSERT` or `OP_REMOVE`.

A staged row has the fields `_op`, `_ord`, key columns, value columns, `_cdc_ts`, `_cdc_state`, `_cdc_expires_at`.
"""

from __future__ import annotations

from typing import Final

from casscade.core.cell import NO_EXPIRY, NO_TIMESTAMP, without_value
from casscade.core.errors import BadDataError
from casscade.core.mutation import Row
from casscade.load.key_encoder import LENGTHS, NULL, KeyEncoder, put_field
from casscade.load.layout import CONVERT, DEAD_LETTER, INEXACT_POLICIES, Filter, RowLayout, ValueColumn
from casscade.load.operations import choose_operation
from casscade.load.staged import (
    OP_DELETE,
    OP_DOMINATE,
    OP_HIDDEN,
    OP_INSERT,
    OP_PATCH,
    OP_PUT_IF_ABSENT,
    OP_REMOVE,
    OP_RENEW,
    OP_UPSERT,
    StagedRows,
    UnseenRow,
)
from casscade.load.transcode import Codec
from casscade.merge.row import drop_expired_values, newest_timestamp, next_expiry
from casscade.merge.state import encode_state

COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_TRAILER: Final = b"\xff\xff"

_PG_EPOCH_SECONDS: Final = 946_684_800
_TIMESTAMP_INFINITY: Final = (1 << 63) - 1


# The state of a row that was only deleted: PARTS, a row deletion, of age 0 (see `merge.state`).
_DELETED: Final = b"\x10\x01\x00"
_NO_LIVENESS: Final = b"\x01"
# The state of a row that has a liveness at its newest timestamp and nothing else: PARTS, none of them.
_LIVENESS_ALONE: Final = b"\x10\x00"
# NO_LIVENESS and BASE; no cell is at the base, so that any time will do.
_PATCHED: Final = b"\x09" + bytes(8)
_BITMAP_INDEXES_MAX: Final = 255 * 8
# Column sets of partial updates whose states are remembered; an application has few.
_PATCHES_MAX: Final = 256


class RowEncoder:
    """Encodes the rows of one target. `inexact` counts values that PostgreSQL can't hold exactly, by policy.

    Rows that do not match `wanted` are not shown. `checked`: only merged rows are written, as constraints ask for.
    """

    def __init__(self, layout: RowLayout, wanted: Filter | None = None, *, checked: bool = False) -> None:
        self.layout: RowLayout = layout
        self.wanted: Filter | None = wanted
        self.checked: bool = checked
        self.judged: bool = checked or wanted is not None
        self.inexact: list[int] = [0] * len(INEXACT_POLICIES)
        self._key: KeyEncoder = KeyEncoder(layout)
        self._newest: int = NO_TIMESTAMP
        self._state: bytes | None = None
        self._heads: list[bytes] = [
            layout.field_count.to_bytes(2, "big") + b"\x00\x00\x00\x02" + op.to_bytes(2, "big") + b"\x00\x00\x00\x04"
            for op in range(10)
        ]
        self._no_values: bytes = NULL * len(layout.values)
        self._patches: dict[int, bytes] = {}
        self._set_by_filter: bool = False

    def encode_rows(
        self, staged: StagedRows, items: list[tuple[bytes, Row]], first: int, last: int, now: int, merged: bool
    ) -> bytes:
        """A piece of a COPY stream: the rows of `items` from `first` to before `last`, with their partition keys.

        The place in `items` is the ordinal. What the rows became is added to `staged`. `merged` tells that stored state
        is already in the rows, so that they are final. Values that expired by `now` (Unix seconds) are dropped from
        the rows.
        """
        counts = staged.counts
        out: list[bytes] = []
        for ordinal in range(first, last):
            partition_key, row = items[ordinal]
            slot = len(out)
            out.append(b"")
            try:
                self._key.put(out, partition_key, row)
                op = self._put_plain(out, row, merged)
                if op == 0:
                    op = self._put_any(out, row, now, merged)
                if self.judged:
                    op = self._judge(staged, ordinal, partition_key, row, now, op)
            except BadDataError as error:
                del out[slot:]
                staged.rejected[ordinal] = error
                continue
            out[slot] = self._heads[op] + ordinal.to_bytes(4, "big")
            counts[op] += 1
            if op in (OP_DELETE, OP_HIDDEN, OP_REMOVE) and not self._set_by_filter:
                staged.unseen[ordinal] = UnseenRow(self._newest, self._state)
        return b"".join(out)

    def _judge(self, staged: StagedRows, ordinal: int, partition_key: bytes, row: Row, now: int, op: int) -> int:
        """The operation of an encoded row in a table with a condition or constraints.

        SQL may decide where the outcome has nothing but what the new row has: there the new row alone tells whether
        it matches. Everything else waits for the merged row. So does all of a table with constraints: PostgreSQL asks
        them of what INSERT proposes, even if ON CONFLICT then does something else.
        """
        wanted = self.wanted
        self._set_by_filter = False
        if op in (OP_DELETE, OP_HIDDEN, OP_REMOVE):
            return op
        matches = wanted is None or wanted.matches(partition_key, row, now)
        if op == OP_UPSERT:
            if matches:
                return op
            self._set_by_filter = True
            staged.hidden[ordinal] = self._whole(row, now)
            return OP_REMOVE
        decided = op not in (OP_PATCH, OP_RENEW) or (wanted is not None and wanted.indexes <= row.cells.keys())
        if matches and decided and not self.checked:
            return op
        self._set_by_filter = True
        staged.deferred.append(ordinal)
        return OP_HIDDEN

    def _whole(self, row: Row, now: int) -> UnseenRow:
        """The state of a row of which no relation shows anything: all values are in it."""
        newest = newest_timestamp(row)
        kept = {index for index, cell in row.cells.items() if cell[3] is not None}
        state = encode_state(row, newest, kept, self.layout.indexes)
        return UnseenRow(newest, _LIVENESS_ALONE if state is None else state, next_expiry(row, now))

    def _put_plain(self, out: list[bytes], row: Row, merged: bool) -> int:
        """Append what follows the key of a row that is only deleted, or all alive at one timestamp without expiry.

        Returns its operation, or 0 for any other row: nothing was appended then.
        """
        cells = row.cells
        newest = row.liveness_ts
        if row.complex is not None or row.observed is not None or row.liveness_ttl != 0:
            return 0
        if row.liveness_unknown and newest == NO_TIMESTAMP:
            return 0
        if row.deletion != NO_TIMESTAMP:
            if merged or cells or newest != NO_TIMESTAMP:
                return 0
            self._newest = row.deletion
            self._state = _DELETED
            out.append(self._no_values)
            self._put_meta(out, row.deletion, _DELETED)
            return OP_DELETE
        has_liveness = newest != NO_TIMESTAMP
        if not has_liveness:
            for cell in cells.values():
                newest = cell[0]
                break
            else:
                return 0
        layout = self.layout
        mark = len(out)
        found = 0
        for column in layout.values:
            cell_or_none = cells.get(column.index)
            if cell_or_none is None:
                out.append(NULL)
                continue
            timestamp, expires_at, ttl, value = cell_or_none
            field: bytes | None = None
            codec = column.codec
            if timestamp == newest and expires_at == NO_EXPIRY and ttl == 0 and value is not None and codec is not None:
                field = codec.encode(value)
            if field is None:
                del out[mark:]
                return 0
            length = len(field)
            out.append(LENGTHS[length] if length < 1024 else length.to_bytes(4, "big"))
            out.append(field)
            found += 1
        if found != len(cells):
            del out[mark:]
            return 0
        return self._put_plain_meta(out, row, newest, found == layout.simple_count, has_liveness, merged)

    def _put_plain_meta(
        self, out: list[bytes], row: Row, newest: int, complete: bool, has_liveness: bool, merged: bool
    ) -> int:
        layout = self.layout
        whole = complete and layout.complex_count == 0
        if has_liveness:
            self._put_meta(out, newest, None)
            if merged:
                return OP_UPSERT
            return OP_DOMINATE if whole else OP_INSERT
        if merged:
            self._put_meta(out, newest, _NO_LIVENESS)
            return OP_UPSERT
        if complete:
            self._put_meta(out, newest, _NO_LIVENESS)
            return OP_DOMINATE if whole and layout.static else OP_RENEW
        patch = self._patch(row)
        self._put_meta(out, newest, patch)
        return OP_PUT_IF_ABSENT if patch == _NO_LIVENESS else OP_PATCH

    def _put_meta(self, out: list[bytes], newest: int, state: bytes | None) -> None:
        out.append(b"\x00\x00\x00\x08" + (newest & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big"))
        put_field(out, state)
        out.append(NULL)

    def _patch(self, row: Row) -> bytes:
        """The state of a row without liveness that tells by its BASE bitmap which columns it has, for SQL to use."""
        bits = 0
        highest = 0
        for index in row.cells:
            bits |= 1 << index
            highest = max(highest, index)
        patch = self._patches.get(bits)
        if patch is None:
            if highest >= _BITMAP_INDEXES_MAX:
                return _NO_LIVENESS
            size = (highest >> 3) + 1
            patch = _PATCHED + bytes((size,)) + bits.to_bytes(size, "little")
            if len(self._patches) >= _PATCHES_MAX:
                self._patches.clear()
            self._patches[bits] = patch
        return patch

    def _put_any(self, out: list[bytes], row: Row, now: int, merged: bool) -> int:
        """Append what follows the key of any row; returns its operation."""
        newest = newest_timestamp(row)
        if next_expiry(row, -1) != NO_EXPIRY:
            drop_expired_values(row, now)
            expires_at = next_expiry(row, now)
        else:
            expires_at = NO_EXPIRY
        kept: set[int] = set()
        plain = self._put_values(out, row, newest, now, kept, merged)
        if plain and row.liveness_ts == newest and row.liveness_ttl == 0 and row.deletion == NO_TIMESTAMP:
            state: bytes | None = None
        else:
            state = encode_state(row, newest, kept, self.layout.indexes)
        out.append(b"\x00\x00\x00\x08")
        out.append((newest & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big"))
        put_field(out, state)
        put_field(out, None if expires_at == NO_EXPIRY else _timestamptz(expires_at))
        self._newest = newest
        self._state = state
        return choose_operation(self.layout, row, newest, state, now, merged)

    def _put_values(self, out: list[bytes], row: Row, newest: int, now: int, kept: set[int], merged: bool) -> bool:
        """Append the value fields; returns whether every cell is a live one at `newest` that its field holds."""
        cells = row.cells
        found = 0
        observed = row.observed
        plain = row.complex is None and observed is None
        for column in self.layout.values:
            codec = column.codec
            if observed is not None:
                seen = observed.get(column.index)
                if seen is not None and seen[4] is not None:
                    found += column.index in cells
                    put_field(out, column.show_observed(seen[4]))
                    if column.renderer is not None and not column.renderer.exact:
                        self._note_inexact(column, merged)
                    continue
            if codec is None:
                self._put_complex(out, row, column, now, merged)
                continue
            cell = cells.get(column.index)
            if cell is None:
                out.append(NULL)
                continue
            found += 1
            if cell[0] != newest or cell[2] != 0:
                plain = False
            value = cell[3]
            if value is None or cell[1] <= now:
                plain = False
                out.append(NULL)
                continue
            field = codec.encode(value)
            if field is None:
                field = codec.show(value)
                if codec.says_all(value) or not self._converts(column, codec, merged):
                    kept.add(column.index)
                    plain = False
                elif field is not None:
                    cells[column.index] = (cell[0], cell[1], cell[2], codec.decode(field))
                else:  # that the cell lives matters, what it held is gone
                    cells[column.index] = without_value(cell)
                    kept.add(column.index)
                    plain = False
                put_field(out, field)
                continue
            length = len(field)
            out.append(LENGTHS[length] if length < 1024 else length.to_bytes(4, "big"))
            out.append(field)
        if found != len(cells):
            plain = False
            for index in cells:
                if index not in self.layout.shown:
                    cells[index] = without_value(cells[index])
                    kept.add(index)
        return plain

    def _put_complex(self, out: list[bytes], row: Row, column: ValueColumn, now: int, merged: bool) -> None:
        field: bytes | None = None
        renderer = column.renderer
        if row.complex is not None and renderer is not None:
            elements = row.complex.get(column.index)
            if elements is not None:
                field = renderer.render(elements, now)
                if not renderer.exact:
                    self._note_inexact(column, merged)
        put_field(out, field)

    def _converts(self, column: ValueColumn, codec: Codec, merged: bool) -> bool:
        """Count an inexact value; returns whether what is shown replaces it."""
        self._note_inexact(column, merged)
        return column.inexact == CONVERT and codec.reads_back

    def _note_inexact(self, column: ValueColumn, merged: bool) -> None:
        """Count a value that its column can't show exactly; raises BadDataError where that sets its row aside.

        What rows hold that are merged already was counted, and accepted, when it came.
        """
        policy = column.inexact
        if not merged:
            self.inexact[policy] += 1
            if policy == DEAD_LETTER:
                raise BadDataError(
                    "value_not_representable",
                    "A column has a value that PostgreSQL can't hold exactly, and the configuration says dead_letter",
                    now="the row is set aside as a dead letter, the others go on",
                    hint="inexact: keep shows the nearest value; docs/types.md lists such values",
                )


def _timestamptz(seconds: int) -> bytes:
    micros = (seconds - _PG_EPOCH_SECONDS) * 1_000_000
    return min(micros, _TIMESTAMP_INFINITY).to_bytes(8, "big", signed=True)
