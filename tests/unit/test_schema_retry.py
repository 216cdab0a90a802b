"""Reads are tried on other nodes, at the same consistency, a bounded number of times."""

from __future__ import annotations

import pytest
from cassandra import ConsistencyLevel
from cassandra.connection import ConnectionShutdown

from casscade.schema.retry import (
    READ_RETRIES_MAX,
    REQUEST_RETRIES_MAX,
    UNAVAILABLE_RETRIES_MAX,
    ReadRetryPolicy,
)

QUORUM = ConsistencyLevel.QUORUM
AGAIN = (ReadRetryPolicy.RETRY_NEXT_HOST, QUORUM)
GIVE_UP = (ReadRetryPolicy.RETHROW, None)
POLICY = ReadRetryPolicy()


@pytest.mark.requirement("FR-019")
def test_a_read_that_timed_out_is_tried_elsewhere_whatever_was_received() -> None:
    for received, data in ((0, False), (1, False), (1, True), (2, False)):
        decisions = [POLICY.on_read_timeout(None, QUORUM, 2, received, data, n) for n in range(READ_RETRIES_MAX + 1)]
        assert decisions == [AGAIN] * READ_RETRIES_MAX + [GIVE_UP]


@pytest.mark.requirement("FR-019")
def test_one_more_coordinator_is_asked_when_replicas_are_missing() -> None:
    decisions = [POLICY.on_unavailable(None, QUORUM, 2, 1, n) for n in range(UNAVAILABLE_RETRIES_MAX + 1)]
    assert decisions == [AGAIN] * UNAVAILABLE_RETRIES_MAX + [GIVE_UP]


@pytest.mark.requirement("FR-019")
def test_a_coordinator_that_dies_is_replaced() -> None:
    died = ConnectionShutdown("gone")
    decisions = [POLICY.on_request_error(None, QUORUM, died, n) for n in range(REQUEST_RETRIES_MAX + 1)]
    assert decisions == [AGAIN] * REQUEST_RETRIES_MAX + [GIVE_UP]


def test_a_write_is_never_tried_again() -> None:
    assert POLICY.on_write_timeout(None, QUORUM, "SIMPLE", 2, 1, 0) == GIVE_UP
