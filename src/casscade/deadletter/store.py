"""Dead letters as people work with them: found by filters, grouped by cause, requested, claimed, discarded.

Invariant: a letter that is being replayed is neither discarded nor requested again; bytes are never changed. (The
loader writes and settles letters: `casscade.load.letters`.)
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from psycopg import Connection, sql

CLAIM_S: Final = 60
"""Letters are settled within seconds; a claim that lapses only means that one is applied twice."""

CLAIMED_MAX: Final = 100
"""Letters claimed at a time; each is read and put into the transport by itself."""

REPLAY_ORIGIN: Final = str(uuid.UUID(int=1))
"""Stands for the commit log of rows that were merged from several mutations: no TRUNCATE has a position in it."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are meant: all conditions that are given. Ages are seconds since the first failure."""

    table: str | None = None
    code: str | None = None
    older_than_s: float | None = None
    newer_than_s: float | None = None
    ids: tuple[int, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether it means every letter."""
        return self == Filter()


class Group(NamedTuple):
    """Letters of one cause: `retries` is the most that one of them had."""

    table: str
    code: str
    state: str
    letters: int
    bytes: int
    retries: int
    first_failed_at: datetime
    last_failed_at: datetime


class Letter(NamedTuple):
    """One letter. `place` is `topic/partition:offset` of its message, or None."""

    id: int
    event_id: str
    table: str
    code: str
    message: str
    stack: str
    encoding: int
    mutation: bytes
    key_digest: str
    retries: int
    first_failed_at: datetime
    last_failed_at: datetime
    schema_version: str | None
    state: str
    scanned: bool
    place: str | None


_COLUMNS: Final = sql.SQL(
    "id, event_id, source_name, code, message, stack, encoding, "
    "CASE WHEN %(content)s THEN mutation ELSE '' END, key_digest, retry_count, first_failed_at, "
    "last_failed_at, schema_version, state, scanned, topic || '/' || partition || ':' || message_offset"
)
# Of those that are being replayed nothing is asked but to wait.
_AT_REST: Final = sql.SQL("(state <> 'replaying' OR claimed_until < now())")


class DeadLetterStore:
    """The letters of one pipeline; every method runs in the caller's transaction."""

    def __init__(self, pipeline: str, schema: str) -> None:
        self._pipeline = pipeline
        self._table = sql.Identifier(schema, "dead_letters")

    def count(self, connection: Connection[Any], which: Filter | None = None) -> int:
        """How many there are."""
        where, values = self._where(which or Filter())
        row = connection.execute(
            sql.SQL("SELECT count(*) FROM {} WHERE {}").format(self._table, where), values
        ).fetchone()
        assert row is not None
        return int(row[0])

    def groups(self, connection: Connection[Any], which: Filter) -> list[Group]:
        """By cause, the most frequent first."""
        where, values = self._where(which)
        rows = connection.execute(
            sql.SQL(
                "SELECT source_name, code, state, count(*)::int, sum(octet_length(mutation))::bigint, "
                "max(retry_count), min(first_failed_at), max(last_failed_at) FROM {} WHERE {} "
                "GROUP BY source_name, code, state ORDER BY 4 DESC, 1, 2, 3"
            ).format(self._table, where),
            values,
        ).fetchall()
        return [Group(*row) for row in rows]

    def letters(self, connection: Connection[Any], which: Filter, limit: int, *, content: bool = True) -> list[Letter]:
        """The oldest letters, `limit` at most; without `content` their bytes, which may be many, are left out."""
        where, values = self._where(which)
        rows = connection.execute(
            sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY id LIMIT %(limit)s").format(_COLUMNS, self._table, where),
            values | {"limit": limit, "content": content},
        ).fetchall()
        return [Letter(*row) for row in rows]

    def request(self, connection: Connection[Any], which: Filter) -> int:
        """Ask for a replay; returns how many letters that concerns which were not asked for yet."""
        return self._execute(connection, "UPDATE {} SET state = 'requested' WHERE {} AND state = 'waiting'", which)

    def discard(self, connection: Connection[Any], which: Filter) -> int:
        """Delete letters for good; returns how many."""
        return self._execute(connection, "DELETE FROM {} WHERE {} AND {at_rest}", which)

    def claim(self, connection: Connection[Any]) -> list[int]:
        """Requested letters that nobody is replaying; they are the caller's for `CLAIM_S`."""
        rows = connection.execute(
            sql.SQL(
                "UPDATE {table} SET state = 'replaying', claimed_until = now() + make_interval(secs => %s) "
                "WHERE id IN (SELECT id FROM {table} WHERE pipeline = %s AND state <> 'waiting' AND "
                "claimed_until < now() ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING id"
            ).format(table=self._table),
            (CLAIM_S, self._pipeline, CLAIMED_MAX),
        ).fetchall()
        return sorted(row[0] for row in rows)

    def get(self, connection: Connection[Any], letter_id: int) -> Letter | None:
        """One letter, if it is still there."""
        found = self.letters(connection, Filter(ids=(letter_id,)), 1)
        return found[0] if found else None

    def failed(self, connection: Connection[Any], letter_id: int, message: str) -> None:
        """A letter that could not even be put on its way: it waits again, with one more retry."""
        connection.execute(
            sql.SQL(
                "UPDATE {} SET state = 'waiting', retry_count = retry_count + 1, last_failed_at = now(), message = %s, "
                "claimed_until = DEFAULT WHERE pipeline = %s AND id = %s"
            ).format(self._table),
            (message, self._pipeline, letter_id),
        )

    def _execute(self, connection: Connection[Any], statement: str, which: Filter) -> int:
        where, values = self._where(which)
        query = sql.SQL(statement).format(self._table, where, at_rest=_AT_REST)
        return connection.execute(query, values).rowcount

    def _where(self, which: Filter) -> tuple[sql.Composed, dict[str, Any]]:
        parts = [sql.SQL("pipeline = %(pipeline)s")]
        values: dict[str, Any] = {"pipeline": self._pipeline}
        if which.table is not None:
            parts.append(sql.SQL("source_name = %(table)s"))
            values["table"] = which.table
        if which.code is not None:
            parts.append(sql.SQL("code = %(code)s"))
            values["code"] = which.code
        if which.older_than_s is not None:
            parts.append(sql.SQL("first_failed_at <= now() - make_interval(secs => %(older)s)"))
            values["older"] = which.older_than_s
        if which.newer_than_s is not None:
            parts.append(sql.SQL("first_failed_at > now() - make_interval(secs => %(newer)s)"))
            values["newer"] = which.newer_than_s
        if which.ids:
            parts.append(sql.SQL("id = ANY(%(ids)s)"))
            values["ids"] = list(which.ids)
        return sql.SQL(" AND ").join(parts), values


def place_of(letter: Letter) -> tuple[str, int, int]:
    """Origin, segment and offset of a letter's mutation: those of its event id, or stand-ins for a merged row."""
    origin, _, rest = letter.event_id.partition(":")
    segment, _, offset = rest.partition(":")
    if segment.isdigit() and offset.isdigit():
        return origin, int(segment), int(offset)
    return REPLAY_ORIGIN, 0, letter.id % (1 << 32)
