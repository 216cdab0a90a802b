"""A message of a Debezium topic as the bytes of a chunk's entry: topic, key and value, all as they were.

Invariant: `unpack(pack(message))` is the message again, so that a dead letter holds the original.

    vint length, topic (UTF-8); vint 0 for null or length + 1, key; vint 0 for null or length + 1, value
"""

from __future__ import annotations

from typing import Final, NamedTuple

from casscade.core.errors import CorruptionError
from casscade.cql.vint import read_unsigned, write_unsigned

DEBEZIUM: Final = 109
"""The number of this encoding, where those of the commit log are 6, 7 and 8 and that of observations is 108."""


class ConnectMessage(NamedTuple):
    """A message as Kafka Connect wrote it; a null value only marks a key for compaction."""

    topic: str
    key: bytes | None
    value: bytes | None


def pack(message: ConnectMessage) -> bytes:
    """The bytes of a chunk's entry."""
    topic = message.topic.encode()
    parts = [write_unsigned(len(topic)), topic]
    for part in (message.key, message.value):
        parts += [b"\x00"] if part is None else [write_unsigned(len(part) + 1), part]
    return b"".join(parts)


def unpack(data: bytes) -> ConnectMessage:
    """The inverse of `pack`; raises CorruptionError (`message_corrupt`) for anything else."""
    try:
        length, pos = read_unsigned(data, 0)
        topic, pos = data[pos : pos + length].decode(), pos + length
        key, pos = _part(data, pos)
        value, pos = _part(data, pos)
    except (IndexError, UnicodeDecodeError):
        raise _corrupt() from None
    if pos != len(data):
        raise _corrupt()
    return ConnectMessage(topic, key, value)


def _part(data: bytes, pos: int) -> tuple[bytes | None, int]:
    length, pos = read_unsigned(data, pos)
    if length == 0:
        return None, pos
    end = pos + length - 1
    return data[pos:end], end


def _corrupt() -> CorruptionError:
    return CorruptionError("message_corrupt", "The bytes do not hold a message's topic, key and value")
