"""What the agent's side does with a producer that has failed for good."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from casscade.core.errors import CasscadeError, ConfigurationError, RetryableError
from casscade.core.position import Position
from casscade.transport.chunk import Chunk
from casscade.transport.kafka import outlet as module
from casscade.transport.kafka.client import KafkaSettings
from casscade.transport.kafka.outlet import KafkaOutlet

HOST = str(uuid.UUID(int=7))


class FailedProducer:
    """Refuses every message with an error."""

    code = KafkaError._FATAL

    def __init__(self, _properties: dict[str, Any]) -> None: ...

    def produce(self, *_arguments: Any, **_options: Any) -> None:
        raise KafkaException(KafkaError(self.code))


@pytest.mark.requirement("FR-019")
@pytest.mark.parametrize(
    ("code", "family"),
    [(KafkaError._FATAL, RetryableError), (KafkaError.TOPIC_AUTHORIZATION_FAILED, ConfigurationError)],
)
def test_a_refused_message_ends_the_outlet_in_our_words(
    code: int, family: type[CasscadeError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FailedProducer, "code", code)
    monkeypatch.setattr(module, "Producer", FailedProducer)
    outlet = KafkaOutlet(KafkaSettings(("b:1",), "t", "g"))
    with pytest.raises(family):
        outlet.put(Chunk(HOST, 8, Position(1, 9), 0.0, [b"\x01" + bytes(30)], [9]), threading.Event())
