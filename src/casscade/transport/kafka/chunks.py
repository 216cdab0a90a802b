"""Messages of a partition sorted into chunks, those of Casscade's own topic and those of Debezium's.

Invariant: each message is in exactly one chunk: as a mutation with the place that gives it its event id, as a notice,
or refused.
"""

from __future__ import annotations

import time
import uuid
import zlib
from typing import Any, Final, NamedTuple

from confluent_kafka import Message

from casscade.commitlog.observations import OBSERVING
from casscade.commitlog.peek import partition_key_of
from casscade.core.errors import BadDataError, CorruptionError
from casscade.core.position import Position
from casscade.debezium.message import DEBEZIUM, ConnectMessage, pack
from casscade.transport.chunk import Chunk, ReplayProgress
from casscade.transport.envelope import (
    HEAD_BYTES,
    OFFSET_END,
    RUN_BYTES,
    SNAPSHOT_HOST,
    Envelope,
    is_plain,
    open_envelope,
)


class Run(NamedTuple):
    """What all mutations of a chunk share."""

    encoding: int
    host: bytes
    segment: int
    letter: int = -1


LETTER_HEADER: Final = "casscade.letter"
"""The header of a replayed dead letter: its id."""

FOREIGN_HOST: Final = uuid.UUID(int=1).bytes
"""The host id of messages of Debezium's that are replayed through Casscade's topic."""

# Messages that can't be opened share a chunk without mutations.
_REFUSED: Final = Run(0, b"", 0)


# The encodings that agents and loaders send: those of the commit log, and of rows that were read.
_ENCODINGS: Final = frozenset({6, 7, 8, OBSERVING})


def place_of(key: bytes, partitions: int) -> int:
    """The partition of a key; what librdkafka's partitioner `consistent` reckons."""
    return zlib.crc32(key) % partitions


def add_message(
    chunks: dict[Run, Chunk],
    message: Message,
    source: str,
    start: Position,
    *,
    own: bool,
    partitions: int = 1,
    heads: dict[bytes, Chunk] | None = None,
) -> None:
    """Put a message of partition `source` into one of `chunks`, which begin at `start`.

    `own` tells Casscade's topic from one of Debezium's, whose messages have no envelope and are not looked into here;
    `partitions` is the number by which the place of a key in it is reckoned. `heads` remembers the chunks of plain
    envelopes by what all of these begin with, for messages of the same partition.
    """
    value, offset = message.value() or b"", message.offset()
    assert offset is not None
    if heads is not None and own:
        known = heads.get(value[:RUN_BYTES])
        if known is not None and len(value) >= HEAD_BYTES and not message.headers():
            _add(known, message, value[HEAD_BYTES:], int.from_bytes(value[RUN_BYTES:OFFSET_END], "big"), partitions)
            known.size += len(value)
            return
    try:
        envelope = _own_envelope(value) if own else _as_envelope(message, offset)
    except BadDataError as refused:
        chunk = chunks.setdefault(_REFUSED, Chunk(source, OBSERVING, start, time.time()))
        chunk.refused.append((f"{source}:{offset}", value, refused))
    else:
        letter = _letter(message) if own else -1
        # A notice has no mutation that would have an encoding.
        encoding = envelope.encoding if envelope.notice is None else OBSERVING
        run = Run(encoding, envelope.host, envelope.position.segment, letter)
        found = chunks.get(run)
        if found is None:
            found = chunks[run] = Chunk(
                source,
                encoding,
                start,
                envelope.captured_at / 1_000_000,
                segment=envelope.position.segment,
                origin=str(uuid.UUID(bytes=envelope.host)) if own else source,
                progress=None if run.letter < 0 else ReplayProgress((run.letter,), streamed=True),
                scanned=envelope.host == SNAPSHOT_HOST,
            )
        chunk = found
        if envelope.notice is not None:
            chunk.notices.append(envelope.notice)
        else:
            _add(chunk, message, envelope.mutation, envelope.position.offset, partitions if own else 0)
            if heads is not None and own and letter < 0 and is_plain(value):
                heads[value[:RUN_BYTES]] = chunk
    chunk.size += len(value)


def _add(chunk: Chunk, message: Message, mutation: bytes, offset: int, partitions: int) -> None:
    """Add a mutation to its chunk; `partitions` is 0 where no place is reckoned."""
    place = message.offset()
    assert place is not None
    chunk.mutations.append(mutation)
    chunk.offsets.append(offset)
    chunk.places.append(place)
    if partitions and _home(message, mutation, partitions) != message.partition():
        chunk.misplaced += 1


def _own_envelope(value: bytes) -> Envelope:
    envelope = open_envelope(value)
    if envelope.notice is None and envelope.encoding not in _ENCODINGS:
        raise BadDataError(
            "envelope_encoding",
            f"A message holds a mutation in the encoding {envelope.encoding}, which this Casscade does not know",
            now="the message is set aside as a dead letter, the others go on",
            hint="upgrade the loaders before the agents",
        )
    return envelope


def _home(message: Message, mutation: bytes, partitions: int) -> int:
    """Where a message belongs, by its key; by that of its mutation if somebody sent it without one."""
    key = _bytes(message.key())
    if key is None:
        try:
            key = partition_key_of(mutation)
        except CorruptionError:
            key = b""
    return place_of(key, partitions)


def _as_envelope(message: Message, offset: int) -> Envelope:
    """A message of Debezium's as if it had come in an envelope."""
    captured_at = message.timestamp()[1] * 1_000
    packed = pack(ConnectMessage(message.topic() or "", _bytes(message.key()), _bytes(message.value())))
    return Envelope(DEBEZIUM, b"", Position(0, offset), captured_at, "", packed)


def _letter(message: Message) -> int:
    """The id of the dead letter that the message is a replay of; -1 for all others."""
    for name, value in headers_of(message):
        if name == LETTER_HEADER and value.isdigit():
            return int(value)
    return -1


def headers_of(message: Message) -> list[tuple[str, bytes]]:
    """The headers that have a value."""
    headers: list[Any] = message.headers() or []  # type: ignore[assignment] # what comes from a broker is a list
    return [(name, value) for name, value in headers if isinstance(value, bytes)]


def host_of(chunk: Chunk) -> bytes:
    """The host id of a chunk's mutations in an envelope; a stand-in where they come from no commit log."""
    if chunk.scanned:
        return SNAPSHOT_HOST
    try:
        return uuid.UUID(chunk.origin).bytes
    except ValueError:
        return FOREIGN_HOST


def _bytes(part: bytes | str | None) -> bytes | None:
    return part.encode() if isinstance(part, str) else part
