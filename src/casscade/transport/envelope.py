"""The envelope of a mutation on a topic: where it comes from, when it was captured, its bytes untouched.

Invariant: `open_envelope(seal(...))` gives back what was sealed; anything else, and any newer version, is refused with
an error that says which.

All integers are big-endian:

    u16 magic 0xCA5C, u8 envelope version (1; 2 for a notice), u8 flags, u8 commit-log version (6, 7 or 8),
    16 bytes host id, i64 segment, u32 offset     together the event id
    i64 captured at, microseconds since 1970
    [u8 length, trace context]                    if flags has 0x01: a W3C traceparent, ASCII
    the mutation's bytes, or the packed notice (`core.notice`)

A notice has a version of its own, so that loaders which know none set it aside as newer than themselves.
"""

from __future__ import annotations

import struct
import uuid
from typing import Final, NamedTuple

from casscade.core.errors import BadDataError
from casscade.core.notice import Notice, unpack
from casscade.core.position import Position, event_id

MAGIC: Final = 0xCA5C
VERSION: Final = 1
NOTICE_VERSION: Final = 2
TRACED: Final = 0x01
_HEAD: Final = struct.Struct(">HBBB16sqIq")
HEAD_BYTES: Final = _HEAD.size
RUN_BYTES: Final = 29
"""What all mutations of a segment have in common at the beginning of a plain envelope; their offset follows."""
OFFSET_END: Final = RUN_BYTES + 4
SNAPSHOT_HOST: Final = bytes(16)
"""The host id of mutations that a snapshot or recheck made: they come from no commit log."""


class Envelope(NamedTuple):
    """What one message says: `encoding` is the commit-log version of `mutation`'s bytes, `captured_at` microseconds.

    With a `notice` there is no mutation.
    """

    encoding: int
    host: bytes
    position: Position
    captured_at: int
    traceparent: str
    mutation: bytes
    notice: Notice | None = None

    @property
    def event_id(self) -> str:
        """`<host id>:<segment>:<offset>`."""
        return event_id(str(uuid.UUID(bytes=self.host)), self.position)


def sealer(encoding: int, host: bytes, segment: int, captured_at: int) -> tuple[bytes, bytes]:
    """The parts of an untraced envelope before and behind its offset, the same for all mutations of a chunk.

    The envelope is `first + offset.to_bytes(4, "big") + second + mutation`.
    """
    head = _HEAD.pack(MAGIC, VERSION, 0, encoding, host, segment, 0, captured_at)
    return head[:RUN_BYTES], head[OFFSET_END:]


def seal(
    encoding: int, host: bytes, position: Position, captured_at: int, mutation: bytes, traceparent: str = ""
) -> bytes:
    """One mutation in its envelope; `host` has 16 bytes, `traceparent` at most 255 ASCII characters."""
    flags = TRACED if traceparent else 0
    head = _HEAD.pack(MAGIC, VERSION, flags, encoding, host, position.segment, position.offset, captured_at)
    if not traceparent:
        return head + mutation
    trace = traceparent.encode("ascii")
    return b"".join((head, len(trace).to_bytes(1, "big"), trace, mutation))


def seal_notice(notice: Notice, host: bytes, captured_at: int) -> bytes:
    """A notice of the agent of `host` (16 bytes) in its envelope."""
    position = notice.position
    offset = min(position.offset, 0xFFFFFFFF)
    head = _HEAD.pack(MAGIC, NOTICE_VERSION, 0, notice.version, host, position.segment, offset, captured_at)
    return head + notice.pack()


def open_envelope(value: bytes) -> Envelope:
    """The content of a message's value.

    Raises BadDataError: `envelope_foreign` for anything that Casscade did not write, `envelope_newer` for a version
    that this one does not know, `envelope_damaged` for one that ends too early, `notice_damaged`.
    """
    if len(value) < 3 or value[0] << 8 | value[1] != MAGIC:
        raise _refused("envelope_foreign", "A message is not in Casscade's format", "check transport.topic")
    if value[2] not in (VERSION, NOTICE_VERSION):
        raise _refused(
            "envelope_newer",
            f"A message has version {value[2]} of the envelope, this Casscade reads up to version {NOTICE_VERSION}",
            "upgrade the loaders before the agents",
        )
    if len(value) < HEAD_BYTES:
        raise _damaged()
    _, _, flags, encoding, host, segment, offset, captured_at = _HEAD.unpack_from(value)
    start = HEAD_BYTES
    traceparent = ""
    if flags & TRACED:
        if len(value) <= start or len(value) < start + 1 + value[start]:
            raise _damaged()
        end = start + 1 + value[start]
        traceparent = value[start + 1 : end].decode("ascii", "replace")
        start = end
    body, position = value[start:], Position(segment, offset)
    if value[2] == NOTICE_VERSION:
        return Envelope(encoding, host, position, captured_at, traceparent, b"", unpack(body))
    return Envelope(encoding, host, position, captured_at, traceparent, body)


def is_plain(value: bytes) -> bool:
    """Whether an envelope that was opened holds a mutation without a trace: its bytes begin at `HEAD_BYTES`."""
    return value[2] == VERSION and not value[3] & TRACED


def _damaged() -> BadDataError:
    return _refused("envelope_damaged", "A message ends within its envelope", "look at the topic with casscade tail")


def _refused(code: str, what: str, hint: str) -> BadDataError:
    return BadDataError(code, what, now="the message is set aside as a dead letter, the others go on", hint=hint)
