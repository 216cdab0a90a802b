"""Messages of Debezium's topics become chunks untouched, beside those of the pipeline's own topic."""

from __future__ import annotations

import pytest

from casscade.core.errors import ConfigurationError
from casscade.core.position import Position
from casscade.debezium.message import DEBEZIUM, ConnectMessage, unpack
from casscade.pipeline.kafka import debezium_topics, require_own_capture
from casscade.transport.chunk import Chunk
from casscade.transport.envelope import seal
from casscade.transport.kafka.chunks import Run, add_message
from tests.support.debezium import TABLES
from tests.unit.test_config_transport import load


class StoredMessage:
    """What add_message asks of a message of the client."""

    def __init__(self, offset: int, key: bytes | None, value: bytes | None) -> None:
        self._offset, self._key, self._value = offset, key, value

    def topic(self) -> str:
        return "cdc.shop.orders"

    def partition(self) -> int:
        return 0

    def headers(self) -> None:
        return None

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_123


def chunks_of(*messages: StoredMessage, own: bool) -> list[Chunk]:
    chunks: dict[Run, Chunk] = {}
    for message in messages:
        add_message(chunks, message, "cdc.shop.orders/2", Position(0, 5), own=own)  # type: ignore[arg-type]
    return list(chunks.values())


def test_a_foreign_message_is_kept_whole() -> None:
    (chunk,) = chunks_of(StoredMessage(5, b"{}", b"\x00Avro"), StoredMessage(9, None, None), own=False)
    assert (chunk.version, chunk.source, chunk.origin, chunk.segment) == (
        DEBEZIUM,
        "cdc.shop.orders/2",
        chunk.source,
        0,
    )
    assert (chunk.offsets, chunk.scanned, chunk.refused) == ([5, 9], False, [])
    assert [unpack(message) for message in chunk.mutations] == [
        ConnectMessage("cdc.shop.orders", b"{}", b"\x00Avro"),
        ConnectMessage("cdc.shop.orders", None, None),
    ]
    assert chunk.captured_at == pytest.approx(1_700_000_000.123)


def test_the_own_topic_takes_envelopes_only() -> None:
    sealed = seal(8, bytes(range(16)), Position(7, 42), 0, b"mutation")
    good, refused = chunks_of(StoredMessage(5, b"k", sealed), StoredMessage(6, b"{}", b"{}"), own=True)
    assert (good.mutations, good.offsets, good.segment) == ([b"mutation"], [42], 7)
    assert [(event, value, error.code) for event, value, error in refused.refused] == [
        ("cdc.shop.orders/2:6", b"{}", "envelope_foreign")
    ]


def test_the_topics_follow_the_tables() -> None:
    config = load("{kind: kafka, bootstrap_servers: ['b:9092'], format: debezium, topic_prefix: my.cdc}")
    assert debezium_topics(config, TABLES) == ["my.cdc.shop.orders", "my.cdc.shop.kinds"]
    with pytest.raises(ConfigurationError, match="no agent"):
        require_own_capture(config)
    own = load("{kind: kafka, bootstrap_servers: ['b:9092']}")
    require_own_capture(own)
    assert debezium_topics(own, TABLES) == []
