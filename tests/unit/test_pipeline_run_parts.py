"""How the parts of a pipeline in one process end: all of them, whatever one of them raises."""

from __future__ import annotations

import threading
from typing import Any, cast
from unittest.mock import Mock

import pytest

from casscade.core.errors import CorruptionError, RetryableError
from casscade.pipeline.capturing import Capturing
from casscade.pipeline.run_parts import RunParts

WAIT_S = 10.0
THREADS = ("loader", "outage", "replayer", "evolution", "repair", "gap_watch", "watch", "cdc_watch")


def parts(told: list[str], *, reader: Exception | None = None, capture: Exception | None = None) -> RunParts:
    """Parts that note their end in `told`; those named end with an error."""
    stop = threading.Event()

    def noting(name: str) -> Mock:
        part = Mock(failure=None)
        part.join.side_effect = lambda *_: told.append(name)
        return part

    def follow() -> None:
        if capture is not None:
            raise capture
        assert stop.wait(WAIT_S), "nobody told the follower to stop"
        told.append("follower")

    reading = Mock()
    reading.shut_down.side_effect = reader
    follower = cast(Any, Mock(run=follow))
    named: dict[str, Any] = {name: noting(name) for name in THREADS}
    return RunParts(Capturing(follower, stop), reader=reading, space=cast(Any, None), stop=stop, **named)


def test_a_reader_that_ends_with_an_error_leaves_no_thread_behind() -> None:
    told: list[str] = []
    made = parts(told, reader=RetryableError("cassandra_unavailable", "no node answers"))
    made.start()
    with pytest.raises(RetryableError, match="no node answers"):
        made.shut_down()
    assert sorted(told) == sorted([*THREADS, "follower"])


def test_what_stops_capture_stops_all_and_is_raised() -> None:
    damage = CorruptionError("section_corrupt", "a section is damaged")
    made = parts([], capture=damage)
    made.start()
    assert made.stop.wait(WAIT_S)
    with pytest.raises(CorruptionError) as raised:
        made.raise_failure()
    assert raised.value is damage
    made.shut_down()


@pytest.mark.parametrize("name", THREADS)
def test_no_part_dies_unnoticed(name: str) -> None:
    made = parts([])
    made.raise_failure()
    getattr(made, name).failure = RetryableError("away", name)
    with pytest.raises(RetryableError, match=name):
        made.raise_failure()
