"""A dead letter in words: what is known of it, and as much of its content as can be decoded.

Invariant: without `values` no key and no value is shown, only sizes; what can't be decoded is said to be so, and why.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from casscade.commitlog.observations import OBSERVING, decode_any
from casscade.core.cell import COUNTER_TTL, NO_EXPIRY, NO_TIMESTAMP, Cell
from casscade.core.errors import BadDataError
from casscade.core.keys import split_partition_key
from casscade.core.mutation import PartitionUpdate, RangeTombstone, Row
from casscade.cql.text import to_text
from casscade.cql.types import CqlType
from casscade.deadletter.store import Letter
from casscade.debezium.message import DEBEZIUM, unpack
from casscade.schema.model import Column, Table

# A letter of half a segment would fill the terminal for minutes.
LINES_MAX: Final = 500
_ENCODINGS: Final = {OBSERVING: "with observations", DEBEZIUM: "message of Debezium's"}


class Describer:
    """Describes letters with the tables as they are in Cassandra now; without any, only what is known beside them."""

    def __init__(self, tables: Mapping[uuid.UUID, Table], *, values: bool) -> None:
        self._tables = {table_id.bytes: table for table_id, table in tables.items()}
        self._shapes = {table_id: table.shape(replicated=True) for table_id, table in self._tables.items()}
        self._values = values

    def lines(self, letter: Letter) -> list[str]:
        """The letter, line by line, `LINES_MAX` at most."""
        encoding = _ENCODINGS.get(letter.encoding, f"commit log version {letter.encoding}")
        lines = [
            f"letter {letter.id}: {letter.code}",
            f"  message       {letter.message}",
            f"  event         {letter.event_id}" + (f" ({letter.place})" if letter.place else ""),
            f"  table         {letter.table or 'unknown'}",
            f"  key digest    {letter.key_digest or 'none'}",
            f"  failed        first {_time(letter.first_failed_at)}, last {_time(letter.last_failed_at)}, "
            f"{letter.retries} retries",
            f"  state         {letter.state}",
            f"  schema        version {letter.schema_version or 'unknown'}",
            f"  content       {len(letter.mutation)} bytes, {encoding}" + (", read from the table" * letter.scanned),
        ]
        content = self._content(letter)
        for number, line in enumerate(content):
            if number >= LINES_MAX:
                lines.append("    … and more")
                break
            lines.append(f"    {line}")
        if letter.stack:
            lines.append("  raised at")
            lines += [f"    {line}" for line in letter.stack.rstrip().splitlines()]
        return lines

    def _content(self, letter: Letter) -> Iterator[str]:
        try:
            if letter.encoding == DEBEZIUM:
                message = unpack(letter.mutation)
                yield f"topic {message.topic}"
                yield f"key {self._json(message.key)}"
                yield f"value {self._json(message.value)}"
                return
            updates = decode_any(letter.mutation, letter.encoding, self._shapes)
        except BadDataError as error:
            yield f"can't be decoded with the schema of now: {error.what}"
            return
        for update in updates:
            yield from self._update(update)

    def _json(self, part: bytes | None) -> str:
        if part is None:
            return "null"
        return part.decode("utf-8", "replace") if self._values else f"<{len(part)} bytes>"

    def _update(self, update: PartitionUpdate) -> Iterator[str]:
        table = self._tables[update.table.id]
        key = split_partition_key(update.key, len(table.partition_key))
        yield f"{table.full_name}: {self._named(table.partition_key, key)}"
        if update.deletion != NO_TIMESTAMP:
            yield f"  the partition is deleted at {update.deletion}"
        for tombstone in update.range_tombstones:
            yield "  " + self._range(table, tombstone)
        if update.static_row is not None:
            yield from self._row(table, update.static_row, "static row")
        for row in update.rows:
            yield from self._row(table, row, f"row {self._named(table.clustering, row.clustering)}")

    def _range(self, table: Table, tombstone: RangeTombstone) -> str:
        start = self._named(table.clustering, tombstone.start.values)
        end = self._named(table.clustering, tombstone.end.values)
        return f"rows from ({start}) to ({end}) are deleted at {tombstone.deletion}"

    def _row(self, table: Table, row: Row, name: str) -> Iterator[str]:
        liveness = f", inserted at {row.liveness_ts}" if row.liveness_ts != NO_TIMESTAMP else ""
        deleted = f", deleted at {row.deletion}" if row.deletion != NO_TIMESTAMP else ""
        yield f"  {name}{liveness}{deleted}"
        columns = {column.index: column for column in table.columns}
        for index, cell in sorted(row.cells.items()):
            column = columns[index]
            yield f"    {column.name} {self._cell(column.type, cell)}"
        for index, complex_column in sorted((row.complex or {}).items()):
            column = columns[index]
            if complex_column.deletion != NO_TIMESTAMP:
                yield f"    {column.name} is emptied at {complex_column.deletion}"
            for path, cell in complex_column.cells.items():
                yield f"    {column.name}[{len(path)} bytes] {self._size(cell)}"
        for index in sorted(row.observed or {}):
            yield f"    {columns[index].name} as a read showed it"

    def _named(self, columns: tuple[Column, ...], values: list[bytes] | list[bytes | None]) -> str:
        return ", ".join(
            f"{column.name} {self._value(column.type, value)}" for column, value in zip(columns, values, strict=False)
        )

    def _cell(self, type_: CqlType, cell: Cell) -> str:
        if cell[2] == COUNTER_TTL or cell[3] is None:
            return self._size(cell)
        expiry = f", expires at second {cell[1]}" if cell[1] != NO_EXPIRY else ""
        return f"{self._value(type_, cell[3])} written at {cell[0]}{expiry}"

    def _size(self, cell: Cell) -> str:
        if cell[3] is None:
            return f"deleted at {cell[0]}"
        return f"<{len(cell[3])} bytes> written at {cell[0]}"

    def _value(self, type_: CqlType, value: bytes | None) -> str:
        if value is None:
            return "null"
        if not self._values:
            return f"<{len(value)} bytes>"
        try:
            return to_text(type_, value)
        except BadDataError:
            return f"0x{value.hex()}"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
