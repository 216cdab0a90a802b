"""Messages in chunks: a replayed dead letter is a chunk of its own that knows which letter it is."""

from __future__ import annotations

import threading
import uuid
from typing import Any, cast

import pytest

from casscade.core.errors import RetryableError
from casscade.core.position import Position
from casscade.transport.chunk import Chunk, ReplayProgress
from casscade.transport.envelope import SNAPSHOT_HOST, seal
from casscade.transport.kafka import dead_letters
from casscade.transport.kafka.chunks import FOREIGN_HOST, LETTER_HEADER, Run, add_message, host_of
from casscade.transport.kafka.client import KafkaSettings
from casscade.transport.kafka.dead_letters import LetterProducer

HOST = uuid.UUID(int=5)


class Stored:
    """A message of the pipeline's topic."""

    def __init__(self, offset: int, headers: list[tuple[str, bytes]] | None = None) -> None:
        self._offset, self._headers = offset, headers

    def value(self) -> bytes:
        return seal(8, HOST.bytes, Position(3, 70 + self._offset), 5, b"mutation")

    def key(self) -> bytes:
        return b"key"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def headers(self) -> list[tuple[str, bytes]] | None:
        return self._headers


@pytest.mark.requirement("FR-021")
def test_a_replayed_letter_travels_alone_and_moves_the_position() -> None:
    chunks: dict[Run, Chunk] = {}
    headers: list[Any] = [None, [("trace", b"x")], [(LETTER_HEADER, b"12")], [(LETTER_HEADER, b"13")], None]
    for offset, each in enumerate(headers):
        add_message(chunks, cast(Any, Stored(offset, each)), "t/0", Position(0, 0), own=True)
    found = [(chunk.progress, chunk.places, chunk.moves) for chunk in chunks.values()]
    assert found == [
        (None, [0, 1, 4], True),
        (ReplayProgress((12,), streamed=True), [2], True),
        (ReplayProgress((13,), streamed=True), [3], True),
    ]
    assert {(chunk.origin, chunk.scanned) for chunk in chunks.values()} == {(str(HOST), False)}


def test_the_host_of_an_envelope_follows_from_the_chunk() -> None:
    position = Position(0, 0)
    assert host_of(Chunk("t/0", 8, position, 0.0, origin=str(HOST))) == HOST.bytes
    assert host_of(Chunk("replay", 8, position, 0.0, progress=ReplayProgress((1,)), scanned=True)) == SNAPSHOT_HOST
    assert host_of(Chunk("shop.ks.t/0", 109, position, 0.0)) == FOREIGN_HOST


def test_brokers_that_do_not_answer_are_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "KEEP_S", 0.2)
    producer = LetterProducer(KafkaSettings(("127.0.0.1:1",), "t.dead_letters", "g"), "test")
    chunk = Chunk("t/0", 8, Position(0, 1), 0.0, [b"x"], [0], origin=str(HOST), places=[0])
    with pytest.raises(RetryableError, match="_TIMED_OUT") as caught:
        producer.keep([chunk], "57P01", "task", threading.Event())
    assert caught.value.code == "kafka_unavailable"
    producer.close()
