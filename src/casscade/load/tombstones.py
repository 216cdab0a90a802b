"""What is known of rows that nobody sees, and of deletions over several rows.

Invariant: a row's state is in one place only: in its target table while it is visible, here while it is not. Entries
live for the table's gc_grace_seconds plus a margin, counted from when they were written here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

from casscade.core import failpoints
from casscade.core.errors import CorruptionError
from casscade.core.keys import key_field, pack_values, unpack_values
from casscade.core.mutation import Bound, RangeTombstone, Row
from casscade.load.control import ControlStore
from casscade.load.raw import bytea_array, int8_array
from casscade.merge.state import decode_state

# PostgreSQL's B-tree takes keys up to 2,704 bytes; longer ones are replaced by their digest.
_KEY_BYTES_MAX = 1024
# Two bounds and a partition key share an entry of the index.
_BOUND_BYTES_MAX = 512
PARTITION = b""


@dataclass(frozen=True, slots=True)
class RowTombstone:
    """The state of a row that is not visible; `write_time` is its newest timestamp."""

    key: bytes
    write_time: int
    state: bytes


@dataclass(frozen=True, slots=True)
class StoredDeletion:
    """A range tombstone of a partition as stored; both bounds empty for a partition deletion."""

    partition_key: bytes
    start: bytes
    end: bytes
    write_time: int


def row_key(partition_key: bytes, clustering_key: bytes) -> bytes:
    """The key of a row in `row_tombstones`: unique, at most about 1 KiB."""
    key = b"\x00" + len(partition_key).to_bytes(4, "big") + partition_key + clustering_key
    return key if len(key) <= _KEY_BYTES_MAX else b"\x01" + hashlib.blake2b(key, digest_size=32).digest()


def pack_bound(bound: Bound) -> bytes:
    """A bound as bytes: its kind, then its values."""
    return bytes((bound.kind,)) + pack_values(bound.values)


def unpack_bound(packed: bytes) -> Bound:
    """The inverse of `pack_bound`."""
    try:
        return Bound(packed[0], unpack_values(packed, 1))
    except ValueError:
        raise CorruptionError("state_corrupt", "A stored range tombstone ends too early") from None


def unpack_range(stored: StoredDeletion) -> RangeTombstone:
    """The range tombstone that was stored."""
    return RangeTombstone(unpack_bound(stored.start), unpack_bound(stored.end), stored.write_time)


class TombstoneStore:
    """Tombstones of one target relation. `keep_seconds` is gc_grace_seconds plus the margin."""

    def __init__(self, control: ControlStore, target_no: int, keep_seconds: int) -> None:
        self.target_no = target_no
        self.keep_seconds = keep_seconds
        self.rows_exist = True
        self.ranges_exist = True
        rows = control.name("row_tombstones")
        ranges = control.name("range_tombstones")
        self._exist = sql.SQL(
            "SELECT EXISTS (SELECT FROM {} WHERE target_no = %s), EXISTS (SELECT FROM {} WHERE target_no = %s)"
        ).format(rows, ranges)
        self._find_rows = (
            sql.SQL("SELECT key, write_time, state FROM {} WHERE target_no = %s AND key = ANY(%b::bytea[])")
            .format(rows)
            .as_bytes()
        )
        # States with the flag OBSERVED, the highest in use (see `merge.state`).
        self._find_observed = sql.SQL(
            "SELECT key, write_time, state FROM {} WHERE target_no = %s AND key >= %b AND key < %b "
            "AND get_byte(state, 0) >= 64"
        ).format(rows)
        self._put_rows = (
            sql.SQL(
                "INSERT INTO {} SELECT %s, key, write_time, state, now() + make_interval(secs => %s) "
                "FROM unnest(%b::bytea[], %b::bigint[], %b::bytea[]) AS u (key, write_time, state) "
                "ON CONFLICT (target_no, key) DO UPDATE SET write_time = EXCLUDED.write_time, state = EXCLUDED.state, "
                "purge_after = EXCLUDED.purge_after"
            )
            .format(rows)
            .as_bytes()
        )
        self._drop_rows = (
            sql.SQL("DELETE FROM {} WHERE target_no = %s AND key = ANY(%b::bytea[])").format(rows).as_bytes()
        )
        self._find_ranges = (
            sql.SQL(
                "SELECT partition_key, start_bound, end_bound, write_time, long_bounds FROM {} "
                "WHERE target_no = %s AND partition_key = ANY(%b::bytea[])"
            )
            .format(ranges)
            .as_bytes()
        )
        self._put_ranges = sql.SQL(
            "INSERT INTO {} AS r "
            "(target_no, partition_key, start_bound, end_bound, write_time, purge_after, long_bounds) "
            "SELECT %s, p, s, e, w, now() + make_interval(secs => %s), l "
            "FROM unnest(%s::bytea[], %s::bytea[], %s::bytea[], %s::bigint[], %s::bytea[]) AS u (p, s, e, w, l) "
            "ON CONFLICT (target_no, partition_key, start_bound, end_bound) DO UPDATE SET "
            "write_time = greatest(r.write_time, EXCLUDED.write_time), purge_after = EXCLUDED.purge_after"
        ).format(ranges)

    def refresh(self, connection: Connection[Any]) -> None:
        """Look whether there are any, so that tables without deletions pay nothing."""
        row = connection.execute(self._exist, (self.target_no, self.target_no)).fetchone()
        assert row is not None
        self.rows_exist, self.ranges_exist = bool(row[0]), bool(row[1])

    def find_rows(self, connection: Connection[Any], keys: Sequence[bytes]) -> list[RowTombstone]:
        """The stored states of those of `keys` (`row_key`) that are not visible."""
        found = connection.execute(self._find_rows, (self.target_no, bytea_array(keys)), binary=True)
        return [RowTombstone(key, write_time, state) for key, write_time, state in found.fetchall()]

    def find_observed(self, connection: Connection[Any], partition_key: bytes) -> list[tuple[bytes, RowTombstone]]:
        """The rows of a partition that are not visible and of which columns are read, by their clustering keys.

        Those with keys that are kept as digests alone are not found.
        """
        first = row_key(partition_key, b"")
        if first[0] != 0:
            return []
        end = (int.from_bytes(first, "big") + 1).to_bytes(len(first), "big")
        found = connection.execute(self._find_observed, (self.target_no, first, end), binary=True)
        return [
            (key[len(first) :], RowTombstone(key, write_time, state)) for key, write_time, state in found.fetchall()
        ]

    def put_rows(self, connection: Connection[Any], tombstones: Sequence[RowTombstone]) -> None:
        """Store states, replacing what was there: the caller merged it already."""
        connection.execute(
            self._put_rows,
            (
                self.target_no,
                self.keep_seconds,
                bytea_array([tombstone.key for tombstone in tombstones]),
                int8_array([tombstone.write_time for tombstone in tombstones]),
                bytea_array([tombstone.state for tombstone in tombstones]),
            ),
        )
        self.rows_exist = True
        if failpoints.ARMED:
            failpoints.reach("row_tombstones_stored")

    def drop_rows(self, connection: Connection[Any], keys: Sequence[bytes]) -> None:
        """Forget states that moved into the target table."""
        connection.execute(self._drop_rows, (self.target_no, bytea_array(keys)))

    def find_ranges(self, connection: Connection[Any], partition_keys: Iterable[bytes]) -> list[StoredDeletion]:
        """The stored deletions of some partitions."""
        by_field = {key_field(key): key for key in partition_keys}
        found = connection.execute(self._find_ranges, (self.target_no, bytea_array(list(by_field))), binary=True)
        deletions: list[StoredDeletion] = []
        for field, start, end, write_time, long_bounds in found.fetchall():
            bounds = [start, end] if long_bounds is None else unpack_values(long_bounds)
            deletions.append(StoredDeletion(by_field[field], bounds[0] or b"", bounds[1] or b"", write_time))
        return deletions

    def put_ranges(self, connection: Connection[Any], deletions: Sequence[StoredDeletion]) -> None:
        """Store deletions; of two over the same range the newer write time stays."""
        newest: dict[tuple[bytes, bytes, bytes], StoredDeletion] = {}
        for deletion in deletions:
            key = (deletion.partition_key, deletion.start, deletion.end)
            known = newest.get(key)
            if known is None or known.write_time < deletion.write_time:
                newest[key] = deletion
        connection.execute(
            self._put_ranges,
            (
                self.target_no,
                self.keep_seconds,
                [key_field(key[0]) for key in newest],
                [key_field(key[1], _BOUND_BYTES_MAX) for key in newest],
                [key_field(key[2], _BOUND_BYTES_MAX) for key in newest],
                [deletion.write_time for deletion in newest.values()],
                [pack_values(key[1:]) if max(map(len, key[1:])) > _BOUND_BYTES_MAX else None for key in newest],
            ),
        )
        self.ranges_exist = True
        if failpoints.ARMED:
            failpoints.reach("range_tombstones_stored")


def row_of(tombstone: RowTombstone, like: Row) -> Row:
    """The stored state as a row with the key of `like`."""
    row = Row(like.key, like.clustering)
    decode_state(row, tombstone.write_time, tombstone.state, {})
    return row
