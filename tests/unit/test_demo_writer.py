"""The writer: steady, bounded, and silent about nothing."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from cassandra.query import BatchStatement

from casscade.core.errors import RetryableError
from casscade.demo import writer as writer_module
from casscade.demo.tables import Write
from casscade.demo.writer import IN_FLIGHT_MAX, Writer


class Statement:
    """Stands in for a prepared statement."""

    def bind(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return values


class Answer:
    """A future that is answered by the session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add_callbacks(
        self,
        callback: Callable[..., None],
        errback: Callable[..., None],
        callback_args: tuple[Any, ...],
        errback_args: tuple[Any, ...],
    ) -> None:
        self._session.take(lambda: callback(None, *callback_args), lambda e: errback(e, *errback_args))


class Session:
    """Answers at once, or, while `held`, not at all; `error` is what it answers with."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.times: list[float] = []
        self.held = False
        self.error: Exception | None = None
        self.waiting: list[Callable[[], None]] = []

    def prepare(self, _statement: str) -> Statement:
        return Statement()

    def execute_async(self, request: Any) -> Answer:
        self.requests.append(request)
        self.times.append(time.monotonic())
        return Answer(self)

    def take(self, done: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        if self.error is not None:
            failed(self.error)
        elif self.held:
            self.waiting.append(done)
        else:
            done()


WRITES = [Write("insert", (("delete_order", (1, 2)),)), Write("row delete", (("delete_orders", (3,)),))]


def wait_for_end(writer: Writer) -> None:
    deadline = time.monotonic() + 10
    while writer.writing:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_writes_at_its_rate_for_its_time() -> None:
    session = Session()
    writer = Writer(session, itertools.cycle(WRITES), rate=200, seconds=0.5)
    assert writer.elapsed_s == 0.0
    writer.start()
    wait_for_end(writer)
    assert 60 <= writer.acknowledged <= 101
    assert writer.kinds["insert"] - writer.kinds["row delete"] in (0, 1)
    assert writer.elapsed_s == writer.seconds == pytest.approx(0.5, abs=0.3)
    assert session.requests[:2] == [(1, 2), (3,)]


def test_unanswered_requests_are_bounded() -> None:
    session = Session()
    session.held = True
    writer = Writer(session, itertools.cycle(WRITES), rate=100_000, seconds=30)
    writer.start()
    deadline = time.monotonic() + 10
    while len(session.waiting) < IN_FLIGHT_MAX and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(session.requests) == IN_FLIGHT_MAX
    assert writer.acknowledged == 0
    session.held = False
    stopping = threading.Thread(target=writer.stop)
    stopping.start()
    for answer in session.waiting:
        answer()
    stopping.join(10)
    assert not stopping.is_alive()
    assert writer.acknowledged == len(session.requests)


def test_the_first_failure_ends_it() -> None:
    session = Session()
    session.error = OSError("connection reset")
    writer = Writer(session, itertools.cycle(WRITES), rate=1000, seconds=30)
    writer.start()
    wait_for_end(writer)
    with pytest.raises(RetryableError):
        writer.check()
    assert len(session.requests) < 10


def test_one_that_never_started_can_be_stopped() -> None:
    writer = Writer(Session(), [], rate=1, seconds=1)
    writer.stop()
    writer.check()
    assert writer.acknowledged == 0


def test_several_statements_are_one_logged_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[Any] = []
    monkeypatch.setattr(BatchStatement, "add", lambda self, statement, values: added.append(values))
    statements = (("insert_order", (1,)), ("set_points", (2,)))
    prepared: dict[str, Any] = {name: Statement() for name, _ in statements}
    assert isinstance(writer_module._request(Write("batch", statements), prepared), BatchStatement)
    assert added == [(1,), (2,)]
