"""What the driver does about a read that failed, before it tells us.

Invariant: only reads are sent through these sessions, and they change nothing, so that any of them may be sent again;
a bounded number of times, each to another node. What still fails becomes a RetryableError, which the caller waits out.
"""

from __future__ import annotations

from typing import Any, Final

from cassandra.policies import RetryPolicy

Decision = tuple[int, Any]

# A coordinator that timed out may have asked a replica that had just died; the second knows better, or none does.
READ_RETRIES_MAX: Final = 2
# A coordinator may take replicas for dead that others see; one more opinion is enough.
UNAVAILABLE_RETRIES_MAX: Final = 1
# Nodes tried when connections break or nodes refuse: a ring may lose some at the same moment.
REQUEST_RETRIES_MAX: Final = 3


class ReadRetryPolicy(RetryPolicy):  # type: ignore[misc] # the driver has no types
    """Tries reads on other nodes, at the same consistency; never a write, of which there is none."""

    def on_read_timeout(
        self,
        query: Any,
        consistency: Any,
        required_responses: int,
        received_responses: int,
        data_retrieved: bool,
        retry_num: int,
    ) -> Decision:
        """Too few replicas answered in time."""
        return self._next_host(consistency, retry_num, READ_RETRIES_MAX)

    def on_unavailable(
        self, query: Any, consistency: Any, required_replicas: int, alive_replicas: int, retry_num: int
    ) -> Decision:
        """The coordinator sees too few replicas alive."""
        return self._next_host(consistency, retry_num, UNAVAILABLE_RETRIES_MAX)

    def on_request_error(self, query: Any, consistency: Any, error: Any, retry_num: int) -> Decision:
        """The connection broke, or the node is overloaded, starting or ending."""
        return self._next_host(consistency, retry_num, REQUEST_RETRIES_MAX)

    def on_write_timeout(
        self,
        query: Any,
        consistency: Any,
        write_type: Any,
        required_responses: int,
        received_responses: int,
        retry_num: int,
    ) -> Decision:
        """Nothing is written here."""
        return self.RETHROW, None

    def _next_host(self, consistency: Any, retry_num: int, retries_max: int) -> Decision:
        if retry_num >= retries_max:
            return self.RETHROW, None
        return self.RETRY_NEXT_HOST, consistency
