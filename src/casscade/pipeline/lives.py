"""A process of a pipeline lives on after what passes by itself: its parts are built anew.

Invariant: an error that does not pass by itself ends the process; between two lives nothing runs.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Final

import psycopg

from casscade.core.backoff import STABLE_S, Backoff
from casscade.core.errors import KAFKA_UNAVAILABLE, FencedError, RetryableError
from casscade.load.session import LOOK_S
from casscade.observability.health import State
from casscade.observability.logs import get_logger
from casscade.pipeline.catalog import SCHEMA_CHANGED
from casscade.pipeline.gaps import GAP_FOUND
from casscade.pipeline.monitor import Monitor
from casscade.pipeline.watch import TABLE_TRUNCATED

log = get_logger("casscade.pipeline")

# What changed in Cassandra is no failure, and a gap is to be repaired: the parts go on at once.
CHANGES: Final = (SCHEMA_CHANGED, TABLE_TRUNCATED, GAP_FOUND)


def keep_running(
    live: Callable[[], None],
    stop: threading.Event,
    monitor: Monitor,
    sent_back: Callable[[], bool] = lambda: False,
    answers: Callable[[], bool] = lambda: False,
) -> None:
    """Call `live` until it returns or `stop` is set; after a transient failure or a change of schema again.

    `sent_back` tells whether an epoch was raised only to send this process back, `answers` whether PostgreSQL takes
    connections, which ends the wait after it failed. Raises whatever else ended a life.
    """
    backoff = Backoff(random.random)
    while not stop.is_set():
        look = False
        started = time.monotonic()
        try:
            live()
        except RetryableError as error:
            reason, wait = error.what, 0.0 if error.code in CHANGES else backoff.fail()
            if error.code == KAFKA_UNAVAILABLE:
                monitor.health.set("kafka", State.DOWN, reason)
        except FencedError:
            if not sent_back():
                raise
            reason, wait = "another process of the pipeline emptied a truncated table", 0.0
        except psycopg.OperationalError as error:
            reason, wait, look = f"PostgreSQL failed ({type(error).__name__})", backoff.fail(), True
            monitor.health.set("postgres", State.DOWN, reason)
        else:
            return
        if time.monotonic() - started > STABLE_S:
            backoff.succeed()
        log.warning("the parts are built anew", reason=reason, wait_s=round(wait, 1))
        until = time.monotonic() + wait
        while (left := until - time.monotonic()) > 0 and not stop.wait(min(left, LOOK_S)):
            if look and answers():
                break
