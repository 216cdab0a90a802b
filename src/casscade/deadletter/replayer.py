"""A thread of a running pipeline that puts requested dead letters on their way again.

Invariant: a letter goes through the same transport, decoding and merging as everything else; it is settled in the
transaction that applies it (`casscade.load.letters`), so that it is gone exactly when its content is there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from psycopg import OperationalError

from casscade.core import failpoints
from casscade.core.errors import BadDataError
from casscade.core.part import Part
from casscade.core.position import Position
from casscade.deadletter.store import DeadLetterStore, Letter, place_of
from casscade.transport.chunk import Chunk, ReplayProgress
from casscade.transport.envelope import MAGIC, open_envelope

POLL_S: Final = 1.0
"""Somebody waits at a terminal; the query finds nothing in an index of what was asked for."""

SOURCE: Final = "replay"


def chunk_of(letter: Letter) -> Chunk:
    """A letter as a chunk of its own; BadDataError when its bytes are a message that still can't be opened."""
    origin, segment, offset = place_of(letter)
    encoding, mutation = letter.encoding, letter.mutation
    if letter.code.startswith("envelope_") or mutation[:2] == MAGIC.to_bytes(2, "big"):
        envelope = open_envelope(mutation)
        encoding, mutation = envelope.encoding, envelope.mutation
        segment, offset = envelope.position
    progress = ReplayProgress((letter.id,))
    return Chunk(
        SOURCE,
        encoding,
        Position(segment, offset),
        time.time(),
        [mutation],
        [offset],
        len(mutation),
        progress,
        segment,
        origin,
        letter.scanned,
    )


class Replayer(Part):
    """Looks for requested letters until `stop`; `failure` says why it ended by itself."""

    def __init__(
        self,
        store: DeadLetterStore,
        connection: Callable[[], AbstractContextManager[Any]],
        put: Callable[[Chunk, threading.Event], bool],
        stop: threading.Event,
    ) -> None:
        super().__init__("replay", stop)
        self._store = store
        self._connection = connection
        self._put = put

    def work(self) -> None:
        """Put what is requested into the transport until `stop`."""
        while not self._stop.wait(POLL_S):
            try:
                while self.step() and not self._stop.is_set():
                    pass
            except OperationalError:
                continue  # what was claimed is claimed again when its time is over

    def step(self) -> int:
        """Put what is requested now into the transport; returns how many letters."""
        with self._connection() as connection:
            claimed = self._store.claim(connection)
        if failpoints.ARMED and claimed:
            failpoints.reach("replay_claimed")
        for letter_id in claimed:
            with self._connection() as connection:
                letter = self._store.get(connection, letter_id)
            if letter is None:
                continue
            try:
                chunk = chunk_of(letter)
            except BadDataError as error:
                with self._connection() as connection:
                    self._store.failed(connection, letter_id, error.what)
                continue
            if not self._put(chunk, self._stop):
                break
        return len(claimed)
