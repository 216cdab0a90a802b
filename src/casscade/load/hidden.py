"""Rows that CQL shows and that the condition of their table keeps out of its relation.

Invariant: a row's state is in one place only: in its relation while it matches, here while it does not. Its state here
is whole, values included, so that what becomes of it depends on its cells alone and never on when they came.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

from casscade.core.cell import NO_EXPIRY
from casscade.core.keys import key_field, pack_values, unpack_values
from casscade.core.mutation import Row
from casscade.load.control import ControlStore
from casscade.load.raw import Raw, bytea_array, fields, int8_array
from casscade.load.staged import UnseenRow
from casscade.load.tombstones import row_key
from casscade.merge.state import decode_state

# As for the rows of a partition that a deletion reaches.
_PAGE_ROWS = 5000


@dataclass(frozen=True, slots=True)
class HiddenRow:
    """A row with its state; `expires_at` (seconds) is when something in it ends, None for never."""

    partition_key: bytes
    row: Row
    newest: int
    state: bytes
    expires_at: int | None


def hidden_row(partition_key: bytes, row: Row, unseen: UnseenRow) -> HiddenRow:
    """A row that was encoded, and did not match."""
    expires_at = None if unseen.expires_at == NO_EXPIRY else unseen.expires_at
    return HiddenRow(partition_key, row, unseen.newest, unseen.state or b"", expires_at)


class HiddenRows:
    """The hidden rows of one relation.

    `written` collects the keys that `put` wrote since `begin`; `counted` is how many it wrote since somebody set it.
    """

    def __init__(self, control: ControlStore, target_no: int) -> None:
        table = control.name("hidden_rows")
        columns = sql.SQL("partition_key, whole_key, write_time, state")
        self._target_no = target_no
        self.written: set[bytes] = set()
        self.counted = 0
        self._find = sql.SQL("SELECT key, write_time, state FROM {} WHERE target_no = %s AND key = ANY(%b)").format(
            table
        )
        self._put = sql.SQL(
            "INSERT INTO {} SELECT %s, k, p, w, t, s, to_timestamp(nullif(e, 0)) "
            "FROM unnest(%b::bytea[], %b::bytea[], %b::bytea[], %b::bigint[], %b::bytea[], %b::bigint[]) "
            "AS u (k, p, w, t, s, e) ON CONFLICT (target_no, key) DO UPDATE SET write_time = EXCLUDED.write_time, "
            "state = EXCLUDED.state, expires_at = EXCLUDED.expires_at"
        ).format(table)
        self._drop = sql.SQL("DELETE FROM {} WHERE target_no = %s AND key = ANY(%b)").format(table)
        self._settle = sql.SQL("UPDATE {} SET expires_at = NULL WHERE target_no = %s AND key = ANY(%b)").format(table)
        self._partition = sql.SQL("SELECT {} FROM {} WHERE target_no = %s AND partition_key = %b").format(
            columns, table
        )
        self._pages = sql.SQL("SELECT {}, key FROM {} WHERE target_no = %s AND key > %b ORDER BY key LIMIT %s").format(
            columns, table
        )
        self._expired = sql.SQL(
            "SELECT {} FROM {} WHERE target_no = %s AND expires_at <= %b ORDER BY expires_at LIMIT %s"
        ).format(columns, table)

    def begin(self) -> None:
        """Forget what was written."""
        self.written = set()

    def find(self, connection: Connection[Any], keys: Sequence[bytes]) -> list[tuple[bytes, int, bytes]]:
        """(key, write time, state) of those of `keys` (`tombstones.row_key`) that are hidden."""
        return connection.execute(self._find, (self._target_no, bytea_array(keys)), binary=True).fetchall()

    def put(self, connection: Connection[Any], rows: Sequence[HiddenRow]) -> None:
        """Store rows, replacing what was there: the caller merged it already."""
        keys = [row_key(each.partition_key, each.row.key) for each in rows]
        connection.execute(
            self._put,
            (
                self._target_no,
                bytea_array(keys),
                bytea_array([key_field(each.partition_key) for each in rows]),
                bytea_array([pack_values([each.partition_key, each.row.key, *each.row.clustering]) for each in rows]),
                int8_array([each.newest for each in rows]),
                bytea_array([each.state for each in rows]),
                int8_array([each.expires_at or 0 for each in rows]),
            ),
        )
        self.written.update(keys)
        self.counted += len(keys)

    def drop(self, connection: Connection[Any], keys: Sequence[bytes]) -> None:
        """Forget rows that are hidden no more."""
        if keys:
            connection.execute(self._drop, (self._target_no, bytea_array(keys)))

    def settle(self, connection: Connection[Any], keys: Sequence[bytes]) -> None:
        """Look at rows no more when something in them ends: they may not be shown as they are now."""
        connection.execute(self._settle, (self._target_no, bytea_array(keys)))

    def of_partition(self, connection: Connection[Any], partition_key: bytes) -> Iterator[list[tuple[bytes, Row]]]:
        """The hidden rows of a partition, in pages; rows written meanwhile do not show up in later pages."""
        query = sql.SQL("DECLARE casscade_hidden NO SCROLL CURSOR FOR ") + self._partition
        connection.execute(query, (self._target_no, Raw(key_field(partition_key))))
        fetch = sql.SQL("FETCH FORWARD {} FROM casscade_hidden").format(_PAGE_ROWS)
        while True:
            page = [_row_of(found) for found in fields(connection.execute(fetch, binary=True))]
            yield page
            if len(page) < _PAGE_ROWS:
                break
        connection.execute("CLOSE casscade_hidden")

    def pages(self, connection: Connection[Any], page_rows: int) -> Iterator[list[tuple[bytes, Row]]]:
        """All hidden rows in the order of their keys, each page as it is when it is asked for."""
        last = b""
        while True:
            found = list(fields(connection.execute(self._pages, (self._target_no, Raw(last), page_rows), binary=True)))
            if found:
                yield [_row_of(each[:4]) for each in found]
                last = found[-1][4] or b""
            if len(found) < page_rows:
                return

    def expired(self, connection: Connection[Any], moment: Raw, limit: int) -> list[tuple[bytes, Row]]:
        """Hidden rows in which something ended by `moment` (a binary timestamptz), `limit` at most."""
        cursor = connection.execute(self._expired, (self._target_no, moment, limit), binary=True)
        return [_row_of(found) for found in fields(cursor)]


def _row_of(found: list[bytes | None]) -> tuple[bytes, Row]:
    _, whole, write_time, state = found
    assert whole is not None, "the key of a hidden row is not NULL"
    assert write_time is not None, "its write time neither"
    partition_key, key, *clustering = unpack_values(whole)
    assert partition_key is not None, "keys are bytes"
    assert key is not None, "keys are bytes"
    row = Row(key, clustering)
    decode_state(row, int.from_bytes(write_time, "big", signed=True), state, {})
    return partition_key, row
