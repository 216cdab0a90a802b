"""Dead letters as the loader writes them, in the transaction of the batch that they belong to.

Invariant: a letter holds the bytes as they came, and is there exactly when its batch is; one that is applied again and
fails again keeps its history.
"""

from __future__ import annotations

import hashlib
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple

from psycopg import Connection, sql

from casscade.commitlog.peek import first_table_id, partition_key_of
from casscade.core import failpoints
from casscade.core.errors import BadDataError, CorruptionError
from casscade.core.notice import Notice
from casscade.core.position import Position, event_id
from casscade.core.table import TableShape
from casscade.debezium.message import DEBEZIUM
from casscade.schema.versions import version_label
from casscade.transport.chunk import Chunk, ReplayProgress

# Enough for the frames of Casscade's own; a letter must not outgrow its mutation by much.
STACK_CHARACTERS_MAX: Final = 4000
RETRIES_EXHAUSTED: Final = "retries_exhausted"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A mutation that could not be applied, with the reason; `encoding` is the commit-log version of its bytes.

    `source_name` is its table, where known; `key_digest` stands for its partition key; `scanned` tells that it was read
    from a table; `source` and `place` are the Kafka partition (topic/number) and offset of its message, or empty and
    -1. `replaces` is the id of the letter that it was, if it was replayed. `schema_version` is the
    version of its table as `casscade schema history` labels it; None where nothing tells the table. `rule` names the
    transform that failed, or the constraint that its row breaks; it is only counted.
    """

    event_id: str
    source_name: str
    code: str
    message: str
    encoding: int
    mutation: bytes
    key_digest: str = ""
    stack: str = ""
    scanned: bool = False
    source: str = ""
    place: int = -1
    retries: int = 0
    replaces: int = -1
    schema_version: str | None = None
    rule: str = ""


class Settled(NamedTuple):
    """`replayed`: how many letters are done and gone; `new`: how many there are now that were not, by their code.

    `broken` are the new ones that a rule made, by table (keyspace.table) and by the name of the rule.
    """

    replayed: int
    new: Counter[str]
    broken: Counter[tuple[str, str]]


class _Before(NamedTuple):
    id: int
    event_id: str
    key_digest: str
    retry_count: int
    first_failed_at: datetime


def digest_of(partition_key: bytes) -> str:
    """What stands for a key where the key itself must not be shown."""
    return hashlib.sha256(partition_key).hexdigest()[:16]


def stack_of(error: BaseException) -> str:
    """Where an error was raised, without its text, which may quote values."""
    return "".join(traceback.format_tb(error.__traceback__))[-STACK_CHARACTERS_MAX:]


def version_of(shape: TableShape) -> str | None:
    """The label of the version of a table that a shape was made of, where it has one."""
    return version_label(shape.id, shape.version) if shape.version else None


def letter_of(
    chunk: Chunk,
    index: int,
    code: str,
    message: str,
    tables: Mapping[bytes, TableShape],
    stack: str = "",
    *,
    table: TableShape | None = None,
) -> DeadLetter:
    """The mutation `index` of a chunk, as it came, as a letter.

    `table` is the one that is at fault, by default the first that the mutation writes to.
    """
    mutation, own = chunk.mutations[index], chunk.own_progress
    digest = ""
    if chunk.version != DEBEZIUM:
        try:
            table = table or tables.get(first_table_id(mutation))
            digest = digest_of(partition_key_of(mutation))
        except CorruptionError:
            pass  # nothing can be told of it but its place
    name = "" if table is None else f"{table.keyspace}.{table.name}"
    version = None if table is None else version_of(table)
    return DeadLetter(
        event_id(chunk.origin, Position(chunk.segment, chunk.offsets[index])),
        name,
        code,
        message,
        chunk.version,
        mutation,
        digest,
        stack,
        chunk.scanned,
        chunk.source if chunk.places else "",
        chunk.places[index] if chunk.places else -1,
        replaces=own.ids[0] if isinstance(own, ReplayProgress) else -1,
        schema_version=version,
    )


def damage_letter(chunk: Chunk, notice: Notice, damage: CorruptionError) -> DeadLetter:
    """A damaged part of a commit log as a letter; its bytes are as they lay there."""
    return replace(refused_letter(chunk, notice.event_id, damage, notice.content), encoding=notice.version, place=-1)


def refused_letter(chunk: Chunk, event: str, refused: BadDataError, content: bytes) -> DeadLetter:
    """A message that is none of ours as a letter."""
    place = event.rpartition(":")[2]
    return DeadLetter(
        event,
        "",
        refused.code,
        refused.what,
        chunk.version,
        content,
        stack=stack_of(refused),
        source=chunk.source,
        place=int(place) if place.isdigit() else -1,
    )


class LetterStore:
    """The loader's statements on dead letters of one pipeline; every method runs in the caller's transaction."""

    def __init__(self, pipeline: str, schema: str) -> None:
        self._pipeline = pipeline
        self._table = sql.Identifier(schema, "dead_letters")

    def settle(self, connection: Connection[Any], letters: Sequence[DeadLetter], replayed: Sequence[int]) -> Settled:
        """Store `letters`; those of the letters `replayed` that did not fail again are done and go.

        A letter that is known already stays as it is, unless it was applied again: then it counts one more retry.
        """
        new: Counter[str] = Counter()
        broken: Counter[tuple[str, str]] = Counter()
        before = self._replayed(connection, replayed) if replayed else []
        by_id = {each.id: each for each in before}
        by_event = {each.event_id: each for each in before}
        by_key = {each.key_digest: each for each in before if each.key_digest}
        gone = set(by_id)
        renamed: set[int] = set()
        for letter in letters:
            same = by_id.get(letter.replaces) or by_event.get(letter.event_id)
            if same is not None:
                self._failed_again(connection, letter, same)
                gone.discard(same.id)
                continue
            other = by_key.get(letter.key_digest)
            inserted = self._insert(connection, letter, other)
            new[letter.code] += inserted
            if letter.rule:
                broken[letter.source_name, letter.rule] += inserted
            if other is not None:
                renamed.add(other.id)
        if gone:
            connection.execute(sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(self._table), (sorted(gone),))
        if failpoints.ARMED and letters:
            failpoints.reach("letters_stored")
        if failpoints.ARMED and gone:
            failpoints.reach("letters_settled")
        # What went into a new letter of its key is not done, only named anew.
        return Settled(len(gone - renamed), +new, +broken)

    def _replayed(self, connection: Connection[Any], ids: Sequence[int]) -> list[_Before]:
        rows = connection.execute(
            sql.SQL(
                "SELECT id, event_id, key_digest, retry_count, first_failed_at FROM {} "
                "WHERE pipeline = %s AND id = ANY(%s) ORDER BY id FOR UPDATE"
            ).format(self._table),
            (self._pipeline, list(ids)),
        ).fetchall()
        return [_Before(*row) for row in rows]

    def _failed_again(self, connection: Connection[Any], letter: DeadLetter, before: _Before) -> None:
        connection.execute(
            sql.SQL("DELETE FROM {} WHERE pipeline = %s AND event_id = %s AND code = %s AND id <> %s").format(
                self._table
            ),
            (self._pipeline, before.event_id, letter.code, before.id),
        )
        connection.execute(
            sql.SQL(
                "UPDATE {} SET code = %s, message = %s, stack = %s, retry_count = retry_count + 1, "
                "schema_version = coalesce(%s, schema_version), last_failed_at = now(), state = 'waiting', "
                "claimed_until = DEFAULT WHERE id = %s"
            ).format(self._table),
            (letter.code, letter.message, letter.stack, letter.schema_version, before.id),
        )

    def _insert(self, connection: Connection[Any], letter: DeadLetter, before: _Before | None) -> int:
        """Store a letter; returns 1, or 0 when it is known already."""
        topic, _, number = letter.source.rpartition("/")
        return connection.execute(
            sql.SQL(
                "INSERT INTO {} (pipeline, event_id, source_name, code, message, encoding, mutation, key_digest, "
                "stack, scanned, topic, partition, message_offset, schema_version, retry_count, first_failed_at) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, coalesce(%s, now())) "
                "ON CONFLICT (pipeline, event_id, code) DO NOTHING"
            ).format(self._table),
            (
                self._pipeline,
                letter.event_id,
                letter.source_name,
                letter.code,
                letter.message,
                letter.encoding,
                letter.mutation,
                letter.key_digest,
                letter.stack,
                letter.scanned,
                topic or None,
                int(number) if topic else None,
                letter.place if topic else None,
                letter.schema_version,
                letter.retries if before is None else before.retry_count + 1,
                None if before is None else before.first_failed_at,
            ),
        ).rowcount
