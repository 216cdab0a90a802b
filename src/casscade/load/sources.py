"""The sources that a writer owns: commit logs or Kafka partitions, each with its epoch and its position.

Invariant: a transaction is committed only under the newest epoch of every source that it moves, so that an owner who
was replaced changes nothing any more.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from psycopg import Connection

from casscade.core.errors import FencedError
from casscade.core.position import START, Position
from casscade.load.control import ControlStore


class _Owned(NamedTuple):
    epoch: int
    position: Position


class Sources:
    """What one process owns; every method may be called by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owned: dict[str, _Owned] = {}

    @classmethod
    def single(cls, source: str, epoch: int, position: Position = START) -> Sources:
        """One source alone."""
        sources = cls()
        sources.own(source, epoch, position)
        return sources

    def own(self, source: str, epoch: int, position: Position = START) -> None:
        """Take a source into account, which is applied up to `position` (see `ControlStore.acquire`)."""
        with self._lock:
            self._owned[source] = _Owned(epoch, position)

    def disown(self, source: str) -> None:
        """Nothing of the source is committed from now on."""
        with self._lock:
            self._owned.pop(source, None)

    def names(self) -> list[str]:
        """The sources that are owned."""
        with self._lock:
            return sorted(self._owned)

    def position(self, source: str) -> Position:
        """The committed position of a source; `START` for one that is not owned."""
        with self._lock:
            owned = self._owned.get(source)
            return START if owned is None else owned.position

    def commit(self, connection: Connection[Any], control: ControlStore, positions: Mapping[str, Position]) -> None:
        """Move sources in the caller's transaction; without any, prove that all that are owned still are.

        Raises FencedError, whose `where` is the source that has another owner: the transaction must be rolled back.
        """
        with self._lock:
            owned = dict(self._owned)
        moves = positions or {source: each.position for source, each in owned.items()}
        # In one order in all processes, so that two of them never wait for each other.
        for source in sorted(moves):
            if source not in owned:
                raise FencedError("source_released", f"Source {source} was given up", where=source)
            control.advance(connection, source, owned[source].epoch, max(moves[source], owned[source].position))

    def advanced(self, positions: Mapping[str, Position]) -> None:
        """These positions are durable."""
        with self._lock:
            for source, position in positions.items():
                owned = self._owned.get(source)
                if owned is not None and position > owned.position:
                    self._owned[source] = _Owned(owned.epoch, position)
