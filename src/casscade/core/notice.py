"""What an agent has to tell the loaders beside mutations: that it began, that input was lost or is damaged.

Invariant: a notice with the same source and key is the same event, however often it comes; `pack` and `unpack` are
inverse, and anything else than a packed notice is refused.
"""

from __future__ import annotations

import json
import struct
import uuid
from typing import Final, NamedTuple

from casscade.core.errors import BadDataError
from casscade.core.position import START, Position, event_id

BEGIN: Final = "begin"
GAP: Final = "gap"

# Why input is missing; those of damage are the reasons of `casscade.commitlog.framing`.
SEGMENT_VANISHED: Final = "segment_vanished"
SEGMENTS_EVICTED: Final = "segments_evicted"
STATE_LOST: Final = "state_lost"
CDC_OFF: Final = "cdc_off"
TABLE_CDC_OFF: Final = "table_cdc_off"
NODE_GONE: Final = "node_gone"

# Of damage the first bytes are kept as a dead letter; all of the segment lies in the agent's quarantine.
CONTENT_BYTES_MAX: Final = 1 << 20
_LENGTH: Final = struct.Struct(">I")


class Notice(NamedTuple):
    """One thing that `source` (a host id) tells.

    - `kind`: `BEGIN` (capture begins without a position; `key` names its run) or `GAP`. A BEGIN with a `reason` says
      that an earlier run was lost.
    - `key`: what makes it one event within the source. `reason`: from a bounded set.
    - `position`: where in the commit log. `detail`: one sentence.
    - `table`: the id of the one table that is concerned; None: all.
    - `content`: damaged bytes, `CONTENT_BYTES_MAX` at most; `version`: that of the commit log where they lay.
    """

    kind: str
    source: str
    key: str
    reason: str = ""
    position: Position = START
    detail: str = ""
    table: uuid.UUID | None = None
    content: bytes = b""
    version: int = 0

    @property
    def event_id(self) -> str:
        """The place in the commit log, as mutations have theirs."""
        return event_id(self.source, self.position)

    def pack(self) -> bytes:
        """The notice as bytes: the length of a JSON object, the object, the content."""
        head = self._asdict() | {"position": list(self.position), "table": self.table and str(self.table)}
        del head["content"]
        text = json.dumps(head, separators=(",", ":")).encode()
        return _LENGTH.pack(len(text)) + text + self.content


def unpack(data: bytes) -> Notice:
    """The notice that was packed; raises BadDataError (`notice_damaged`)."""
    try:
        (length,) = _LENGTH.unpack_from(data)
        head = json.loads(data[_LENGTH.size : _LENGTH.size + length])
        segment, offset = head["position"]
        return Notice(
            str(head["kind"]),
            str(head["source"]),
            str(head["key"]),
            str(head["reason"]),
            Position(int(segment), int(offset)),
            str(head["detail"]),
            None if head["table"] is None else uuid.UUID(head["table"]),
            data[_LENGTH.size + length :],
            int(head["version"]),
        )
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise BadDataError(
            "notice_damaged",
            "A notice of an agent can't be understood",
            now="it is set aside as a dead letter",
            hint="upgrade the loaders before the agents",
        ) from error
