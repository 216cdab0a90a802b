"""Brokers that do not answer: wrong configuration for who never reached them, an outage for who did."""

from __future__ import annotations

import pytest

from casscade.core.errors import ConfigurationError, RetryableError
from casscade.devstack.places import free_port
from casscade.transport.kafka import topic
from casscade.transport.kafka.client import KafkaSettings
from casscade.transport.kafka.topic import ensure_topic


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> KafkaSettings:
    monkeypatch.setattr(topic, "ADMIN_TIMEOUT_S", 0.2)
    return KafkaSettings((f"127.0.0.1:{free_port()}",), "none", "none")


def test_no_broker_is_a_clear_error(nobody: KafkaSettings) -> None:
    with pytest.raises(ConfigurationError, match="no broker of Kafka answered") as refused:
        ensure_topic(nobody)
    assert "bootstrap_servers" in refused.value.hint


@pytest.mark.requirement("FR-019")
def test_brokers_that_answered_before_are_waited_for(nobody: KafkaSettings) -> None:
    with pytest.raises(RetryableError) as outage:
        ensure_topic(nobody, reached=True)
    assert outage.value.code == "kafka_unavailable"
