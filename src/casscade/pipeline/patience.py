"""Work on a schema goes on although a database is away for a while, or a table is locked by a long reader.

Invariant: it ends with the work done, with an error that no waiting mends, or because the process stops.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

import psycopg

from casscade.core.errors import RetryableError
from casscade.observability.logs import get_logger
from casscade.pipeline.catalog import SCHEMA_CHANGED

log = get_logger("casscade.schema")

T = TypeVar("T")

# What most often stands in the way is over in a moment; what is not is asked for a dozen times a minute.
_PAUSE_FIRST_S: Final = 0.1
_PAUSE_MAX_S: Final = 5.0


def patiently(stop: threading.Event, work: Callable[[], T]) -> T:
    """What `work` returns, which is tried until it succeeds.

    Raises RetryableError when the parts must be built anew (`schema_changed`) or `stop` is set (`stopping`), and
    whatever else `work` raises that is not about a database that is away or busy.
    """
    pause = _PAUSE_FIRST_S
    while True:
        try:
            return work()
        except psycopg.OperationalError as error:
            reason = error.sqlstate or "connection"
        except RetryableError as error:
            if error.code == SCHEMA_CHANGED:
                raise
            reason = error.code
        if stop.is_set():
            raise RetryableError("stopping", "The process stops while the schema changes")
        log.info("a change of schema is tried again", reason=reason, wait_s=pause)
        stop.wait(pause)
        pause = min(pause * 2, _PAUSE_MAX_S)
