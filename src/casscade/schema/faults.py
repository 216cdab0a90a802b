"""Turns the Cassandra driver's exceptions into Casscade's families of errors.

Invariant: no exception of the driver leaves `translated`, and no text of a request or a value enters a message.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cassandra import AuthenticationFailed, DriverException, InvalidRequest, RequestValidationException, Unauthorized
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionException
from cassandra.protocol import ErrorMessage

from casscade.core.errors import CasscadeError, ConfigurationError, RetryableError

REFUSED: Final = "cassandra_refused"
OUTDATED: Final = "cassandra_schema_outdated"


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Run driver calls; `doing` says in a few words what for ("reading the schema").

    Raises `ConfigurationError` for missing rights, a refused login and refused requests, `RetryableError` for
    everything that may pass: timeouts, too few replicas, overload, lost connections.
    """
    try:
        yield
    except (NoHostAvailable, DriverException, ConnectionException, ErrorMessage, OSError) as error:
        raise translate(error, doing) from error


@contextmanager
def reading(doing: str) -> Iterator[None]:
    """As `translated`, for reads of a table by a schema that was read before.

    A refused request is a RetryableError (`OUTDATED`) here: the table was altered or dropped since, or it is being
    altered and the node shows what it does not take yet.
    """
    try:
        with translated(doing):
            yield
    except ConfigurationError as error:
        if error.code != REFUSED:
            raise
        raise _retryable(OUTDATED, error.what, doing) from error


def translate(error: BaseException, doing: str) -> CasscadeError:
    """The error of ours for one of the driver."""
    if isinstance(error, NoHostAvailable):
        causes = list(error.errors.values()) if isinstance(error.errors, dict) else []
        if causes and all(isinstance(cause, AuthenticationFailed) for cause in causes):
            return _authentication(doing)
        names = sorted({type(cause).__name__ for cause in causes}) or ["no host is up"]
        return _retryable("cassandra_unavailable", f"no node of Cassandra answered ({', '.join(names)})", doing)
    if isinstance(error, AuthenticationFailed):
        return _authentication(doing)
    if isinstance(error, Unauthorized):
        return ConfigurationError(
            "cassandra_unauthorized",
            "the Cassandra role lacks a right",
            where=doing,
            now="stopped",
            hint="GRANT SELECT ON KEYSPACE ... TO the role in cassandra.username; system_schema is readable for all",
        )
    if isinstance(error, InvalidRequest | RequestValidationException):
        return ConfigurationError(
            REFUSED,
            f"Cassandra refused the request: {str(error)[:200]}",
            where=doing,
            now="stopped",
            hint="see whether the table was dropped or altered meanwhile: casscade plan",
        )
    return _retryable("cassandra_failed", f"Cassandra did not answer the request ({type(error).__name__})", doing)


def _authentication(doing: str) -> ConfigurationError:
    return ConfigurationError(
        "cassandra_authentication",
        "Cassandra refused the user name or password",
        where=doing,
        now="stopped",
        hint="check cassandra.username and cassandra.password",
    )


def _retryable(code: str, what: str, doing: str) -> RetryableError:
    return RetryableError(
        code,
        what,
        where=doing,
        now="it is tried again after a pause",
        hint="see the log of the nodes; nodetool status shows which are up",
    )
