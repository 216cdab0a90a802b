"""Sends a workload to Cassandra at a steady rate.

Invariant: at most `IN_FLIGHT_MAX` requests are unanswered; when `join` returns, every write that was counted is
acknowledged by Cassandra.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from cassandra.query import BatchStatement, BatchType

from casscade.demo.tables import STATEMENTS, Write
from casscade.schema.faults import translate

# 5,000 writes/s that take 10 ms each keep 50 under way; slower moments get some more.
IN_FLIGHT_MAX: Final = 128


def prepare(session: Any) -> dict[str, Any]:
    """All statements of the demo, prepared in the keyspace that `session` uses."""
    return {name: session.prepare(statement) for name, statement in STATEMENTS.items()}


class Writer:
    """A thread that sends `writes`, `rate` a second, for `seconds`; of a delay it makes good one second at most."""

    def __init__(self, session: Any, writes: Iterable[Write], *, rate: float, seconds: float) -> None:
        self._session = session
        self._writes = writes
        self._rate = rate
        self._seconds = seconds
        self._slots = threading.Semaphore(IN_FLIGHT_MAX)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="workload", daemon=True)
        self.kinds: Counter[str] = Counter()
        self.started_at = 0.0
        self.seconds = 0.0

    def start(self) -> None:
        """Begin to write."""
        self.started_at = time.monotonic()
        self._thread.start()

    @property
    def writing(self) -> bool:
        return self._thread.is_alive()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first write; it stands still at the end."""
        return self.seconds or (time.monotonic() - self.started_at if self.started_at else 0.0)

    @property
    def acknowledged(self) -> int:
        with self._lock:
            return self.kinds.total()

    def check(self) -> None:
        """Raise the CasscadeError for the first write that failed."""
        if self._failure is not None:
            raise translate(self._failure, "writing the workload") from self._failure

    def stop(self) -> None:
        """End early, and wait for the answers."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._send_all(prepare(self._session))
        except Exception as error:
            self._failure = self._failure or error
        for _ in range(IN_FLIGHT_MAX):
            self._slots.acquire()
        self.seconds = time.monotonic() - self.started_at

    def _send_all(self, prepared: dict[str, Any]) -> None:
        due = time.monotonic()
        end = due + self._seconds
        for write in self._writes:
            now = time.monotonic()
            if now >= end or self._failure is not None or self._stop.wait(max(0.0, due - now)):
                return
            due = max(due, now - 1.0) + 1.0 / self._rate
            self._slots.acquire()
            future = self._session.execute_async(_request(write, prepared))
            future.add_callbacks(
                self._acknowledged, self._failed, callback_args=(write.kind,), errback_args=(write.kind,)
            )

    def _acknowledged(self, _result: Any, kind: str) -> None:
        with self._lock:
            self.kinds[kind] += 1
        self._slots.release()

    def _failed(self, error: BaseException, _kind: str) -> None:
        self._failure = self._failure or error
        self._slots.release()


def _request(write: Write, prepared: dict[str, Any]) -> Any:
    if len(write.statements) == 1:
        name, values = write.statements[0]
        return prepared[name].bind(values)
    batch = BatchStatement(BatchType.LOGGED)
    for name, values in write.statements:
        batch.add(prepared[name], values)
    return batch
