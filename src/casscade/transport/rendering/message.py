"""A message of a topic as one object of JSON.

Invariant: whatever the message holds, an object comes out: with its place, and with what was understood of it or the
code of the error that says why not.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from casscade.commitlog.observations import decode_any
from casscade.core.errors import BadDataError, UnknownSchemaError
from casscade.core.mutation import PartitionUpdate
from casscade.core.notice import Notice
from casscade.transport.envelope import SNAPSHOT_HOST, Envelope, open_envelope
from casscade.transport.rendering.event import render_event, render_json
from casscade.transport.rendering.masking import digest, moment
from casscade.transport.rendering.tables import KnownTables
from casscade.transport.topic_message import TopicMessage

Shown = dict[str, Any]

# Codes that a terminal would obey; JSON itself escapes those below a space.
_CONTROLS: Final = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class MessageRenderer:
    """Renders messages; without `tables` mutations stay closed, with `values` keys and values are shown."""

    def __init__(self, tables: KnownTables | None, *, values: bool) -> None:
        self._tables = tables
        self._values = values

    def render(self, message: TopicMessage, *, debezium: bool) -> Shown:
        """One object; `debezium` tells that the topic is one of Debezium's connector."""
        value = message.value or b""
        shown: Shown = {"topic": message.topic, "partition": message.partition, "offset": message.offset}
        if message.written_ms is not None:
            shown["written_at"] = moment(message.written_ms * 1000)
        shown |= {"key": self._key(message.key, debezium), "bytes": len(value)}
        try:
            if debezium:
                shown |= render_event(message.value, values=self._values)
            else:
                envelope = open_envelope(value)
                shown |= _envelope(envelope)
                shown |= self._updates(envelope) if envelope.notice is None else _notice(envelope.notice)
        except BadDataError as error:
            shown["error"] = {"code": error.code, "what": error.what}
            if isinstance(error, UnknownSchemaError):
                shown["error"]["table_id"] = error.table_id.hex()
        return shown

    def _key(self, key: bytes | None, debezium: bool) -> Shown | None:
        if key is None:
            return None
        shown: Shown = {"bytes": len(key), "digest": digest(key)}
        if self._values:
            shown["value"] = render_json(key) if debezium else key.hex()
        return shown

    def _updates(self, envelope: Envelope) -> Shown:
        tables = self._tables
        if tables is None:
            return {}
        return {"updates": [tables.render(update) for update in _decode(envelope, tables)]}


def _envelope(envelope: Envelope) -> Shown:
    shown: Shown = {"event_id": envelope.event_id, "captured_at": moment(envelope.captured_at)}
    if envelope.traceparent:
        shown["traceparent"] = envelope.traceparent
    kind = "snapshot" if envelope.host == SNAPSHOT_HOST else "stream"
    return shown | {"commitlog_version": envelope.encoding, "kind": kind, "mutation_bytes": len(envelope.mutation)}


def _notice(notice: Notice) -> Shown:
    """What an agent tells beside mutations; of damaged bytes only how many."""
    shown: Shown = {"kind": "notice", "notice": notice.kind, "notice_key": notice.key, "reason": notice.reason}
    if notice.table is not None:
        shown["table_id"] = str(notice.table)
    return shown | {"detail": notice.detail, "content_bytes": len(notice.content)}


def _decode(envelope: Envelope, tables: KnownTables) -> list[PartitionUpdate]:
    """The updates; the schema is read again for a table or column that it does not describe."""
    try:
        return decode_any(envelope.mutation, envelope.encoding, tables.shapes)
    except UnknownSchemaError:
        if not tables.refresh():
            raise
        return decode_any(envelope.mutation, envelope.encoding, tables.shapes)


def to_line(shown: Shown) -> str:
    """One line of JSON without anything that a terminal would obey."""
    text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
