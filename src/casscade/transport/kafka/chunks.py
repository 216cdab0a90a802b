"""Messages of a partition sorted into chunks, those of Casscade's own topic and those of Debezium's.

Invariant: each message is in exactly one chunk: as a mutation with the place that gives it its event id, or refused.
"""

from __future__ import annotations

import time
import uuid
from typing import Final, NamedTuple

from confluent_kafka import Message

from casscade.commitlog.observations import OBSERVING
from casscade.core.errors import BadDataError
from casscade.core.position import Position
from casscade.debezium.message import DEBEZIUM, ConnectMessage, pack
from casscade.transport.chunk import Chunk
from casscade.transport.envelope import SNAPSHOT_HOST, Envelope, open_envelope


class Run(NamedTuple):
    """What all mutations of a chunk share."""

    encoding: int
    host: bytes
    segment: int


# Messages that can't be opened share a chunk without mutations.
_REFUSED: Final = Run(0, b"", 0)


def add_message(chunks: dict[Run, Chunk], message: Message, source: str, start: Position, *, own: bool) -> None:
    """Put a message of partition `source` into one of `chunks`, which begin at `start`.

    `own` tells Casscade's topic from one of Debezium's, whose messages have no envelope and are not looked into here.
    """
    value, offset = message.value() or b"", message.offset()
    assert offset is not None
    try:
        envelope = open_envelope(value) if own else _as_envelope(message, offset)
    except BadDataError as refused:
        chunk = chunks.setdefault(_REFUSED, Chunk(source, OBSERVING, start, time.time()))
        chunk.refused.append((f"{source}:{offset}", value, refused))
    else:
        run = Run(envelope.encoding, envelope.host, envelope.position.segment)
        found = chunks.get(run)
        if found is None:
            found = chunks[run] = Chunk(
                source,
                envelope.encoding,
                start,
                envelope.captured_at / 1_000_000,
                segment=envelope.position.segment,
                origin=str(uuid.UUID(bytes=envelope.host)) if own else source,
                scanned=envelope.host == SNAPSHOT_HOST,
            )
        chunk = found
        chunk.mutations.append(envelope.mutation)
        chunk.offsets.append(envelope.position.offset)
    chunk.size += len(value)


def _as_envelope(message: Message, offset: int) -> Envelope:
    """A message of Debezium's as if it had come in an envelope."""
    captured_at = message.timestamp()[1] * 1_000
    packed = pack(ConnectMessage(message.topic() or "", _bytes(message.key()), _bytes(message.value())))
    return Envelope(DEBEZIUM, b"", Position(0, offset), captured_at, "", packed)


def _bytes(part: bytes | str | None) -> bytes | None:
    return part.encode() if isinstance(part, str) else part
