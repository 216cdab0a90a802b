"""A loader with a name is a member that outlives its process, until it leaves."""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from casscade.core.errors import ConfigurationError, RetryableError
from casscade.transport.kafka.client import KafkaSettings, translate
from casscade.transport.kafka.membership import consumer_properties, quit_group

NAMED = KafkaSettings(("b:1",), "t", "g", instance="loader-1")


class Member:
    """A client that has left after so many calls."""

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.subscribed = True

    def unsubscribe(self) -> None:
        self.subscribed = False

    def memberid(self) -> str:
        return "loader-1-x" if self.calls else ""

    def consume(self, _count: int, _timeout_s: float) -> list[object]:
        assert not self.subscribed
        self.calls -= 1
        return []


def test_only_a_name_that_was_given_is_told_to_the_group() -> None:
    assert consumer_properties(NAMED)["group.instance.id"] == "loader-1"
    assert "group.instance.id" not in consumer_properties(KafkaSettings(("b:1",), "t", "g"))


def test_it_has_left_only_when_the_group_was_told() -> None:
    member = Member(3)
    quit_group(cast(Any, member))
    assert (member.calls, member.subscribed) == (0, False)


@pytest.mark.requirement("FR-003")
def test_the_older_one_of_two_with_one_name_is_refused_for_good() -> None:
    fenced = KafkaError(KafkaError.FENCED_INSTANCE_ID)
    # As a consumer tells it: librdkafka's code for what ended a client for good, and why.
    fatal = KafkaError(KafkaError._FATAL, f"Fatal error: {fenced.str()}: Fatal consumer error: {fenced.str()}")
    for cause in (fatal, KafkaException(fenced)):
        error = translate(cause, NAMED, "consuming")
        assert isinstance(error, ConfigurationError)
        assert error.code == "kafka_instance"
        assert "loader-1" in error.what


def test_another_end_of_a_client_passes_with_a_new_one() -> None:
    assert isinstance(
        translate(KafkaError(KafkaError._FATAL, "Fatal error: other"), NAMED, "consuming"), RetryableError
    )
