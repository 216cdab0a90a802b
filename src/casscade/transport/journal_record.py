"""A chunk as the two parts of a journal's record, and back.

Invariant: `decode_record(*encode_record(chunk))` equals the chunk without the journal's own progress.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final

from casscade.core.notice import unpack
from casscade.core.position import Position
from casscade.transport.chunk import (
    Chunk,
    ReadProgress,
    RecheckProgress,
    RepairProgress,
    ReplayProgress,
    SnapshotProgress,
)

_PROGRESS: Final = {
    "snapshot": SnapshotProgress,
    "recheck": RecheckProgress,
    "repair": RepairProgress,
    "replay": ReplayProgress,
}


def encode_record(chunk: Chunk) -> tuple[bytes, bytes]:
    """Head and body."""
    own = chunk.own_progress
    notices = [notice.pack() for notice in chunk.notices]
    head: dict[str, Any] = {
        "source": chunk.source,
        "version": chunk.version,
        "end": list(chunk.end),
        "captured_at": chunk.captured_at,
        "offsets": chunk.offsets,
        "lengths": [len(mutation) for mutation in chunk.mutations],
        "notices": [len(notice) for notice in notices],
        "size": chunk.size,
        "segment": chunk.segment,
        "origin": chunk.origin,
        "scanned": chunk.scanned,
    }
    if own is not None:
        kind = next(name for name, each in _PROGRESS.items() if isinstance(own, each))
        head["progress"] = {"kind": kind, **asdict(own)}
    return json.dumps(head, separators=(",", ":")).encode(), b"".join([*chunk.mutations, *notices])


def decode_record(head: bytes, body: bytes) -> Chunk:
    """The chunk; both parts were checked by their checksum."""
    fields = json.loads(head)
    parts: list[bytes] = []
    start = 0
    # A journal of before notices has no word of them.
    for length in (*fields["lengths"], *fields.get("notices", ())):
        parts.append(body[start : start + length])
        start += length
    mutations = len(fields["lengths"])
    progress = fields.get("progress")
    return Chunk(
        fields["source"],
        fields["version"],
        Position(*fields["end"]),
        fields["captured_at"],
        parts[:mutations],
        fields["offsets"],
        fields["size"],
        None if progress is None else _progress(progress),
        fields["segment"],
        fields["origin"],
        fields["scanned"],
        notices=[unpack(notice) for notice in parts[mutations:]],
    )


def _progress(fields: dict[str, Any]) -> ReadProgress | ReplayProgress:
    kind = fields.pop("kind")
    if kind == "snapshot":
        return SnapshotProgress(**fields)
    ids = tuple(fields["ids"])
    if kind == "repair":
        return RepairProgress(ids, fields["rows"], fields["done"])
    return RecheckProgress(ids) if kind == "recheck" else ReplayProgress(ids, fields["streamed"])
