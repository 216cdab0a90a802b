"""The writer's connection to PostgreSQL with its retries and its circuit breaker.

Invariant: while the circuit is open no work is tried; a connection on which something failed is never used again.

A failed connection is looked for with a light test (connect, SELECT 1) every few seconds, which is no attempt: its
success ends the wait, so that work goes on within seconds of PostgreSQL's return (docs/decisions/0011).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

import psycopg
from psycopg import Connection

from casscade.core.circuit import Circuit, CircuitState
from casscade.core.errors import CasscadeError
from casscade.core.retry import Retries, RetryPolicy
from casscade.load.faults import Kind, code_of, kind_of, refused
from casscade.load.stuck import TIMED_OUT, end_stuck_sessions

# A light test costs PostgreSQL one process for a moment; with it work goes on within some seconds of its return.
LOOK_S: Final = 5.0
_PAUSE_S: Final = 0.2

Work = Callable[[Connection[Any]], None]


class Outcome(Enum):
    """How work ended: done, given up because the time for retries is over, or not done because of a stop."""

    DONE = auto()
    SPENT = auto()
    STOPPED = auto()


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """`retry`: how failed work is tried again. The circuit opens after `failures_max` failures for `open_s` seconds."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    failures_max: int = 5
    open_s: float = 60.0


@dataclass(frozen=True, slots=True)
class SessionState:
    """What is shown: `failures` in a row for `failing_s` seconds, the last with `code`; the next try in `wait_s`."""

    circuit: CircuitState
    opened: int
    failures: int
    failing_s: float
    code: str
    wait_s: float


class Listener:
    """What a session tells; called by the thread that works."""

    def retrying(self, code: str, wait_s: float, failures: int) -> None:
        """PostgreSQL failed with `code`; the same work is tried again after `wait_s`."""

    def recovered(self) -> None:
        """PostgreSQL works again."""

    def freed(self, sessions: int) -> None:
        """Sessions of processes that do not go on were ended, because others waited for their locks."""


class PostgresSession:
    """Does work on one connection, which it opens as needed; one thread calls all methods but `state`.

    `prepare` readies a new connection, `look` is the light test. `beat` is called at least once a second while
    waiting.
    """

    def __init__(
        self,
        connect: Callable[[], Connection[Any]],
        prepare: Work,
        look: Callable[[], bool],
        stop: threading.Event,
        listener: Listener,
        options: SessionOptions,
        *,
        beat: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] = random.random,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._connect = connect
        self._prepare = prepare
        self._look = look
        self._stop = stop
        self._listener = listener
        self._beat = beat
        self._clock = clock
        self._pause = stop.wait if pause is None else pause
        self._retries = Retries(options.retry, clock, spread)
        self._circuit = Circuit(clock, failures_max=options.failures_max, open_s=options.open_s)
        self._connection: Connection[Any] | None = None
        self._kind = Kind.BUSY
        self._code = ""
        self._looked_at = clock()
        self._worked = False
        self._timed_out = False

    @property
    def lost(self) -> bool:
        """Whether the last failure was one of the connection."""
        return self._retries.failures > 0 and self._kind is Kind.LOST

    @property
    def spent(self) -> bool:
        """Whether the time for retries is over and nothing succeeded since."""
        return self._retries.spent

    @property
    def healthy(self) -> bool:
        """Whether the last attempt succeeded, or none was made yet."""
        return self._retries.failures == 0

    def state(self) -> SessionState:
        """What is shown of it now."""
        circuit, retries = self._circuit, self._retries
        wait = max(retries.wait_s, circuit.wait_s)
        return SessionState(circuit.state, circuit.opened, retries.failures, retries.failing_s, self._code, wait)

    def due(self) -> bool:
        """Whether an attempt may be made now; a True must be followed by one."""
        if self.healthy:
            return True
        if self._kind is Kind.LOST and self._answers():
            if self._circuit.state is CircuitState.CLOSED or self._circuit.answered():
                return True
        elif self._retries.wait_s > 0 and self._circuit.state is CircuitState.CLOSED:
            return False
        return self._circuit.allow() and (self._retries.wait_s <= 0 or self._circuit.state is CircuitState.HALF_OPEN)

    def attempt(self, work: Work) -> bool:
        """Try once; False when it failed for a reason that passes.

        Raises CasscadeError of the work, and InvariantError (`postgres_refused`) for what does not pass.
        """
        try:
            if self._connection is None:
                self._connection = self._connect()
                self._prepare(self._connection)
            if self._timed_out:
                self._timed_out = False
                self.free(self._connection)
            work(self._connection)
        except psycopg.Error as error:
            self.close()
            self._timed_out = error.sqlstate in TIMED_OUT
            kind = kind_of(error, worked=self._worked)
            if kind not in (Kind.LOST, Kind.BUSY):
                raise refused(error) from error
            self._failed(kind, code_of(error))
            return False
        except CasscadeError:
            self.close()
            raise
        self._worked = True
        self._circuit.succeeded()
        if not self.healthy:
            self._retries.succeed()
            self._listener.recovered()
        return True

    def run(self, work: Work, *, give_up: bool) -> Outcome:
        """Try until it is done or the stop is set; with `give_up` also until the time for retries is over."""
        while not self._stop.is_set():
            self._beat()
            if self.due():
                if self.attempt(work):
                    return Outcome.DONE
            elif not (give_up and self.spent):
                self._pause(_PAUSE_S)
                continue
            if give_up and self.spent:
                return Outcome.SPENT
        return Outcome.STOPPED

    def close(self) -> None:
        """Close the connection; the next attempt opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def free(self, connection: Connection[Any]) -> None:
        """Before what timed out is tried again: end the sessions that it may have waited for in vain."""
        ended = end_stuck_sessions(connection)
        if ended:
            self._listener.freed(ended)

    def _failed(self, kind: Kind, code: str) -> None:
        self._kind, self._code = kind, code
        self._looked_at = self._clock()
        wait = self._retries.fail()
        self._circuit.failed()
        self._listener.retrying(code, max(wait, self._circuit.wait_s), self._retries.failures)

    def _answers(self) -> bool:
        """The light test, every `LOOK_S` at most."""
        now = self._clock()
        if now - self._looked_at < LOOK_S:
            return False
        self._looked_at = now
        return self._look()
