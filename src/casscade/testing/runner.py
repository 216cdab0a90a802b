"""Sends the operations of a workload to Cassandra.

Invariant: every operation ends up in exactly one count: what was sent, or what Cassandra refused and why; an error of
another kind is raised.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, Final

from cassandra import InvalidRequest
from cassandra.query import BatchStatement, BatchType

from casscade.testing.workload import Operation, Statement
from casscade.verify.read_cassandra import RawProtocol

UNDER_WAY_MAX: Final = 64
"""Operations sent and not answered yet: keeps one node busy without timeouts."""

_BATCH_TYPES: Final = {"LOGGED": BatchType.LOGGED, "UNLOGGED": BatchType.UNLOGGED, "COUNTER": BatchType.COUNTER}


class Runner:
    """Executes operations over a session of its own on the cluster of `session`; `flush` waits for all of them.

    `counts` has the statements by kind and, with `refused:` before the kind, the refused ones. With `under_way` 1
    each operation is over before the next is sent.
    """

    def __init__(self, session: Any, *, under_way: int = UNDER_WAY_MAX) -> None:
        self._session = session.cluster.connect()
        # A conditional statement answers with the row that is there, which may hold what Python's types can't.
        self._session.client_protocol_handler = RawProtocol
        self._limit = under_way
        self._prepared: dict[str, Any] = {}
        self._futures: deque[tuple[Operation, Any]] = deque()
        self.counts: Counter[str] = Counter()

    @property
    def statements(self) -> int:
        """How many statements Cassandra accepted."""
        return sum(count for kind, count in self.counts.items() if not kind.startswith("refused:"))

    def execute(self, operation: Operation) -> None:
        """Send one operation; waits for the oldest one when too many are under way."""
        try:
            request = self._request(operation)
        except InvalidRequest:
            self._count(operation, "refused:")
            return
        self._futures.append((operation, self._session.execute_async(request)))
        while len(self._futures) >= self._limit:
            self._finish_one()

    def close(self) -> None:
        """Close the session; the cluster stays open."""
        self._session.shutdown()

    def flush(self) -> None:
        """Wait until everything is answered."""
        while self._futures:
            self._finish_one()

    def _finish_one(self) -> None:
        operation, future = self._futures.popleft()
        try:
            future.result()
        except InvalidRequest:
            self._count(operation, "refused:")
            return
        self._count(operation, "")

    def _count(self, operation: Operation, prefix: str) -> None:
        for statement in operation.statements:
            self.counts[prefix + statement.kind] += 1

    def _request(self, operation: Operation) -> Any:
        if not operation.batch:
            return self._bound(operation.statements[0])
        batch = BatchStatement(_BATCH_TYPES[operation.batch])
        for statement in operation.statements:
            batch.add(self._bound(statement))
        return batch

    def _bound(self, statement: Statement) -> Any:
        prepared = self._prepared.get(statement.cql)
        if prepared is None:
            prepared = self._prepared[statement.cql] = self._session.prepare(statement.cql)
        return prepared.bind(statement.values)
