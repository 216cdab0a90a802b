"""What the scan needs of the Cassandra driver beyond its public ways: raw values, and one clock for TTLs.

Invariant: no value of a scanned row is decoded, and TTLs are told relative to a second that we know.

- Values: a session with `RawProtocol` returns each row as a list of the bytes that came over the wire.
- TTLs: protocol 5 lets the client say what time it is (`now_in_seconds` of QUERY and EXECUTE, protocol specification
  section 4.1.4). The driver does not offer it, so it is added to the message before it is sent; the expiry of a cell
  is then exact whatever the clocks of the hosts say. Older protocols answer by the coordinator's clock: there the
  second before the request was sent stands in, which is earlier than the truth if the clocks agree.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, Session
from cassandra.protocol import ExecuteMessage, ProtocolHandler, ResultMessage, read_int
from cassandra.query import BoundStatement, tuple_factory

from casscade.core.errors import ConfigurationError
from casscade.schema.faults import translated
from casscade.snapshot.page import Page

_PARTITIONER: Final = "Murmur3Partitioner"

NOW_IN_SECONDS_SINCE: Final = 5
_DSE_PROTOCOLS: Final = 64
_NOW_IN_SECONDS_FLAG: Final = 0x100


class _RawResult(ResultMessage):  # type: ignore[misc] # the driver has no types
    """A RESULT message whose rows stay bytes: its only row is `(bytes of all rows, their number, their columns)`."""

    def recv_results_rows(self, f: Any, *arguments: Any) -> None:
        """Read the rows; the arguments are those of the driver: protocol version, user types, known metadata, ..."""
        self.recv_results_metadata(f, arguments[1])
        metadata = self.column_metadata or arguments[2]
        count = read_int(f)
        self.column_names = [column[2] for column in metadata]
        self.column_types = [column[3] for column in metadata]
        self.parsed_rows = [(f.read(), count, len(metadata))]


class RawProtocol(ProtocolHandler):  # type: ignore[misc] # the driver has no types
    """The protocol of a session whose results are not decoded."""

    message_types_by_opcode = {  # noqa: RUF012 # the driver's own class attribute
        **ProtocolHandler.message_types_by_opcode,
        _RawResult.opcode: _RawResult,
    }


class RawSession:
    """A session of its own on a connected cluster, for scans; any thread may use it."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float] = time.time) -> None:
        """Open the session; raises `ConfigurationError` (`partitioner_unsupported`) for any but Murmur3Partitioner, and
        `RetryableError` when no node answers.
        """
        partitioner = str(cluster.metadata.partitioner)
        if not partitioner.endswith(_PARTITIONER):
            raise ConfigurationError(
                "partitioner_unsupported",
                f"the cluster uses {partitioner}; existing rows can be read by token only with {_PARTITIONER}",
                now="nothing was started",
                hint="set snapshot: {mode: never} to replicate new writes only",
            )
        self._clock = clock
        with translated("opening a session for reads"):
            self._session: Session = cluster.connect()
        self._session.client_protocol_handler = RawProtocol
        # The page that stands for a row has no columns with names, whatever rows are made of elsewhere.
        self._profile = self._session.execution_profile_clone_update(EXEC_PROFILE_DEFAULT, row_factory=tuple_factory)
        version = int(cluster.protocol_version)
        if NOW_IN_SECONDS_SINCE <= version < _DSE_PROTOCOLS:
            self._session.add_request_init_listener(_tell_the_time, clock)

    def prepare(self, query: str, consistency: int) -> Any:
        """A prepared statement of this session."""
        statement = self._session.prepare(query)
        statement.consistency_level = consistency
        statement.is_idempotent = True
        return statement

    def fetch(self, statement: Any, bounds: tuple[int, int], rows: int, paging_state: bytes | None) -> Page:
        """The next page of at most `rows` rows; raises the driver's exceptions."""
        bound = statement.bind(bounds)
        bound.fetch_size = rows
        return self._fetch(bound, paging_state)

    def _fetch(self, bound: Any, paging_state: bytes | None) -> Page:
        began = self._clock()
        result = self._session.execute(bound, execution_profile=self._profile, paging_state=paging_state)
        told = getattr(result.response_future.message, "now_in_seconds", int(began))
        rows = result.current_rows
        ((data, count, columns),) = rows
        # The driver's future is part of cycles and of a timer that lives as long as the request may take: it must not
        # keep the bytes of each page until the collector comes by.
        rows.clear()
        return Page(
            data,
            count,
            columns,
            now=int(told),
            read_at=int(began * 1_000_000),
            paging_state=result.paging_state,
        )

    def read(self, statement: Any, key: Sequence[bytes]) -> Page:
        """The rows with the serialized key values `key`; raises the driver's exceptions."""
        bound = BoundStatement(statement)
        bound.values = list(key)
        return self._fetch(bound, None)

    def close(self) -> None:
        """Close the session; the cluster stays open."""
        self._session.shutdown()


def _tell_the_time(response_future: Any, clock: Callable[[], float]) -> None:
    """Add the clock's second to an EXECUTE message (a listener of the driver, called before the message is sent)."""
    message = response_future.message
    if not isinstance(message, ExecuteMessage):
        return
    now = int(clock())
    write = message._write_query_params

    def write_with_now(f: Any, protocol_version: int) -> None:
        parameters = io.BytesIO()
        write(parameters, protocol_version)
        data = parameters.getvalue()
        flags = int.from_bytes(data[2:6], "big") | _NOW_IN_SECONDS_FLAG
        f.write(data[:2] + flags.to_bytes(4, "big") + data[6:] + now.to_bytes(4, "big"))

    message._write_query_params = write_with_now
    message.now_in_seconds = now
