"""The writer's session: what each error leads to, and when work is tried again. No test waits."""

from __future__ import annotations

import threading
from typing import Any, cast

import psycopg
import pytest
from psycopg import errors

from casscade.core.circuit import CircuitState
from casscade.core.errors import InvariantError
from casscade.load.faults import Kind, kind_of
from casscade.load.session import Listener, Outcome, PostgresSession, SessionOptions


@pytest.mark.requirement("FR-019")
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg.OperationalError("connection refused"), Kind.LOST),
        (psycopg.InterfaceError("the connection is closed"), Kind.LOST),
        (errors.ConnectionFailure(), Kind.LOST),
        (errors.AdminShutdown(), Kind.LOST),
        (errors.CrashShutdown(), Kind.LOST),
        (errors.CannotConnectNow(), Kind.LOST),
        (errors.InvalidPassword(), Kind.LOST),
        (errors.InvalidAuthorizationSpecification(), Kind.LOST),
        (errors.InsufficientPrivilege(), Kind.LOST),
        (errors.IdleInTransactionSessionTimeout(), Kind.LOST),
        (errors.DeadlockDetected(), Kind.BUSY),
        (errors.SerializationFailure(), Kind.BUSY),
        (errors.LockNotAvailable(), Kind.BUSY),
        (errors.QueryCanceled(), Kind.BUSY),
        (errors.DiskFull(), Kind.BUSY),
        (errors.TooManyConnections(), Kind.BUSY),
        (errors.IoError(), Kind.BUSY),
        (errors.ReadOnlySqlTransaction(), Kind.BUSY),
        (errors.NotNullViolation(), Kind.DATA),
        (errors.NumericValueOutOfRange(), Kind.DATA),
        (errors.ProgramLimitExceeded(), Kind.DATA),
        (errors.RaiseException(), Kind.DATA),
        (errors.CardinalityViolation(), Kind.DATA),
        (errors.UndefinedTable(), Kind.REFUSED),
        (errors.SyntaxError(), Kind.REFUSED),
        (psycopg.ProgrammingError("no state"), Kind.REFUSED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_error_has_one_kind(error: psycopg.Error, kind: Kind) -> None:
    assert kind_of(error) is kind


def test_a_right_that_was_never_there_is_no_outage() -> None:
    assert kind_of(errors.InsufficientPrivilege(), worked=False) is Kind.REFUSED


class Site(Listener):
    """A session with a PostgreSQL that fails as told, at a time that only moves while the session waits."""

    def __init__(self, options: SessionOptions | None = None) -> None:
        self.now = 0.0
        self.failing: list[tuple[float, psycopg.Error]] = []
        self.answers_from = float("inf")
        self.tries: list[float] = []
        self.looks: list[float] = []
        self.told: list[str] = []
        self.closed = 0
        self.stop = threading.Event()
        self.session = PostgresSession(
            cast(Any, lambda: self),
            lambda _: None,
            self.look,
            self.stop,
            self,
            options or SessionOptions(),
            clock=lambda: self.now,
            spread=lambda: 0.0,
            pause=self.pause,
        )

    def pause(self, seconds: float) -> None:
        self.now = round(self.now + seconds, 3)

    def look(self) -> bool:
        self.looks.append(self.now)
        return self.now >= self.answers_from

    def close(self) -> None:
        self.closed += 1

    def work(self, _connection: Any) -> None:
        self.tries.append(self.now)
        for until, error in self.failing:
            if self.now < until:
                raise error

    def retrying(self, code: str, wait_s: float, failures: int) -> None:
        self.told.append(code)

    def recovered(self) -> None:
        self.told.append("recovered")


@pytest.mark.requirement("FR-019")
@pytest.mark.requirement("FR-020")
@pytest.mark.requirement("FR-021")
def test_a_busy_server_is_tried_with_growing_waits_then_once_a_minute_and_given_up_after_five() -> None:
    site = Site()
    site.failing = [(1e9, errors.DiskFull())]
    assert site.session.run(site.work, give_up=True) is Outcome.SPENT
    assert site.tries[:5] == pytest.approx([0, 1, 3, 7, 15], abs=0.5)
    assert [round(later - before) for before, later in zip(site.tries[4:], site.tries[5:], strict=False)] == [60] * 4
    assert site.looks == [], "the server answers; a light test would tell nothing"
    assert 300 <= site.now < 361
    assert site.closed == len(site.tries), "a connection that failed is not used again"
    assert site.session.state().circuit is CircuitState.OPEN
    # What comes next is not tried before the minute is over.
    assert site.session.run(site.work, give_up=True) is Outcome.SPENT
    assert len(site.tries) == 9


@pytest.mark.requirement("SC-009")
@pytest.mark.requirement("FR-020")
@pytest.mark.parametrize("back_at", [3.0, 21.0, 299.0, 433.0])
def test_work_goes_on_within_ten_seconds_of_the_servers_return(back_at: float) -> None:
    site = Site()
    site.failing = [(back_at, psycopg.OperationalError("refused"))]
    site.answers_from = back_at
    assert site.session.run(site.work, give_up=False) is Outcome.DONE
    assert back_at <= site.now <= back_at + 10
    state = site.session.state()
    assert (state.circuit, state.failures, state.wait_s) == (CircuitState.CLOSED, 0, 0.0)
    assert site.told[-1] == "recovered"
    # The light test is no attempt: the circuit was open, and work was tried once a minute at most.
    assert len(site.tries) <= 5 + back_at / 60 + 1


@pytest.mark.requirement("FR-020")
def test_a_server_that_answers_and_fails_is_not_hammered() -> None:
    site = Site()
    site.failing = [(1e9, psycopg.OperationalError("the server closed the connection"))]
    site.answers_from = 0.0
    assert site.session.run(site.work, give_up=True) is Outcome.SPENT
    assert len(site.tries) <= 15


def test_the_role_that_was_replaced_is_no_reason_to_stop() -> None:
    site = Site()
    assert site.session.run(site.work, give_up=True) is Outcome.DONE
    site.failing = [(2.0, errors.InsufficientPrivilege())]
    assert site.session.run(site.work, give_up=True) is Outcome.DONE
    assert site.told == ["42501", "42501", "recovered"]


def test_what_does_not_pass_ends_it() -> None:
    site = Site()
    site.failing = [(1e9, errors.InsufficientPrivilege())]
    with pytest.raises(InvariantError, match="42501") as caught:
        site.session.run(site.work, give_up=True)
    assert caught.value.code == "postgres_refused"
    site = Site()
    site.failing = [(1e9, errors.UndefinedColumn())]
    with pytest.raises(InvariantError, match="42703"):
        site.session.run(site.work, give_up=True)


def test_a_stop_ends_the_wait() -> None:
    site = Site()
    site.failing = [(1e9, errors.DiskFull())]
    site.stop.set()
    assert site.session.run(site.work, give_up=False) is Outcome.STOPPED
