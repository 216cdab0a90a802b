"""How the parts of a loader end: in their order, whatever one of them raises."""

from __future__ import annotations

import threading
import time
from typing import Any, cast
from unittest.mock import Mock

import pytest

from casscade.core.errors import ConfigurationError, RetryableError
from casscade.pipeline.load_parts import Consuming, LoadParts

WAIT_S = 10.0


class Source:
    """Reads until it is told to leave, as `KafkaSource` does; notes what became of it."""

    def __init__(self, told: list[str], error: Exception | None = None) -> None:
        self.beat = time.monotonic()
        self._told = told
        self._error = error
        self._leaving = threading.Event()

    def run(self) -> None:
        if self._error is not None:
            raise self._error
        assert self._leaving.wait(WAIT_S), "nobody told the source to leave"
        self._told.append("left the group")

    def leave(self) -> None:
        self._leaving.set()


def parts(told: list[str], *, reader: Exception | None = None, source: Exception | None = None) -> LoadParts:
    """Parts that note their end in `told`; those named end with an error."""

    def noting(name: str) -> Mock:
        part = Mock(failure=None, beats={"decode": 0.0})
        part.join.side_effect = part.close.side_effect = lambda *_: told.append(name)
        return part

    stop = threading.Event()
    reading = Mock()
    reading.shut_down.side_effect = reader
    named: dict[str, Any] = {
        name: noting(name)
        for name in ("loader", "outlet", "outage", "replayer", "evolution", "gap_watch", "watch", "identity")
    }
    return LoadParts(
        Consuming(cast(Any, Source(told, source)), stop),
        reader=reading,
        resubmitter=None,
        repair=None,
        stop=stop,
        **named,
    )


def test_a_reader_that_ends_with_an_error_leaves_the_group_in_order() -> None:
    told: list[str] = []
    made = parts(told, reader=RetryableError("cassandra_unavailable", "no node answers"))
    made.start()
    with pytest.raises(RetryableError, match="no node answers"):
        made.shut_down()
    # What was handed over is applied before the loader ends, and nothing is still at work in the next life.
    assert told[:2] == ["left the group", "loader"]
    assert sorted(told[2:]) == ["evolution", "gap_watch", "identity", "outage", "outlet", "replayer", "watch"]
    assert made.stop.is_set()


def test_the_end_of_a_part_by_itself_is_what_is_raised() -> None:
    refused = ConfigurationError("kafka_rights", "Kafka refused consuming")
    made = parts([], reader=RetryableError("cassandra_unavailable", "no node answers"), source=refused)
    made.start()
    assert made.stop.wait(WAIT_S)
    with pytest.raises(ConfigurationError) as raised:
        made.shut_down()
    assert raised.value is refused


def test_parts_that_end_as_asked_raise_nothing() -> None:
    told: list[str] = []
    made = parts(told)
    made.start()
    made.shut_down()
    assert told[0] == "left the group"
    assert set(made.beats()) == {"decode", "consume"}
