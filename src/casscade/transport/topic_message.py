"""A message as it lies on a topic, whoever wrote it.

Invariant: key and value are the bytes that the broker keeps, untouched.
"""

from __future__ import annotations

from typing import NamedTuple


class TopicMessage(NamedTuple):
    """`written_ms` is the time that Kafka keeps for it (Unix time in milliseconds), None if it keeps none."""

    topic: str
    partition: int
    offset: int
    written_ms: int | None
    key: bytes | None
    value: bytes | None
