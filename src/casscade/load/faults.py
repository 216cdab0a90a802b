"""What an error of PostgreSQL means for the work that met it: the one place that decides.

Invariant: every error has exactly one kind, and only `DATA` ever makes dead letters of single rows. (Kafka's errors:
`transport.kafka.client.translate`; Cassandra's: `schema.faults`.)

    SQLSTATE                                    kind      what is done
    none (the driver lost or never had a connection),
    08 connection, 57P0x shutdown and crash,
    28 login, 3D000 database being restored     LOST      connect again, with the credential of then, and retry
    42501 rights, on a connection that worked   LOST      the role was replaced under us: the same
    40 deadlock and serialization, 53 resources,
    55P03 lock, 57014 timeout, 58 system, 25P02,
    25P03 idle, 25006 read only                 BUSY      retry
    21, 22, 23, 42804, 44, 54, P0               DATA      isolate the rows; they become dead letters
    everything else                             REFUSED   stop, and say what PostgreSQL said
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

import psycopg

from casscade.core.errors import InvariantError


class Kind(Enum):
    """See the table above."""

    LOST = auto()
    BUSY = auto()
    DATA = auto()
    REFUSED = auto()


_LOST_CLASSES: Final = ("08", "28")
_LOST_STATES: Final = frozenset({"57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "3D000"})
_BUSY_CLASSES: Final = ("40", "53", "57", "58")
_BUSY_STATES: Final = frozenset({"55P03", "25P02", "25006"})
# Cardinality (two keys of Cassandra that are equal to PostgreSQL), data, constraints, WITH CHECK OPTION, program limits
# (index and row size), errors raised by triggers.
_DATA_CLASSES: Final = ("21", "22", "23", "44", "54", "P0")
_DATA_STATES: Final = frozenset({"42804"})
_NO_RIGHT: Final = "42501"


def kind_of(error: psycopg.Error, *, worked: bool = True) -> Kind:
    """The kind of an error; `worked` tells whether the same work succeeded before in this process."""
    state = error.sqlstate
    if state is None:
        passing = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return Kind.LOST if passing else Kind.REFUSED
    if state[:2] in _LOST_CLASSES or state in _LOST_STATES or (state == _NO_RIGHT and worked):
        return Kind.LOST
    if state[:2] in _DATA_CLASSES or state in _DATA_STATES:
        return Kind.DATA
    if state[:2] in _BUSY_CLASSES or state in _BUSY_STATES:
        return Kind.BUSY
    return Kind.REFUSED


def code_of(error: psycopg.Error) -> str:
    """The code of an error for logs and metrics: its SQLSTATE, or `connection` where the driver has none."""
    return error.sqlstate or "connection"


def refused(error: psycopg.Error) -> InvariantError:
    """What ends the pipeline when PostgreSQL refuses a batch for a reason that neither passes nor lies in its rows."""
    return InvariantError(
        "postgres_refused",
        f"PostgreSQL refused a batch with SQLSTATE {error.sqlstate} ({type(error).__name__})",
        now="the pipeline stops; the batch is not committed and will be applied again",
        hint="casscade check compares the target tables with what is expected",
    )
